import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { createBackoff } from "../../lib/backoff.ts";
import type { Call, DriverEvent } from "../driver.ts";
import { type SpawnerClient, lines } from "./client.ts";

const RETRY_MS = { first: 250, longest: 10_000 };
/** A connection that lasted this long was a good one: the next failure starts again with the shortest delay. */
const SETTLED_MS = 10_000;

/** Ends only when the signal aborts. That the far side's own engine was away is told by its `connected`. */
export async function* events(client: SpawnerClient, clock: Clock, log: Log, { signal }: Call): AsyncGenerator<DriverEvent> {
  const delays = createBackoff(RETRY_MS.first, RETRY_MS.longest);
  // Its loss and its return are told once each, however often it is tried in between.
  let lost = false;
  while (!signal.aborted) {
    let isConnected = false;
    const opened = clock.monotonic();
    try {
      for await (const event of lines<DriverEvent>(client, clock, { method: "GET", path: "/events", signal, doing: "Listening to the spawner" })) {
        if (lost) log.info({}, "The spawner is there again.");
        lost = false;
        isConnected = true;
        yield event;
      }
    } catch (error) {
      if (!signal.aborted)
        log[lost ? "debug" : "warn"](
          { reason: error instanceof Error ? error.message : String(error) },
          "The spawner's events broke off; connecting again.",
        );
      lost = true;
    }
    if (isConnected && !signal.aborted) yield { kind: "disconnected" };
    if (clock.monotonic() - opened > SETTLED_MS) delays.reset();
    await clock.sleep(delays.next(), signal).catch(() => {});
  }
}
