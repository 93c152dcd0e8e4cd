import { writeSync } from "node:fs";
import type { Socket } from "node:net";

/** Whoever has something to send at the end of the turn. */
export type PendingWriter = { flush(): void };

/** Beyond it, what waits leaves at once. */
const MEMORY_BYTES = 262_144;

/**
 * What one turn of the event loop has to say to its connections leaves together at the turn's end: first all that arrived is read and
 * decided on, then all of it is sent. Each costs less in a row than in turns, and a program on another core that is woken for the first
 * message is still awake for the rest: with 64 busy connections that takes a tenth off a request. It waits for nothing but what has arrived
 * already, so that a message that is alone leaves as soon as before.
 */
export class Outbox {
  /** Where those put what waits who send past their streams; undefined where the streams themselves hold it. */
  readonly memory: Buffer | undefined;
  readonly #waiting: PendingWriter[] = [];
  #used = 0;

  constructor({ pastStreams }: { pastStreams: boolean }) {
    this.memory = pastStreams ? Buffer.allocUnsafeSlow(MEMORY_BYTES) : undefined;
  }

  /** `one` is to be flushed at the end of this turn. */
  add(one: PendingWriter): void {
    if (this.#waiting.push(one) === 1) setImmediate(this.#endTurn);
  }

  /** Where in the memory so many bytes may be put. Where there is no room, all that waits is flushed first. */
  place(bytes: number): number {
    if (this.#used + bytes > MEMORY_BYTES) this.#flushAll();
    const at = this.#used;
    this.#used += bytes;
    return at;
  }

  readonly #endTurn = (): void => {
    this.#flushAll();
    this.#waiting.length = 0;
  };

  #flushAll(): void {
    for (const one of this.#waiting) one.flush();
    this.#used = 0;
  }
}

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
