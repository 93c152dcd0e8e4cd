import { randomFillSync } from "node:crypto";

type ByteMapOptions = {
  /** One entry more replaces an old one. Default: no limit. */
  maxSize?: number;
  /** Longer keys, and those beyond latin1, are kept in a map by strings. */
  maxKeyBytes: number;
  /** Default: random numbers. */
  factors?: (numbers: Int32Array) => Int32Array;
};

const FIRST_CAPACITY = 64;
const NO_BYTES = new Uint8Array(0);
const NONE = -1;
/** Numbers of a slot. */
const SLOT = 4;
/** The next slot of its bucket, or of the free slots. */
const NEXT = 0;
const HASH = 1;
/** Of the key; 0: the slot is free. */
const LENGTH = 2;

/**
 * A map by latin1 text that is also found by its bytes, within a larger buffer and without creating a string. Clients may choose the keys, so the
 * hash is drawn at random for each process: a sum of the bytes, each pair multiplied by a random number of its place (multiply-shift for vectors, which is
 * universal: two different keys share a bucket as rarely as random numbers do, in up to 2^17 buckets). A hit is confirmed by comparing the bytes.
 */
export class ByteMap<Value> {
  readonly #maxSize: number;
  readonly #maxKeyBytes: number;
  readonly #factors: Int32Array;
  /** By bucket: the first slot. */
  #buckets: Int32Array;
  /** The number of bits by which a hash is shifted to its bucket. */
  #shift: number;
  // By slot:
  /** `SLOT` numbers each, in one place: memory that is not in the processor's cache costs more than the hash. */
  #slots: Int32Array;
  #keys: Uint8Array;
  /** The same memory. */
  #kept: DataView;
  #values: (Value | undefined)[] = [];
  /** The memory of the last search: usually all bytes come in the same. */
  #bytes: Uint8Array = NO_BYTES;
  #searched = viewOf(NO_BYTES);
  #firstFree = NONE;
  /** Slots from here on were never used. */
  #used = 0;
  #size = 0;
  /** The next slot whose entry is replaced in a full map. */
  #hand = 0;
  readonly #others = new Map<string, Value>();

  constructor({ maxSize = Number.POSITIVE_INFINITY, maxKeyBytes, factors = randomFillSync }: ByteMapOptions) {
    this.#maxSize = maxSize;
    this.#maxKeyBytes = maxKeyBytes;
    this.#factors = factors(new Int32Array(maxKeyBytes + 1));
    this.#buckets = new Int32Array(FIRST_CAPACITY).fill(NONE);
    this.#shift = 32 - Math.log2(FIRST_CAPACITY);
    this.#slots = new Int32Array(FIRST_CAPACITY * SLOT);
    this.#keys = new Uint8Array(FIRST_CAPACITY * maxKeyBytes);
    this.#kept = viewOf(this.#keys);
  }

  get size(): number {
    return this.#size + this.#others.size;
  }

  get(key: string): Value | undefined {
    const hash = this.#hashOf(key);
    return hash === undefined ? this.#others.get(key) : this.#values[this.#find(key, hash)];
  }

  /** The entry whose key is `bytes` from `start` to `end`. Undefined also for keys that are not kept by their bytes. */
  getBytes(bytes: Uint8Array, start: number, end: number): Value | undefined {
    const length = end - start;
    if (length > this.#maxKeyBytes || length <= 0) return undefined;
    const factors = this.#factors;
    if (bytes !== this.#bytes) this.#view(bytes);
    const searched = this.#searched;
    // Four bytes at once, and the last ones alone.
    const whole = length & ~3;
    let hash = factors[length] as number;
    for (let at = 0; at < whole; at += 4) {
      const word = searched.getInt32(start + at, true);
      const index = at >> 1;
      hash = (hash + Math.imul(factors[index] as number, word & 0xffff) + Math.imul(factors[index + 1] as number, word >>> 16)) | 0;
    }
    for (let at = whole; at < length; at += 2) {
      const second = at + 1 < length ? (bytes[start + at + 1] as number) : 0;
      hash = (hash + Math.imul(factors[at >> 1] as number, (bytes[start + at] as number) | (second << 8))) | 0;
    }
    const keys = this.#keys;
    const kept = this.#kept;
    const slots = this.#slots;
    for (let slot = this.#buckets[hash >>> this.#shift] as number; slot !== NONE; slot = slots[slot * SLOT + NEXT] as number) {
      if (slots[slot * SLOT + HASH] !== hash || slots[slot * SLOT + LENGTH] !== length) continue;
      const key = slot * this.#maxKeyBytes;
      let at = 0;
      while (at < whole && kept.getInt32(key + at, true) === searched.getInt32(start + at, true)) at += 4;
      if (at < whole) continue;
      while (at < length && keys[key + at] === bytes[start + at]) at++;
      if (at === length) return this.#values[slot];
    }
    return undefined;
  }

  set(key: string, value: Value): void {
    const hash = this.#hashOf(key);
    if (hash === undefined) {
      if (!this.#others.has(key)) this.#evictIfFull();
      this.#others.set(key, value);
      return;
    }
    const existing = this.#find(key, hash);
    if (existing !== NONE) {
      this.#values[existing] = value;
      return;
    }
    this.#evictIfFull();
    const slot = this.#takeSlot();
    this.#slots[slot * SLOT + HASH] = hash;
    this.#slots[slot * SLOT + LENGTH] = key.length;
    for (let at = 0, to = slot * this.#maxKeyBytes; at < key.length; at++) this.#keys[to + at] = key.charCodeAt(at);
    this.#values[slot] = value;
    this.#link(slot, hash);
    this.#size++;
  }

  delete(key: string): boolean {
    const hash = this.#hashOf(key);
    if (hash === undefined) return this.#others.delete(key);
    const slot = this.#find(key, hash);
    if (slot === NONE) return false;
    this.#remove(slot);
    return true;
  }

  clear(): void {
    this.#others.clear();
    this.#buckets.fill(NONE);
    this.#slots.fill(0);
    this.#keys.fill(0);
    this.#values = [];
    this.#firstFree = NONE;
    this.#used = 0;
    this.#size = 0;
    this.#hand = 0;
  }

  /** In no particular order. Entries may be deleted during the iteration. */
  *values(): Generator<Value, undefined> {
    for (let slot = 0; slot < this.#used; slot++) if (this.#slots[slot * SLOT + LENGTH] !== 0) yield this.#values[slot] as Value;
    yield* this.#others.values();
  }

  #view(bytes: Uint8Array): void {
    this.#bytes = bytes;
    this.#searched = viewOf(bytes);
  }

  /** Undefined: the key is not kept by its bytes. */
  #hashOf(key: string): number | undefined {
    const { length } = key;
    if (length > this.#maxKeyBytes || length === 0) return undefined;
    const factors = this.#factors;
    let hash = factors[length] as number;
    let allCodes = 0;
    for (let at = 0; at < length; at += 2) {
      const code = key.charCodeAt(at);
      const second = at + 1 < length ? key.charCodeAt(at + 1) : 0;
      allCodes |= code | second;
      hash = (hash + Math.imul(factors[at >> 1] as number, code | (second << 8))) | 0;
    }
    return allCodes > 255 ? undefined : hash;
  }

  #find(key: string, hash: number): number {
    const keys = this.#keys;
    const slots = this.#slots;
    const { length } = key;
    for (let slot = this.#buckets[hash >>> this.#shift] as number; slot !== NONE; slot = slots[slot * SLOT + NEXT] as number) {
      if (slots[slot * SLOT + HASH] !== hash || slots[slot * SLOT + LENGTH] !== length) continue;
      const start = slot * this.#maxKeyBytes;
      let at = 0;
      while (at < length && keys[start + at] === key.charCodeAt(at)) at++;
      if (at === length) return slot;
    }
    return NONE;
  }

  #link(slot: number, hash: number): void {
    const bucket = hash >>> this.#shift;
    this.#slots[slot * SLOT + NEXT] = this.#buckets[bucket] as number;
    this.#buckets[bucket] = slot;
  }

  #remove(slot: number): void {
    const slots = this.#slots;
    const bucket = (slots[slot * SLOT + HASH] as number) >>> this.#shift;
    const after = slots[slot * SLOT + NEXT] as number;
    if (this.#buckets[bucket] === slot) this.#buckets[bucket] = after;
    else {
      let before = this.#buckets[bucket] as number;
      while (slots[before * SLOT + NEXT] !== slot) before = slots[before * SLOT + NEXT] as number;
      slots[before * SLOT + NEXT] = after;
    }
    // The key may be a secret.
    this.#keys.fill(0, slot * this.#maxKeyBytes, (slot + 1) * this.#maxKeyBytes);
    slots[slot * SLOT + LENGTH] = 0;
    this.#values[slot] = undefined;
    slots[slot * SLOT + NEXT] = this.#firstFree;
    this.#firstFree = slot;
    this.#size--;
  }

  /** In a full map, entries are replaced in the order in which their slots were filled. */
  #evictIfFull(): void {
    if (this.size < this.#maxSize) return;
    if (this.#size === 0) {
      const [oldest] = this.#others.keys();
      this.#others.delete(oldest as string);
      return;
    }
    while (this.#slots[this.#hand * SLOT + LENGTH] === 0) this.#hand = (this.#hand + 1) % this.#used;
    this.#remove(this.#hand);
    this.#hand = (this.#hand + 1) % this.#used;
  }

  #takeSlot(): number {
    const free = this.#firstFree;
    if (free !== NONE) {
      this.#firstFree = this.#slots[free * SLOT + NEXT] as number;
      return free;
    }
    if (this.#used * SLOT === this.#slots.length) this.#grow();
    return this.#used++;
  }

  #grow(): void {
    const capacity = (this.#slots.length / SLOT) * 2;
    const slots = new Int32Array(capacity * SLOT);
    slots.set(this.#slots);
    this.#slots = slots;
    const keys = new Uint8Array(capacity * this.#maxKeyBytes);
    keys.set(this.#keys);
    this.#keys.fill(0);
    this.#keys = keys;
    this.#kept = viewOf(keys);
    this.#buckets = new Int32Array(capacity).fill(NONE);
    this.#shift--;
    // All slots are in use: a free one would have been taken.
    for (let slot = 0; slot < this.#used; slot++) this.#link(slot, slots[slot * SLOT + HASH] as number);
  }
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}
