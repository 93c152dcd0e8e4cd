import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import type { Log } from "../../log.ts";
import { backoff } from "../backoff.ts";
import type { Call, DriverEvent } from "../driver.ts";
import type { Engine } from "./engine.ts";
import { jsonLines } from "./json-lines.ts";
import { OURS } from "./labels.ts";

const RETRY_MS = { first: 250, longest: 10_000 };
/** A connection that lasted this long was a good one: the next failure starts again with the shortest delay. */
const SETTLED_MS = 10_000;
/** What changes what `inspect` would say. */
const TELLING = ["create", "start", "die", "oom", "destroy", "pause", "unpause", "rename"];

type Event = { Actor?: { Attributes?: Record<string, string> } };

/** Ends only when the signal aborts. */
export async function* events(engine: Engine, log: Log, { signal }: Call): AsyncGenerator<DriverEvent> {
  const delays = backoff(RETRY_MS.first, RETRY_MS.longest);
  // Its loss and its return are told once each, however often it is tried in between.
  let lost = false;
  while (!signal.aborted) {
    let stream: Readable | undefined;
    const opened = engine.clock.monotonic();
    try {
      stream = await open(engine, signal);
      if (lost) log.info({}, "The container engine is there again.");
      lost = false;
      yield { kind: "connected" };
      for await (const line of jsonLines<Event>(stream)) {
        const { name, [OURS]: container } = line.Actor?.Attributes ?? {};
        if (name !== undefined && container !== undefined) yield { kind: "changed", service: name, container };
      }
    } catch (error) {
      if (!signal.aborted)
        log[lost ? "debug" : "warn"](
          { reason: error instanceof Error ? error.message : String(error) },
          "The container engine's events broke off; connecting again.",
        );
      lost = true;
    } finally {
      stream?.destroy();
    }
    if (engine.clock.monotonic() - opened > SETTLED_MS) delays.reset();
    await engine.clock.sleep(delays.next(), signal).catch(() => {});
  }
}

async function open(engine: Engine, signal: AbortSignal): Promise<Readable> {
  const filters = { type: ["container"], label: [OURS], event: TELLING };
  // The limit is on the answer's head; the stream that follows has none but the caller's signal.
  const stream = (await engine.call({ doing: "Opening the engine's events", signal }, (docker, head) =>
    docker.getEvents({ filters, abortSignal: AbortSignal.any([head, signal]) } as Parameters<typeof docker.getEvents>[0]),
  )) as Readable & { socket?: Socket };
  // A remote engine that vanishes without a word would otherwise look like one where nothing happens.
  stream.socket?.setKeepAlive(true, 15_000);
  return stream;
}
