import { createBackoff } from "../lib/backoff.ts";
import type { Clock } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import type { Call, Driver, DriverEvent } from "./driver.ts";

/** After a connection of this length the next failure starts again with the shortest delay. */
const STABLE_MS = 10_000;

type ReconnectOptions = {
  clock: Clock;
  log: Log;
  signal: AbortSignal;
  firstMs: number;
  longestMs: number;
  /** Log messages. Each loss and each return is logged once, whatever the number of attempts. */
  lost: string;
  back: string;
};

/**
 * Opens a stream again and again, with back-off, until the signal aborts. The first value of a stream shows that it is connected. "disconnected" follows
 * the end of each connected stream.
 */
export async function* reconnect<T>(options: ReconnectOptions, open: () => AsyncIterable<T>): AsyncGenerator<T | "disconnected"> {
  const { clock, log, signal } = options;
  const delays = createBackoff(options.firstMs, options.longestMs);
  let lost = false;
  while (!signal.aborted) {
    let isConnected = false;
    const openedAt = clock.monotonic();
    try {
      for await (const value of open()) {
        if (lost) log.info({}, options.back);
        lost = false;
        isConnected = true;
        yield value;
      }
    } catch (error) {
      if (!signal.aborted) log[lost ? "debug" : "warn"]({ reason: reasonOf(error) }, options.lost);
      lost = true;
    }
    if (isConnected && !signal.aborted) yield "disconnected";
    if (clock.monotonic() - openedAt > STABLE_MS) delays.reset();
    await clock.sleep(delays.next(), signal).catch(() => {});
  }
}

export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

type EventIterator = AsyncIterator<DriverEvent>;
type Arrival = { source: EventIterator; event: IteratorResult<DriverEvent> } | { error: unknown };

/**
 * Merges the events of several drivers. "connected" comes once all of them are, and "disconnected" lasts until all that sent it are connected again. At most one
 * event of each waits. An error of one driver ends the stream.
 */
export async function* mergeEvents(drivers: readonly Driver[], { signal }: Call): AsyncGenerator<DriverEvent> {
  const done = new AbortController();
  const own = AbortSignal.any([signal, done.signal]);
  // Promise.race would leave a reaction on the promise of a silent driver at each event of the others.
  const arrivals: Arrival[] = [];
  let wake = () => {};
  const request = async (source: EventIterator) => {
    try {
      arrivals.push({ source, event: await source.next() });
    } catch (error) {
      arrivals.push({ error });
    }
    wake();
  };
  const sources = drivers.map((driver) => driver.events({ signal: own })[Symbol.asyncIterator]());
  const disconnected = new Set(sources);
  let isWatched = false;
  const pending = new Map(sources.map((source) => [source, request(source)]));
  try {
    while (pending.size > 0) {
      const arrival = arrivals.shift();
      if (!arrival) {
        await new Promise<void>((resolve) => (wake = resolve));
        continue;
      }
      if ("error" in arrival) throw arrival.error;
      const { source, event } = arrival;
      pending.delete(source);
      if (event.done) continue;
      const { kind } = event.value;
      isWatched ||= event.value.kind === "connected" && event.value.watchedAddresses === true;
      const wasConnected = disconnected.size === 0;
      if (kind === "disconnected") disconnected.add(source);
      else if (kind === "connected") disconnected.delete(source);
      if (kind === "changed" || (kind === "disconnected" ? wasConnected : disconnected.size === 0))
        yield kind === "connected" && isWatched ? { kind, watchedAddresses: true } : event.value;
      pending.set(source, request(source));
    }
  } finally {
    done.abort(new Error("The reader has stopped."));
    await Promise.all(pending.values());
    for (const source of sources) await source.return?.();
  }
}
