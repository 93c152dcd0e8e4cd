import { FrameError, OPCODE } from "./frames.ts";

/** What becomes of a frame's bytes: kept for the container, thrown away, or kept apart since it ends the connection. */
const KEPT = 0;
const PONG = 1;
const CLOSE = 2;
type FrameKind = typeof KEPT | typeof PONG | typeof CLOSE;

/** The longest head of a frame; and of a control frame, all of it. */
const HEAD_BYTES = 14;
const CONTROL_BYTES = 131;
/** What the first bytes that are kept take; each time they fill it, it doubles. */
const FIRST_STORE_BYTES = 1_024;
const EMPTY = Buffer.alloc(0);

/**
 * The frames (RFC 6455 §5.2) of a client whose container is not there yet, kept as the masked bytes they are. They lie in one buffer, so
 * that a frame costs its own bytes and nothing else: as an object for each, 1 MiB of empty frames took 27 MB. Pongs answer our own
 * pings, of which the container knows nothing, so they are dropped.
 */
export class QueuedFrames {
  /** Bytes of pongs that were dropped. */
  dropped = 0;
  /** The client's close frame has come as a whole. */
  closed = false;
  #store = EMPTY;
  #size = 0;
  #close = EMPTY;
  #closeSize = 0;
  #kind: FrameKind = KEPT;
  /** Of a head that came in pieces: what is there, and how much of it. */
  #head = EMPTY;
  #have = 0;
  /** Payload bytes of the present frame that are still to come. */
  #left = 0;

  /** Bytes that are kept. */
  get size(): number {
    return this.#size;
  }

  /** Bytes of memory that they take. */
  get memory(): number {
    return this.#store.length;
  }

  /** Takes the next bytes of the stream, which stay the caller's. Throws `FrameError` where they are no frames. */
  push(chunk: Buffer): void {
    const end = chunk.length;
    let at = 0;
    /** Where the bytes begin that belong to frames of the present kind and have not been put away. */
    let from = 0;
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
        at = this.#readHead(chunk, at);
      }
      if (this.#left === 0 && this.#have === 0 && this.#kind === CLOSE) this.closed = true;
    }
    this.#put(chunk, from, at);
  }

  /** Everything for the container, in order; of a frame that has come in part, that part. Nothing is kept after it. */
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

  /** The payload of the client's close frame, unmasked: what it is answered with. */
  closePayload(): Buffer {
    const mask = this.#close.subarray(2, 6);
    const payload = Buffer.from(this.#close.subarray(6, this.#closeSize));
    for (let at = 0; at < payload.length; at++) payload[at] = (payload[at] as number) ^ (mask[at % 4] as number);
    return payload;
  }

  /** True within a pong: the rest of it is not for the container either. */
  get withinPong(): boolean {
    return this.#kind === PONG && (this.#left > 0 || this.#have > 0);
  }

  /** What comes behind the pong that it is within; undefined while all of `chunk` is of that. */
  behindPong(chunk: Buffer): Buffer | undefined {
    let at = 0;
    try {
      while (this.withinPong && at < chunk.length) {
        if (this.#left > 0) {
          this.#left--;
          at++;
        } else this.#readHeadByte(chunk[at++] as number);
      }
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      // The container is the judge of what follows.
      return chunk.subarray(at);
    }
    return this.withinPong ? undefined : chunk.subarray(at);
  }

  /** The offset behind the head that begins or goes on at `at`, or behind as much of it as there is. */
  #readHead(chunk: Buffer, at: number): number {
    // Nearly every head is a short one that is there as a whole.
    if (this.#have === 0 && chunk.length - at >= 6 && ((chunk[at + 1] as number) & 0x7f) < 126) {
      this.#left = checkedLength(chunk[at] as number, chunk[at + 1] as number, (chunk[at + 1] as number) & 0x7f);
      return at + 6;
    }
    let next = at;
    do this.#readHeadByte(chunk[next++] as number);
    while (this.#have > 0 && next < chunk.length);
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
    // An unmasked frame is refused as soon as that shows: it has no key to wait for.
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
      this.#makeRoom(this.#size + bytes);
      chunk.copy(this.#store, this.#size, from, to);
      this.#size += bytes;
    }
  }

  #makeRoom(bytes: number): void {
    if (bytes <= this.#store.length) return;
    let room = Math.max(this.#store.length, FIRST_STORE_BYTES);
    while (room < bytes) room *= 2;
    const larger = Buffer.allocUnsafeSlow(room);
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
  if (!Number.isSafeInteger(length)) throw new FrameError("a frame is longer than can be counted");
  if ((first & 0x0f) >= OPCODE.close && (length > 125 || (first & 0x80) === 0)) throw new FrameError("a control frame is too long or in pieces");
  return length;
}
