import { Sender } from "ws";
import type { Fault } from "../../lib/fault.ts";

/** The opcodes that a gateway handles (RFC 6455 §5.2). */
export const OPCODE = { text: 1, close: 8, ping: 9, pong: 10 } as const;

/** A client must not send these bytes. */
export class FrameError extends Error {
  override readonly name = "FrameError";
}

/** An unmasked frame, as a server sends it. */
export function shortFrame(opcode: number, payload: Buffer | string = ""): Buffer {
  return Buffer.concat(Sender.frame(Buffer.from(payload), { fin: true, rsv1: false, opcode, mask: false, readOnly: true }));
}

export function closeFrame(code: number, reason: string): Buffer {
  const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
  payload.writeUInt16BE(code);
  payload.write(reason, 2);
  return shortFrame(OPCODE.close, payload);
}

/** The close codes that a gateway sends (RFC 6455 §7.4.1 and its registry). */
export const CLOSE = { goingAway: 1001, protocolError: 1002, policy: 1008, failed: 1011, serviceRestart: 1012, tryLater: 1013 } as const;

/** A control frame holds 125 bytes; the code takes two. */
const MAX_REASON_BYTES = 123;

/** The close for a fault. The published client shows its user the reason only. */
export function closeFor(fault: Fault): { code: number; reason: string } {
  return { code: codeFor(fault), reason: closeReason(fault.message) };
}

function codeFor(fault: Fault): number {
  if (fault.code === "WEBSOCKET_MISMATCH") return CLOSE.protocolError;
  if (fault.status === 503 || fault.status === 429) return CLOSE.tryLater;
  return fault.status < 500 ? CLOSE.policy : CLOSE.failed;
}

/** Cuts at a character: browsers fail the connection if the reason is not UTF-8. */
export function closeReason(text: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= MAX_REASON_BYTES) return text;
  let end = MAX_REASON_BYTES;
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.toString("utf8", 0, end);
}

type FrameOptions = { fin: boolean; rsv1: boolean; opcode: number; mask: boolean; readOnly: boolean };

// `ws` exports its Sender; its published types leave it out.
declare module "ws" {
  export const Sender: {
    /** The pieces of one frame, head first. */
    frame(payload: Buffer, options: FrameOptions): Buffer[];
  };
}

/** The next byte of a head is its first, its second, or one of its length (a positive number: the missing bytes). */
const FIRST = 0;
const SECOND = -1;

/**
 * Finds the boundaries between the frames of a server's stream: only there may berth insert a frame of its own. It runs for every message, so it reads
 * heads only, and allocates nothing.
 */
export class FrameBoundary {
  /** A close frame has begun, so no frame may follow. */
  closing = false;
  /** The stream is invalid. */
  broken = false;
  /** Missing payload bytes of the current frame. */
  #left = 0;
  /** The position in an incomplete head: `FIRST`, `SECOND`, or the missing bytes of its length. */
  #part = FIRST;
  #first = 0;
  #length = 0;

  /** A frame may be inserted here. */
  get open(): boolean {
    return this.#left === 0 && this.#part === FIRST && !this.closing && !this.broken;
  }

  /** Reads the next bytes of the stream. */
  pass(chunk: Buffer, start: number, end: number): void {
    let at = start + this.#left;
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
    // Bits of extensions are ignored. After an unknown opcode, the framing is unknown.
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
