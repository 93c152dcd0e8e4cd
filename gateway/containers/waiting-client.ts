import type { Duplex } from "node:stream";
import type { Clock } from "../../clock.ts";
import { CLOSE } from "./close-codes.ts";
import { closeFrame, FrameError, OPCODE, shortFrame, walkFrames, type FrameHead } from "./frames.ts";

export type WaitingClient = {
  /** Takes what the client sent behind its handshake. */
  push(chunk: Buffer): void;
  /**
   * The container is there: what the client sent so far goes to `container` in order, and what it sends from now on as well.
   * `container` answers false where it wants a pause; call `resume` when it wants more.
   */
  passTo(container: (bytes: Buffer) => boolean): void;
  resume(): void;
};

/**
 * The client of an accepted WebSocket whose container is still on its way: it is pinged, and its frames are kept as the masked
 * bytes they are. At `limit` bytes its socket is no longer read. `onLeave` is called when it closed or broke the rules.
 */
export function waitingClient(socket: Duplex, parts: { clock: Clock; pingMs: number; limit: number; onLeave(): void }): WaitingClient {
  const { clock, pingMs, limit, onLeave } = parts;
  const kept: Buffer[] = [];
  const closing: Buffer[] = [];
  let size = 0;
  let pass: ((bytes: Buffer) => boolean) | undefined;

  const keep = (bytes: Buffer) => {
    if (pass !== undefined) return pass(bytes);
    kept.push(bytes);
    size += bytes.length;
    return size < limit;
  };
  let ready = true;
  const walker = walkFrames(true, {
    bytes: (bytes, frame) => {
      // Pongs answer our own pings, of which the container knows nothing.
      if (frame.opcode === OPCODE.pong) return;
      if (frame.opcode === OPCODE.close && pass === undefined) closing.push(bytes);
      else ready = keep(bytes) && ready;
    },
    ended: (frame) => {
      if (frame.opcode === OPCODE.close && pass === undefined) leave(shortFrame(OPCODE.close, closePayload(closing, frame)));
    },
  });

  const leave = (frame: Buffer) => {
    cancelPing();
    if (!socket.writableEnded) socket.end(frame);
    onLeave();
  };
  const ping = () => {
    if (socket.writableEnded || pass !== undefined) return;
    socket.write(shortFrame(OPCODE.ping));
    cancelPing = clock.after(pingMs, ping);
  };
  let cancelPing = clock.after(pingMs, ping);
  socket.once("close", () => cancelPing());

  return {
    push: (chunk) => {
      // Between frames, with a container to take them, there is nothing left to look for.
      if (pass !== undefined && walker.atBoundary()) {
        if (!pass(chunk)) socket.pause();
        return;
      }
      ready = true;
      try {
        walker.push(chunk);
      } catch (error) {
        if (!(error instanceof FrameError)) throw error;
        return leave(closeFrame(CLOSE.protocolError, error.message));
      }
      if (!ready) socket.pause();
    },
    passTo: (container) => {
      cancelPing();
      pass = container;
      // Of a close that has come in part, the container gets that part too: the rest will go to it.
      const waiting = [...kept.splice(0), ...closing.splice(0)].map((bytes) => container(bytes));
      if (waiting.at(-1) ?? true) socket.resume();
      else socket.pause();
    },
    resume: () => socket.resume(),
  };
}

/** A close is answered with its own code and reason, unmasked. */
function closePayload(pieces: Buffer[], frame: FrameHead): Buffer {
  const bytes = Buffer.concat(pieces);
  const mask = bytes.subarray(2, 6);
  const payload = Buffer.from(bytes.subarray(6, 6 + frame.length));
  for (let at = 0; at < payload.length; at++) payload[at] = (payload[at] ?? 0) ^ (mask[at % 4] ?? 0);
  return payload;
}
