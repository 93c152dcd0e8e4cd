import type { Duplex } from "node:stream";

export type EarlyBytes = {
  /** What came so far; from here on the socket is paused and the caller's. */
  take(): Buffer;
};

/**
 * Reads a socket while nobody else does yet: only a socket that is read notices that its other end has left, and then it is
 * closed. Beyond `limit` bytes it is left alone, so that a client cannot fill the memory.
 */
export function readEarly(socket: Duplex, head: Buffer, limit: number): EarlyBytes {
  const kept = [head];
  let size = head.length;
  const onData = (chunk: Buffer) => {
    kept.push(chunk);
    size += chunk.length;
    if (size >= limit) socket.pause();
  };
  const onEnd = () => socket.destroy();
  socket.on("data", onData);
  socket.once("end", onEnd);
  return {
    take: () => {
      socket.off("data", onData);
      socket.off("end", onEnd);
      socket.pause();
      return Buffer.concat(kept);
    },
  };
}
