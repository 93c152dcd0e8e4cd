import type { RequestHead, RequestReader } from "../http1/message-reader.ts";

/** Bytes of later requests, or of another protocol, that are kept until the current response is complete. The last read may bring more, of up to 1 MiB. */
const KEPT_BYTES = 65_536;

/** Finds heads and ends of bodies in the bytes of one client, and keeps what came too early. */
export class RequestInput {
  readonly #reader: RequestReader;
  readonly #kept = new ByteQueue();
  #bodyLeft = 0;

  constructor(reader: RequestReader) {
    this.#reader = reader;
  }

  /** A head has begun and is not complete. */
  get begun(): boolean {
    return this.#reader.begun;
  }

  get keptBytes(): number {
    return this.#kept.length;
  }

  /** No more bytes should be read. */
  get isFull(): boolean {
    return this.#kept.length >= KEPT_BYTES;
  }

  /** The offset after the head, or -1 if it is not complete. Throws MessageRefused. */
  readHead(memory: Buffer, at: number, end: number): number {
    return this.#reader.readHead(memory, at, end);
  }

  /** The complete head, whose body follows. */
  takeHead(): RequestHead {
    const { head } = this.#reader;
    // The exchange lives longer than these bytes.
    head.keep();
    this.#bodyLeft = head.bodyKind === "length" ? head.bodyLength : -1;
    return head;
  }

  /** The offset after the body's end, or -1 if the whole rest belongs to it. Throws MessageRefused. */
  bodyEnd(memory: Buffer, at: number, end: number): number {
    if (this.#bodyLeft === -1) return this.#reader.readChunked(memory, at, end);
    const available = end - at;
    if (available >= this.#bodyLeft) return at + this.#bodyLeft;
    this.#bodyLeft -= available;
    return -1;
  }

  /** Bytes of a body with a length that are still to come; -1 for a chunked one. */
  get bodyLeft(): number {
    return this.#bodyLeft;
  }

  /** So many bytes of the body came, and went on without being read. */
  skip(bytes: number): void {
    this.#bodyLeft -= bytes;
  }

  /** The bytes of the head are about to be replaced; until then, the head is read from them. */
  dropHead(): void {
    this.#reader.dropHead();
  }

  keep(memory: Buffer, at: number, end: number): void {
    if (at < end) this.#kept.push(memory, at, end);
  }

  takeKept(): Buffer {
    return this.#kept.take();
  }

  close(): void {
    this.#reader.close();
  }
}

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
