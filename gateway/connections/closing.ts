import type { Duplex } from "node:stream";
import type { Clock } from "../../lib/clock.ts";
import type { NetConnection } from "./connection.ts";

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

const LOOK_MS = 50;
/** After so many looks at that pace, each is twice as far from the one before, up to `MOST_MS`: a path may be long, and an answer too. */
const QUICK_LOOKS = 4;
const MOST_MS = 10_000;
const INTERIM = "HTTP/1.1 100 Continue\r\n\r\n";

/** What a client waits for. */
type HalfOpenExchange = { responding: boolean; head: { minorVersion: number } };

/**
 * A client that sent its last byte either waits for the answer or is gone, which look the same until something is sent to it: only
 * then does the system of one that is gone say so, and the next write fails. So who waits is sent interim responses, which every
 * client has to bear (RFC 9110 §15.2). Once its answer has begun nothing can be put in: a client to which nothing flows then counts as
 * gone. HTTP/1.0 has no interim responses; there the answer itself must find out.
 */
export function probeHalfOpen(link: NetConnection, current: () => HalfOpenExchange | undefined, clock: Clock): void {
  let looks = 0;
  let everyMs = LOOK_MS;
  let answeringLooks = 0;
  let written = link.bytesSent;
  const look = () => {
    // Asked each time: of several requests that were sent at once, another one may be answered by now.
    const exchange = current();
    if (!link.alive || exchange === undefined) return;
    if (exchange.responding) {
      if (answeringLooks++ === 2) return;
      // What waits to be taken finds out by itself whether anybody is there.
      if (link.bytesSent === written && link.backlog === 0) return link.destroy();
      // Something was sent after its end: if nobody takes it, the connection breaks.
      written = link.bytesSent;
    } else if (exchange.head.minorVersion === 1) link.sendText(INTERIM);
    if (++looks > QUICK_LOOKS) everyMs = Math.min(everyMs * 2, MOST_MS);
    clock.after(exchange.responding ? LOOK_MS : everyMs, look);
  };
  clock.after(LOOK_MS, look);
}
