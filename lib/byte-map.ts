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
const NONE = -1;

/**
 * A map by latin1 text that is also found by its bytes, within a larger buffer and without creating a string. Clients may choose the keys, so the
 * hash is drawn at random for each process: a sum of the bytes, each multiplied by a random number of its place (multiply-shift for vectors, which is
 * universal: two different keys share a bucket as rarely as random numbers do). A hit is confirmed by comparing the bytes.
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
  #next: Int32Array;
  #hashes: Int32Array;
  /** 0: the slot is free. */
  #lengths: Int32Array;
  #keys: Uint8Array;
  #values: (Value | undefined)[] = [];
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
    this.#next = new Int32Array(FIRST_CAPACITY);
    this.#hashes = new Int32Array(FIRST_CAPACITY);
    this.#lengths = new Int32Array(FIRST_CAPACITY);
    this.#keys = new Uint8Array(FIRST_CAPACITY * maxKeyBytes);
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
    let hash = factors[length] ?? 0;
    for (let at = 0; at < length; at++) hash = (hash + Math.imul(factors[at] ?? 0, bytes[start + at] ?? 0)) | 0;
    const keys = this.#keys;
    for (let slot = this.#buckets[hash >>> this.#shift] ?? NONE; slot !== NONE; slot = this.#next[slot] ?? NONE) {
      if (this.#hashes[slot] !== hash || this.#lengths[slot] !== length) continue;
      const key = slot * this.#maxKeyBytes;
      let at = 0;
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
    this.#hashes[slot] = hash;
    this.#lengths[slot] = key.length;
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
    this.#lengths.fill(0);
    this.#keys.fill(0);
    this.#values = [];
    this.#firstFree = NONE;
    this.#used = 0;
    this.#size = 0;
    this.#hand = 0;
  }

  /** In no particular order. Entries may be deleted during the iteration. */
  *values(): Generator<Value, undefined> {
    for (let slot = 0; slot < this.#used; slot++) if (this.#lengths[slot] !== 0) yield this.#values[slot] as Value;
    yield* this.#others.values();
  }

  /** Undefined: the key is not kept by its bytes. */
  #hashOf(key: string): number | undefined {
    const { length } = key;
    if (length > this.#maxKeyBytes || length === 0) return undefined;
    const factors = this.#factors;
    let hash = factors[length] ?? 0;
    let allCodes = 0;
    for (let at = 0; at < length; at++) {
      const code = key.charCodeAt(at);
      allCodes |= code;
      hash = (hash + Math.imul(factors[at] ?? 0, code)) | 0;
    }
    return allCodes > 255 ? undefined : hash;
  }

  #find(key: string, hash: number): number {
    const keys = this.#keys;
    const { length } = key;
    for (let slot = this.#buckets[hash >>> this.#shift] ?? NONE; slot !== NONE; slot = this.#next[slot] ?? NONE) {
      if (this.#hashes[slot] !== hash || this.#lengths[slot] !== length) continue;
      const start = slot * this.#maxKeyBytes;
      let at = 0;
      while (at < length && keys[start + at] === key.charCodeAt(at)) at++;
      if (at === length) return slot;
    }
    return NONE;
  }

  #link(slot: number, hash: number): void {
    const bucket = hash >>> this.#shift;
    this.#next[slot] = this.#buckets[bucket] ?? NONE;
    this.#buckets[bucket] = slot;
  }

  #remove(slot: number): void {
    const bucket = (this.#hashes[slot] ?? 0) >>> this.#shift;
    const after = this.#next[slot] ?? NONE;
    if (this.#buckets[bucket] === slot) this.#buckets[bucket] = after;
    else {
      let before = this.#buckets[bucket] ?? NONE;
      while (this.#next[before] !== slot) before = this.#next[before] ?? NONE;
      this.#next[before] = after;
    }
    // The key may be a secret.
    this.#keys.fill(0, slot * this.#maxKeyBytes, (slot + 1) * this.#maxKeyBytes);
    this.#lengths[slot] = 0;
    this.#values[slot] = undefined;
    this.#next[slot] = this.#firstFree;
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
    while (this.#lengths[this.#hand] === 0) this.#hand = (this.#hand + 1) % this.#used;
    this.#remove(this.#hand);
    this.#hand = (this.#hand + 1) % this.#used;
  }

  #takeSlot(): number {
    const free = this.#firstFree;
    if (free !== NONE) {
      this.#firstFree = this.#next[free] ?? NONE;
      return free;
    }
    if (this.#used === this.#next.length) this.#grow();
    return this.#used++;
  }

  #grow(): void {
    const capacity = this.#next.length * 2;
    this.#next = new Int32Array(capacity);
    this.#hashes = larger(this.#hashes, capacity);
    this.#lengths = larger(this.#lengths, capacity);
    const keys = new Uint8Array(capacity * this.#maxKeyBytes);
    keys.set(this.#keys);
    this.#keys.fill(0);
    this.#keys = keys;
    this.#buckets = new Int32Array(capacity).fill(NONE);
    this.#shift--;
    // All slots are in use: a free one would have been taken.
    for (let slot = 0; slot < this.#used; slot++) this.#link(slot, this.#hashes[slot] ?? 0);
  }
}

function larger(numbers: Int32Array, length: number): Int32Array {
  const copy = new Int32Array(length);
  copy.set(numbers);
  return copy;
}
