import { Sender } from "ws";

/** WebSocket frames (RFC 6455 §5.2), seen by their heads only: payloads pass by untouched. */

export const OPCODE = { text: 1, close: 8, ping: 9, pong: 10 } as const;

export type FrameHead = { fin: boolean; opcode: number; masked: boolean; length: number };

export type FrameVisitor = {
  /** Each stretch of bytes in order: a head as a whole, then its payload in the pieces in which it came. */
  bytes?(bytes: Buffer, frame: FrameHead, part: "head" | "payload"): void;
  /** The frame's last byte has passed. */
  ended?(frame: FrameHead): void;
};

export type FrameWalker = {
  /** Walks on over the next bytes of the stream. Throws `FrameError` where they are no frames. */
  push(chunk: Buffer): void;
  /** True between two frames: here, and only here, a frame of our own may go in. */
  atBoundary(): boolean;
  /** That of the frame it is in, or whose head has begun. */
  opcode(): number | undefined;
  /** Of a head that is not complete yet: what came of it. */
  pending(): Buffer;
};

export class FrameError extends Error {
  override readonly name = "FrameError";
}

/** Walks over the frames of one direction; `masked` is whether they must be (a client's must, a server's must not). */
export function walkFrames(masked: boolean, visitor: FrameVisitor = {}): FrameWalker {
  const head = Buffer.alloc(14);
  let have = 0;
  let frame: FrameHead | undefined;
  let left = 0;

  const end = (ended: FrameHead) => {
    frame = undefined;
    visitor.ended?.(ended);
  };

  return {
    atBoundary: () => frame === undefined && have === 0,
    opcode: () => frame?.opcode ?? (have > 0 ? (head[0] ?? 0) & 0x0f : undefined),
    pending: () => Buffer.from(head.subarray(0, have)),
    push: (chunk) => {
      let at = 0;
      while (at < chunk.length) {
        if (frame === undefined) {
          head[have++] = chunk[at++] ?? 0;
          if (have < 2 || have < headLength(head)) continue;
          const read = readHead(head, masked);
          visitor.bytes?.(Buffer.from(head.subarray(0, have)), read, "head");
          frame = read;
          left = read.length;
          have = 0;
          if (left === 0) end(read);
          continue;
        }
        const take = Math.min(left, chunk.length - at);
        visitor.bytes?.(chunk.subarray(at, at + take), frame, "payload");
        at += take;
        left -= take;
        if (left === 0) end(frame);
      }
    },
  };
}

function headLength(head: Buffer): number {
  const second = head[1] ?? 0;
  const short = second & 0x7f;
  return 2 + (short === 126 ? 2 : short === 127 ? 8 : 0) + ((second & 0x80) === 0 ? 0 : 4);
}

function readHead(head: Buffer, mustBeMasked: boolean): FrameHead {
  const first = head[0] ?? 0;
  const second = head[1] ?? 0;
  const short = second & 0x7f;
  const length = short === 126 ? head.readUInt16BE(2) : short === 127 ? Number(head.readBigUInt64BE(2)) : short;
  const frame = { fin: (first & 0x80) !== 0, opcode: first & 0x0f, masked: (second & 0x80) !== 0, length };
  if (frame.masked !== mustBeMasked) throw new FrameError(mustBeMasked ? "a frame is not masked" : "a frame is masked");
  if ((first & 0x70) !== 0) throw new FrameError("a frame uses an extension that was not agreed to");
  if (!Number.isSafeInteger(length)) throw new FrameError("a frame is longer than can be counted");
  if (frame.opcode >= OPCODE.close && (length > 125 || !frame.fin)) throw new FrameError("a control frame is too long or in pieces");
  return frame;
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
