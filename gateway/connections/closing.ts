import type { Clock } from "../../lib/clock.ts";
import type { NetConnection } from "./connection.ts";

/**
 * The gateway is about to close, and its listeners. Not an AbortSignal, which scans its listeners whenever one is added or removed: with ten thousand
 * WebSockets that took 50 µs each time.
 */
export class Draining {
  /** A plain field: it is read for each request. */
  begun = false;
  readonly #listeners = new Map<() => void, (() => void) | undefined>();

  /** Calls `act` once, when it begins, and `end` when its time is up, until they are deleted. */
  add(act: () => void, end?: () => void): void {
    this.#listeners.set(act, end);
  }

  delete(act: () => void): void {
    this.#listeners.delete(act);
  }

  begin(): void {
    if (this.begun) return;
    this.begun = true;
    for (const act of this.#listeners.keys()) act();
  }

  /** Its time is up: nothing may wait for a peer any more. */
  end(): void {
    this.begin();
    for (const end of this.#listeners.values()) end?.();
  }
}

/** Checks without progress before a slow connection is destroyed. */
const MAX_STALLED_CHECKS = 12;

/** Ends a connection after everything was sent. The other end has `ms` to close; while it still takes queued bytes, it has more time. */
export function lingeringClose(connection: NetConnection, clock: Clock, ms: number): void {
  connection.end();
  destroyStalled(connection, clock, ms, 1);
}

/** Destroys a connection whose other end takes no queued bytes for `MAX_STALLED_CHECKS` times `ms`, or for which none are queued for `emptyChecks` times. */
export function destroyStalled(connection: NetConnection, clock: Clock, ms: number, emptyChecks = Infinity): void {
  if (connection.closed) return;
  let before = connection.backlog;
  let stalled = 0;
  const check = () => {
    const { backlog } = connection;
    stalled = backlog === before ? stalled + 1 : 0;
    if (stalled >= (backlog === 0 ? emptyChecks : MAX_STALLED_CHECKS)) return connection.destroy();
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
/** A zero in front of the next chunk's size, which means nothing (RFC 9112 §7.1). */
const LEADING_ZERO = "0";

/** The exchange whose client has ended its direction. */
type HalfOpenExchange = {
  /** The final response has begun. */
  readonly responding: boolean;
  /** The next byte of the response is the size of a chunk. */
  readonly isBetweenChunks: boolean;
  readonly head: { readonly minorVersion: number };
};

/** The connection of such a client. */
type HalfOpenConnection = Pick<NetConnection, "writable" | "bytesSent" | "isBroken" | "sendText" | "destroy" | "onceClosed">;

/**
 * Finds out whether a client that has ended its direction is still there, and closes the connection if not. A client that is gone looks the same until it
 * gets something: only then does its system reset the connection. So before the response, this sends interim responses, which every client must accept
 * (RFC 9110 §15.2). Later the bytes of the response have that effect. If none follows the client's end, a zero is sent between two chunks. Where nothing
 * can be inserted (HTTP/1.0, other framings), TCP keep-alive finds out, once the client's system has forgotten the connection: mostly after a minute.
 */
export function probeHalfOpen(connection: HalfOpenConnection, current: () => HalfOpenExchange | undefined, clock: Clock): void {
  const before = connection.bytesSent;
  let probes = 0;
  let intervalMs = PROBE_MS;
  const probe = () => {
    if (!connection.writable) return;
    if (connection.isBroken()) return connection.destroy();
    // Called each time: with pipelined requests, the next exchange may have begun.
    const exchange = current();
    if (exchange?.responding === false && exchange.head.minorVersion === 1) connection.sendText(INTERIM);
    else if (exchange?.isBetweenChunks === true && connection.bytesSent === before) connection.sendText(LEADING_ZERO);
    if (++probes > QUICK_PROBES) intervalMs = Math.min(intervalMs * 2, MAX_PROBE_MS);
    cancel = clock.after(intervalMs, probe);
  };
  let cancel = clock.after(PROBE_MS, probe);
  connection.onceClosed(() => cancel());
}

const BROKEN_CHECK_MS = 1_000;

/**
 * Calls `act` once the other end is gone, for a connection that is not read or whose other end has ended its direction: there no event reports it. Returns
 * the end of the check.
 */
export function watchBroken(connection: NetConnection, clock: Clock, act: () => void): () => void {
  const check = () => {
    if (!connection.writable) return;
    if (connection.isBroken()) return act();
    cancel = clock.after(BROKEN_CHECK_MS, check);
  };
  let cancel = clock.after(BROKEN_CHECK_MS, check);
  return () => cancel();
}

/**
 * Checks in which the receiver takes nothing, after which the last bytes of a sender that is gone are given up. The kernel reports only megabytes as taken,
 * so a slow receiver may look like one that does not read.
 */
const MAX_UNTAKEN_CHECKS = 60;

/**
 * For a connection that is paused whenever `receiver` does not take its bytes: calls `act` once its other end is gone and `receiver` takes nothing for a
 * minute either. No event reports that, so it would stay open for as long as the receiver. Call the returned function after each pause.
 */
export function watchPaused(connection: NetConnection, receiver: NetConnection, clock: Clock, act: () => void): () => void {
  let cancel: (() => void) | undefined;
  let before = 0;
  let untaken = 0;
  const check = () => {
    cancel = undefined;
    if (!connection.writable || !connection.paused) return;
    const { backlog } = receiver;
    untaken = backlog === before && connection.isBroken() ? untaken + 1 : 0;
    before = backlog;
    if (untaken === MAX_UNTAKEN_CHECKS) act();
    else cancel = clock.after(BROKEN_CHECK_MS, check);
  };
  connection.onceClosed(() => cancel?.());
  return () => {
    if (cancel !== undefined) return;
    untaken = 0;
    cancel = clock.after(BROKEN_CHECK_MS, check);
  };
}
