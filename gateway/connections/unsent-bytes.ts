import type { Libc, Pointer } from "./libc.ts";

/** Small rests have memory of their size, so that ten thousand slow clients cost what they wait for. */
const SMALL_BYTES = 16_384;
const PIECE_BYTES = 65_536;
/** Pieces that are kept for later use: 4 MiB. */
const MAX_SPARE = 64;

/** Bytes `at`..`end` of memory that has no other user. */
type UnsentPiece = { readonly memory: Buffer; readonly address: MemoryAddress; readonly reusable: boolean; at: number; end: number };

/** Memory for the unsent bytes of all sockets. New memory for each piece costs as much as sending it. */
export class PieceMemory {
  readonly #libc: Libc;
  readonly #spare: UnsentPiece[] = [];

  constructor(libc: Libc) {
    this.#libc = libc;
  }

  /** An empty piece, with space for `bytes` or the first of them. */
  take(bytes: number): UnsentPiece {
    if (bytes <= SMALL_BYTES) return this.#piece(Buffer.allocUnsafeSlow(bytes), false);
    return this.#spare.pop() ?? this.#piece(Buffer.allocUnsafeSlow(PIECE_BYTES), true);
  }

  giveBack(piece: UnsentPiece): void {
    if (!piece.reusable || this.#spare.length >= MAX_SPARE) return;
    piece.at = 0;
    piece.end = 0;
    this.#spare.push(piece);
  }

  #piece(memory: Buffer, reusable: boolean): UnsentPiece {
    return { memory, address: addressOf(this.#libc, memory), reusable, at: 0, end: 0 };
  }
}

/** The bytes of one socket that the kernel has not taken, in order. The sender bounds them: it pauses while there are any. */
export class UnsentBytes {
  length = 0;
  readonly #memory: PieceMemory;
  readonly #pieces: UnsentPiece[] = [];

  constructor(memory: PieceMemory) {
    this.#memory = memory;
  }

  /** Copies the bytes. */
  push(memory: Buffer, at: number, end: number): void {
    this.length += end - at;
    let piece = this.#pieces.at(-1);
    let from = at;
    while (from < end) {
      if (piece === undefined || piece.end === piece.memory.length) {
        piece = this.#memory.take(end - from);
        this.#pieces.push(piece);
      }
      const copied = memory.copy(piece.memory, piece.end, from, Math.min(end, from + piece.memory.length - piece.end));
      piece.end += copied;
      from += copied;
    }
  }

  /** Lists the bytes, or the first of them; returns how many vectors. */
  fill(vectors: IoVectors): number {
    const count = Math.min(this.#pieces.length, IoVectors.MAX);
    for (let index = 0; index < count; index++) {
      const { address, at, end } = this.#pieces[index] as UnsentPiece;
      vectors.set(index, address, at, end - at);
    }
    return count;
  }

  /** The kernel has taken the first `bytes`; returns how many whole pieces these are. */
  taken(bytes: number): number {
    this.length -= bytes;
    let left = bytes;
    let done = 0;
    for (const piece of this.#pieces) {
      const length = piece.end - piece.at;
      if (length > left) {
        piece.at += left;
        break;
      }
      left -= length;
      done++;
      this.#memory.giveBack(piece);
    }
    if (done > 0) this.#pieces.splice(0, done);
    return done;
  }

  clear(): void {
    this.taken(this.length);
  }
}

/** Where memory begins. */
export type MemoryAddress = { readonly low: number; readonly high: number };

const WORD = 0x1_0000_0000;

/** Writes an address as two words, the lower half first. */
export function writeAddress(words: Uint32Array, at: number, { low, high }: MemoryAddress, offset: number): void {
  const start = low + offset;
  words[at] = start;
  words[at + 1] = start < WORD ? high : high + 1;
}

export function addressOf(libc: Libc, memory: NodeJS.ArrayBufferView): MemoryAddress {
  const address = libc.addressOf(memory);
  return { low: Number(address & 0xffff_ffffn), high: Number(address >> 32n) };
}

/** The `struct iovec` array of readv(2) and writev(2): each is an address and a length of 8 bytes, the lower half first. */
export class IoVectors {
  static readonly MAX = 64;
  readonly pointer: Pointer;
  readonly words: Uint32Array;

  constructor(libc: Libc, count = IoVectors.MAX) {
    this.words = new Uint32Array(count * 4);
    this.pointer = libc.addressOf(this.words);
  }

  /** `length` bytes from offset `at` of the memory at `address`. */
  set(index: number, memory: MemoryAddress, at: number, length: number): void {
    const { words } = this;
    const word = index * 4;
    writeAddress(words, word, memory, at);
    words[word + 2] = length;
  }
}

/** First in, first out, without new memory for each item. */
export class Fifo<T> {
  readonly #items: (T | undefined)[] = [];
  #head = 0;
  #tail = 0;

  get length(): number {
    return this.#tail - this.#head;
  }

  /** Behind so many others. */
  at(index: number): T {
    return this.#items[this.#head + index] as T;
  }

  push(item: T): void {
    if (this.#head >= MAX_TAKEN) {
      this.#items.splice(0, this.#head);
      this.#tail -= this.#head;
      this.#head = 0;
    }
    this.#items[this.#tail++] = item;
  }

  take(): T | undefined {
    if (this.#head === this.#tail) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head === this.#tail) {
      this.#head = 0;
      this.#tail = 0;
    }
    return item;
  }
}

/** Places of taken items before the list moves up. */
const MAX_TAKEN = 1_024;
