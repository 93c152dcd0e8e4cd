import type { Link } from "./link.ts";

export type EarlyBytes = {
  /** What came so far; from here on the link is paused and the caller's. */
  take(): Buffer;
};

/**
 * Reads a link while nobody else does yet: only one that is read notices that its other end has left, and then it is closed.
 * Beyond `limit` bytes it is left alone, so that a client cannot fill the memory.
 */
export function readEarly(link: Link, head: Buffer, limit: number): EarlyBytes {
  const kept = [head];
  let size = head.length;
  link.user = {
    onBytes: (chunk) => {
      kept.push(link.volatile ? Buffer.from(chunk) : chunk);
      size += chunk.length;
      if (size >= limit) link.pause();
    },
    onEnd: () => link.destroy(),
    onDrain: () => undefined,
    onClose: () => undefined,
  };
  link.resume();
  return {
    take: () => {
      link.pause();
      return Buffer.concat(kept);
    },
  };
}
