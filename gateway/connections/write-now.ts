import { writeSync } from "node:fs";
import type { Socket } from "node:net";

/**
 * Sends what the system takes at once, past the stream, and says how many bytes that were. A stream may want to keep bytes for later, so
 * those in memory that is read into again would have to be copied for it, which for messages of 16 KiB costs more than all else.
 * There is no public way to a connection's number; where it is not to be had, or anything is in the way, this sends nothing, and
 * the stream, asked next, finds out what it is. Not for connections that Node encrypts.
 */
export function writeNow(socket: Socket, bytes: Buffer, from: number, length: number): number {
  if (socket.writableLength > 0 || socket.connecting) return 0;
  // Asked each time, never kept: once closed, a number is given to the next connection.
  const number = numberOf(socket);
  if (number === undefined || number < 0) return 0;
  try {
    return writeSync(number, bytes, from, length);
  } catch {
    return 0;
  }
}

/** Whether the other end is known to be gone: what reading would tell, of a connection that is not read. */
export function isBroken(socket: Socket): boolean {
  const number = numberOf(socket);
  if (number === undefined || number < 0 || socket.connecting) return false;
  try {
    writeSync(number, NOTHING);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "EAGAIN";
  }
}

const NOTHING = Buffer.alloc(0);

function numberOf(socket: Socket): number | undefined {
  return (socket as unknown as { _handle: { fd?: number } | null })["_handle"]?.fd;
}
