import type { Duplex } from "node:stream";
import type { Clock } from "../../lib/clock.ts";

/**
 * Whether this gateway is about to end, and who wants to be told when it is. Not an AbortSignal, which looks at all its listeners for each
 * that comes or goes: with ten thousand WebSockets that took 50 µs each time.
 */
export class Draining {
  #begun = false;
  readonly #waiting = new Set<() => void>();

  get begun(): boolean {
    return this.#begun;
  }

  /** Calls `act` when it begins, once. */
  add(act: () => void): void {
    this.#waiting.add(act);
  }

  delete(act: () => void): void {
    this.#waiting.delete(act);
  }

  begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    for (const act of this.#waiting) act();
    this.#waiting.clear();
  }
}

/** A slow other end may take so many times as long over what it was sent already, and again whenever it took some of it. */
const STALLED_LOOKS = 12;

/** Ends what is left of a connection that has said all it had to say: its other end may take `ms` to agree, then it is cut off. */
export function lingeringClose(socket: Duplex, clock: Clock, ms: number): void {
  if (socket.closed) return;
  if (!socket.writableEnded) socket.end();
  let waited = socket.writableLength;
  let looks = 0;
  const look = () => {
    const waits = socket.writableLength;
    looks = waits === waited ? looks + 1 : 0;
    if (waits === waited && (waits === 0 || looks === STALLED_LOOKS)) return void socket.destroy();
    waited = waits;
    cancel = clock.after(ms, look);
  };
  let cancel = clock.after(ms, look);
  socket.once("close", () => cancel());
}
