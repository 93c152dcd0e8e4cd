import { Sender } from "ws";
import type { Fault } from "../../lib/fault.ts";

/** Of the opcodes of WebSocket frames (RFC 6455 §5.2), those that a gateway looks for. */
export const OPCODE = { text: 1, close: 8, ping: 9, pong: 10 } as const;

/** These bytes are no frames that a client may send. */
export class FrameError extends Error {
  override readonly name = "FrameError";
}

/** An unmasked frame, as a server sends it; made by `ws`. */
export function shortFrame(opcode: number, payload: Buffer | string = ""): Buffer {
  return Buffer.concat(Sender.frame(Buffer.from(payload), { fin: true, rsv1: false, opcode, mask: false, readOnly: true }));
}

export function closeFrame(code: number, reason: string): Buffer {
  const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
  payload.writeUInt16BE(code);
  payload.write(reason, 2);
  return shortFrame(OPCODE.close, payload);
}

/** Close codes of RFC 6455 §7.4.1 and of its registry, as far as a gateway sends them. */
export const CLOSE = { protocolError: 1002, policy: 1008, failed: 1011, serviceRestart: 1012, tryLater: 1013 } as const;

/** A control frame holds 125 bytes, two of which are the code. */
const LONGEST_REASON = 123;

/** A failure as a WebSocket client can show it: the published one prints the reason and nothing else. */
export function closeFor(fault: Fault): { code: number; reason: string } {
  return { code: codeFor(fault), reason: closeReason(fault.message) };
}

function codeFor(fault: Fault): number {
  if (fault.code === "WEBSOCKET_MISMATCH") return CLOSE.protocolError;
  if (fault.status === 503 || fault.status === 429) return CLOSE.tryLater;
  return fault.status < 500 ? CLOSE.policy : CLOSE.failed;
}

/** Cuts at a character, never within one: a reason that is not UTF-8 makes browsers fail the connection instead. */
export function closeReason(text: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= LONGEST_REASON) return text;
  let end = LONGEST_REASON;
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.toString("utf8", 0, end);
}

/** What `ws` takes to make a frame (RFC 6455 §5.2). */
type FrameOptions = { fin: boolean; rsv1: boolean; opcode: number; mask: boolean; readOnly: boolean };

// `ws` exports its Sender; its published types leave it out.
declare module "ws" {
  export const Sender: {
    /** The pieces of one frame, head first. */
    frame(payload: Buffer, options: FrameOptions): Buffer[];
  };
}

/** Parts of a head still to come: its first byte, its second, or so many of its length. */
const FIRST = 0;
const SECOND = -1;

/**
 * Knows where in a server's stream of WebSocket frames one ends and the next has not begun: there, and only there, a frame of our own
 * may go in. It stands in the way of every message, so it looks at heads only, and makes nothing.
 */
export class FrameBoundary {
  /** A close frame has begun: nothing may follow it. */
  closing = false;
  /** These are no frames, or none that a server sends. */
  broken = false;
  /** Payload bytes of the present frame that are still to come. */
  #left = 0;
  /** Where in a head that came in pieces: `FIRST`, `SECOND`, or how many bytes of its length are missing. */
  #part = FIRST;
  #first = 0;
  #length = 0;

  /** True where a frame of our own may go in. */
  get open(): boolean {
    return this.#left === 0 && this.#part === FIRST && !this.closing && !this.broken;
  }

  /** The next bytes of the stream pass. */
  pass(chunk: Buffer): void {
    const end = chunk.length;
    let at = this.#left;
    if (at >= end) {
      this.#left = at - end;
      return;
    }
    this.#left = 0;
    while (at < end) {
      const short = this.#part === FIRST && at + 1 < end ? (chunk[at + 1] as number) : 255;
      if (short < 126) {
        this.#begin(chunk[at] as number, short);
        at += 2;
      } else {
        this.#passHeadByte(chunk[at] as number);
        at++;
        if (this.#part !== FIRST) continue;
      }
      if (this.broken) return;
      const left = this.#left;
      if (left > end - at) {
        this.#left = left - (end - at);
        return;
      }
      at += left;
      this.#left = 0;
    }
  }

  #begin(first: number, length: number): void {
    const opcode = first & 0x0f;
    if (opcode === OPCODE.close) this.closing = true;
    // Of the bits that extensions use, nobody here needs to know; of opcodes that do not exist, nobody can say what follows them.
    if ((opcode & 7) > 2 || (opcode >= OPCODE.close && (length > 125 || first < 0x80)) || length > Number.MAX_SAFE_INTEGER) this.broken = true;
    this.#left = length;
  }

  #passHeadByte(byte: number): void {
    if (this.#part === FIRST) {
      this.#first = byte;
      this.#part = SECOND;
    } else if (this.#part === SECOND) {
      this.#part = byte === 126 ? 2 : byte === 127 ? 8 : FIRST;
      this.#length = 0;
      if (byte >= 0x80) this.broken = true;
      else if (this.#part === FIRST) this.#begin(this.#first, byte);
    } else {
      this.#length = this.#length * 256 + byte;
      this.#part--;
      if (this.#part === FIRST) this.#begin(this.#first, this.#length);
    }
  }
}
