import { FrameError, OPCODE } from "./frames.ts";

/** Frames are kept for the container, pongs are dropped, and a close is kept apart because it ends the connection. */
const KEPT = 0;
const PONG = 1;
const CLOSE = 2;
type FrameKind = typeof KEPT | typeof PONG | typeof CLOSE;

/** The longest head of a frame, and the longest control frame. */
const HEAD_BYTES = 14;
const CONTROL_BYTES = 131;
/** The first size of the store; it doubles when it is full. */
const FIRST_STORE_BYTES = 1_024;
const EMPTY = Buffer.alloc(0);

/**
 * The frames (RFC 6455 §5.2) of a client that waits for its container, as masked bytes in one buffer: as objects, 1 MiB of empty frames took 27 MB. Pongs
 * are dropped, because they reply to berth's pings.
 */
export class QueuedFrames {
  /** Bytes of pongs that were dropped. */
  dropped = 0;
  /** The client's close frame is complete. */
  closed = false;
  #store = EMPTY;
  #size = 0;
  #close = EMPTY;
  #closeSize = 0;
  #kind: FrameKind = KEPT;
  /** An incomplete head, and its size. */
  #head = EMPTY;
  #have = 0;
  /** Missing payload bytes of the current frame. */
  #left = 0;

  /** Kept bytes. */
  get size(): number {
    return this.#size;
  }

  /** Memory for them. */
  get memory(): number {
    return this.#store.length;
  }

  /** Copies the next bytes of the stream. Throws `FrameError` for invalid frames. */
  push(chunk: Buffer, start: number, end: number): void {
    let at = start;
    /** The begin of bytes of the current kind that were not stored yet. */
    let from = start;
    while (at < end && !this.closed) {
      if (this.#left > 0) {
        const take = Math.min(this.#left, end - at);
        at += take;
        this.#left -= take;
      } else {
        if (this.#have === 0) {
          const kind = kindOf(chunk[at] as number);
          if (kind !== this.#kind) {
            this.#put(chunk, from, at);
            from = at;
            this.#kind = kind;
          }
        }
        at = this.#readHead(chunk, at, end);
      }
      if (this.#left === 0 && this.#have === 0 && this.#kind === CLOSE) this.closed = true;
    }
    this.#put(chunk, from, at);
  }

  /** All bytes for the container in order, with those of an incomplete frame. Clears the store. */
  take(): Buffer[] {
    const early = [this.#store.subarray(0, this.#size), this.#close.subarray(0, this.#closeSize)];
    this.clear();
    return early;
  }

  clear(): void {
    this.#store = EMPTY;
    this.#size = 0;
    this.#close = EMPTY;
    this.#closeSize = 0;
  }

  /** The unmasked payload of the client's close frame, for the reply. */
  closePayload(): Buffer {
    const mask = this.#close.subarray(2, 6);
    const payload = Buffer.from(this.#close.subarray(6, this.#closeSize));
    for (let at = 0; at < payload.length; at++) payload[at] = (payload[at] as number) ^ (mask[at % 4] as number);
    return payload;
  }

  /** The current frame is an incomplete pong, whose rest must be dropped too. */
  get withinPong(): boolean {
    return this.#kind === PONG && (this.#left > 0 || this.#have > 0);
  }

  /** The offset after the current pong; -1 if all of these bytes belong to it. */
  behindPong(chunk: Buffer, start: number, end: number): number {
    let at = start;
    try {
      while (this.withinPong && at < end) {
        if (this.#left > 0) {
          this.#left--;
          at++;
        } else this.#readHeadByte(chunk[at++] as number);
      }
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      // The container refuses invalid frames itself.
      return at;
    }
    return this.withinPong ? -1 : at;
  }

  /** The offset after the head at `at`, or after the part of it that has come. */
  #readHead(chunk: Buffer, at: number, end: number): number {
    // Nearly every head is short and complete.
    if (this.#have === 0 && end - at >= 6 && ((chunk[at + 1] as number) & 0x7f) < 126) {
      this.#left = checkedLength(chunk[at] as number, chunk[at + 1] as number, (chunk[at + 1] as number) & 0x7f);
      return at + 6;
    }
    let next = at;
    do this.#readHeadByte(chunk[next++] as number);
    while (this.#have > 0 && next < end);
    return next;
  }

  #readHeadByte(byte: number): void {
    if (this.#head.length === 0) this.#head = Buffer.alloc(HEAD_BYTES);
    const head = this.#head;
    head[this.#have++] = byte;
    if (this.#have < 2) return;
    const second = head[1] as number;
    const short = second & 0x7f;
    const lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0;
    // An unmasked frame is refused at once: it has no mask to wait for.
    if ((second & 0x80) !== 0 && this.#have < 2 + lengthBytes + 4) return;
    this.#have = 0;
    const length = lengthBytes === 2 ? head.readUInt16BE(2) : lengthBytes === 8 ? Number(head.readBigUInt64BE(2)) : short;
    this.#left = checkedLength(head[0] as number, second, length);
  }

  #put(chunk: Buffer, from: number, to: number): void {
    const bytes = to - from;
    if (bytes === 0) return;
    if (this.#kind === PONG) {
      this.dropped += bytes;
    } else if (this.#kind === CLOSE) {
      if (this.#close.length === 0) this.#close = Buffer.alloc(CONTROL_BYTES);
      chunk.copy(this.#close, this.#closeSize, from, to);
      this.#closeSize += bytes;
    } else {
      this.#grow(this.#size + bytes);
      chunk.copy(this.#store, this.#size, from, to);
      this.#size += bytes;
    }
  }

  #grow(bytes: number): void {
    if (bytes <= this.#store.length) return;
    let size = Math.max(this.#store.length, FIRST_STORE_BYTES);
    while (size < bytes) size *= 2;
    const larger = Buffer.allocUnsafeSlow(size);
    this.#store.copy(larger, 0, 0, this.#size);
    this.#store = larger;
  }
}

function kindOf(first: number): FrameKind {
  const opcode = first & 0x0f;
  return opcode === OPCODE.pong ? PONG : opcode === OPCODE.close ? CLOSE : KEPT;
}

function checkedLength(first: number, second: number, length: number): number {
  if ((second & 0x80) === 0) throw new FrameError("a frame is not masked");
  if ((first & 0x70) !== 0) throw new FrameError("a frame uses an extension that was not agreed to");
  if (!Number.isSafeInteger(length)) throw new FrameError("a frame is too long");
  if ((first & 0x0f) >= OPCODE.close && (length > 125 || (first & 0x80) === 0)) throw new FrameError("a control frame is too long or in pieces");
  return length;
}
