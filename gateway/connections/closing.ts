import type { Clock } from "../../lib/clock.ts";
import type { NetConnection } from "./connection.ts";

/**
 * The gateway is about to close, and its listeners. Not an AbortSignal, which scans its listeners whenever one is added or removed: with ten thousand
 * WebSockets that took 50 µs each time.
 */
export class Draining {
  /** A plain field: it is read for each request. */
  begun = false;
  readonly #listeners = new Set<() => void>();

  /** Calls `act` once, when it begins. */
  add(act: () => void): void {
    this.#listeners.add(act);
  }

  delete(act: () => void): void {
    this.#listeners.delete(act);
  }

  begin(): void {
    if (this.begun) return;
    this.begun = true;
    for (const act of this.#listeners) act();
    this.#listeners.clear();
  }
}

/** Checks without progress before a slow connection is destroyed. */
const MAX_STALLED_CHECKS = 12;

/** Ends a connection after everything was sent. The other end has `ms` to close; while it still takes queued bytes, it has more time. */
export function lingeringClose(connection: NetConnection, clock: Clock, ms: number): void {
  if (connection.closed) return;
  connection.end();
  let before = connection.backlog;
  let stalled = 0;
  const check = () => {
    const { backlog } = connection;
    stalled = backlog === before ? stalled + 1 : 0;
    if (backlog === before && (backlog === 0 || stalled === MAX_STALLED_CHECKS)) return connection.destroy();
    before = backlog;
    cancel = clock.after(ms, check);
  };
  let cancel = clock.after(ms, check);
  connection.onceClosed(() => cancel());
}

const PROBE_MS = 50;
/** After so many probes, the interval doubles each time, up to `MAX_PROBE_MS`: a path may be long, and a response too. */
const QUICK_PROBES = 4;
const MAX_PROBE_MS = 10_000;
const INTERIM = "HTTP/1.1 100 Continue\r\n\r\n";

/** The exchange whose client has ended its direction. */
type HalfOpenExchange = { responding: boolean; head: { minorVersion: number } };

/**
 * Finds out whether a client that has ended its direction still waits for the response. A client that is gone looks the same until something is sent:
 * only then does its system reset the connection, and the next write fails. So this sends interim responses, which every client must accept (RFC 9110
 * §15.2). Once the response has begun, nothing can be inserted: then a client that receives nothing for a while counts as gone. HTTP/1.0 has no interim
 * responses; there only the response itself can tell.
 */
export function probeHalfOpen(connection: NetConnection, current: () => HalfOpenExchange | undefined, clock: Clock): void {
  let probes = 0;
  let intervalMs = PROBE_MS;
  let respondingProbes = 0;
  let sent = connection.bytesSent;
  const probe = () => {
    // Called each time: with pipelined requests, the next exchange may have begun.
    const exchange = current();
    if (!connection.alive || exchange === undefined) return;
    if (exchange.responding) {
      if (respondingProbes++ === 2) return;
      if (connection.bytesSent === sent && connection.backlog === 0) return connection.destroy();
      // Bytes were sent after the client's end: if it is gone, the connection breaks by itself.
      sent = connection.bytesSent;
    } else if (exchange.head.minorVersion === 1) connection.sendText(INTERIM);
    if (++probes > QUICK_PROBES) intervalMs = Math.min(intervalMs * 2, MAX_PROBE_MS);
    clock.after(exchange.responding ? PROBE_MS : intervalMs, probe);
  };
  clock.after(PROBE_MS, probe);
}
