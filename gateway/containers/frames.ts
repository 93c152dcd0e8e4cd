import { Sender } from "ws";

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
