/** Copies of received bytes, in order. The owner bounds it by `length`. */
export class ByteQueue {
  #pieces: Buffer[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(memory: Buffer, at: number, end: number): void {
    this.#pieces.push(Buffer.from(memory.subarray(at, end)));
    this.#length += end - at;
  }

  /** All bytes; the queue is empty afterwards. */
  take(): Buffer {
    const [first] = this.#pieces;
    const all = this.#pieces.length === 1 && first !== undefined ? first : Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#length = 0;
    return all;
  }
}
