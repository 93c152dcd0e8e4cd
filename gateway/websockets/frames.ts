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
