import type { Libc, Pointer } from "./libc.ts";

/** Where memory begins. */
export type MemoryAddress = { readonly low: number; readonly high: number };

const WORD = 0x1_0000_0000;

export function addressOf(libc: Libc, memory: NodeJS.ArrayBufferView): MemoryAddress {
  const address = libc.addressOf(memory);
  return { low: Number(address & 0xffff_ffffn), high: Number(address >> 32n) };
}

/** The `struct iovec` array of readv(2) and writev(2): each is an address and a length of 8 bytes, the lower half first. */
export class IoVectors {
  static readonly MAX = 64;
  readonly pointer: Pointer;
  readonly #words = new Uint32Array(IoVectors.MAX * 4);

  constructor(libc: Libc) {
    this.pointer = libc.addressOf(this.#words);
  }

  /** `length` bytes from offset `at` of the memory at `address`. */
  set(index: number, { low, high }: MemoryAddress, at: number, length: number): void {
    const words = this.#words;
    const start = low + at;
    const word = index * 4;
    words[word] = start;
    words[word + 1] = start < WORD ? high : high + 1;
    words[word + 2] = length;
  }
}
