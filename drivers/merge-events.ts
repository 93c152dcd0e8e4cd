import type { Call, Driver, DriverEvent } from "./driver.ts";

type Stream = AsyncIterator<DriverEvent>;
type Arrived = { stream: Stream; event: IteratorResult<DriverEvent> } | { error: unknown };

/** The events of several drivers, as each tells them. One of each at most waits to be taken. What one fails with ends them all. */
export async function* mergeEvents(drivers: readonly Driver[], { signal }: Call): AsyncGenerator<DriverEvent> {
  const over = new AbortController();
  const own = AbortSignal.any([signal, over.signal]);
  // Not a race of promises: at the one of a silent driver every event of the others would leave something.
  const arrived: Arrived[] = [];
  let wake = () => {};
  const ask = async (stream: Stream) => {
    try {
      arrived.push({ stream, event: await stream.next() });
    } catch (error) {
      arrived.push({ error });
    }
    wake();
  };
  const streams = drivers.map((driver) => driver.events({ signal: own })[Symbol.asyncIterator]());
  const asked = new Map(streams.map((stream) => [stream, ask(stream)]));
  try {
    while (asked.size > 0) {
      const next = arrived.shift();
      if (!next) {
        await new Promise<void>((resolve) => (wake = resolve));
        continue;
      }
      if ("error" in next) throw next.error;
      const { stream, event } = next;
      asked.delete(stream);
      if (event.done) continue;
      yield event.value;
      asked.set(stream, ask(stream));
    }
  } finally {
    over.abort(new Error("Nobody listens any more."));
    await Promise.all(asked.values());
    for (const stream of streams) await stream.return?.();
  }
}
