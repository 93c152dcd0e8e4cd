import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import type { Log } from "../../lib/log.ts";
import { createBackoff } from "../../lib/backoff.ts";
import type { Call } from "../driver.ts";
import type { Engine } from "./engine.ts";
import { jsonLines } from "../../lib/split-lines.ts";

const RETRY_MS = { first: 250, longest: 3_000 };
/** A connection that lasted this long was a good one: the next failure starts again with the shortest delay. */
const SETTLED_MS = 10_000;

/** What happens to a container that changes what `inspect` would say. */
export const TELLING = ["create", "start", "die", "oom", "destroy", "pause", "unpause", "rename"];

export type EngineEvent = { Type?: string; Action?: string; Actor?: { ID?: string; Attributes?: Record<string, string> } };

/** The engine's events, with "connected" before the first and after each break, and "disconnected" at each. Ends only when the signal aborts. */
export async function* eventStream(
  engine: Engine,
  filters: Record<string, string[]>,
  log: Log,
  { signal }: Call,
): AsyncGenerator<"connected" | "disconnected" | EngineEvent> {
  const delays = createBackoff(RETRY_MS.first, RETRY_MS.longest);
  // Its loss and its return are told once each, however often it is tried in between.
  let lost = false;
  while (!signal.aborted) {
    let stream: Readable | undefined;
    let isConnected = false;
    const opened = engine.clock.monotonic();
    try {
      stream = await open(engine, filters, signal);
      if (lost) log.info({}, "The container engine is there again.");
      lost = false;
      isConnected = true;
      yield "connected";
      yield* jsonLines<EngineEvent>(stream);
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
    if (isConnected && !signal.aborted) yield "disconnected";
    if (engine.clock.monotonic() - opened > SETTLED_MS) delays.reset();
    await engine.clock.sleep(delays.next(), signal).catch(() => {});
  }
}

async function open(engine: Engine, filters: Record<string, string[]>, signal: AbortSignal): Promise<Readable> {
  // The limit is on the answer's head; the stream that follows has none but the caller's signal.
  const stream = (await engine.call({ doing: "Opening the engine's events", signal }, (docker, head) =>
    docker.getEvents({ filters, abortSignal: AbortSignal.any([head, signal]) } as Parameters<typeof docker.getEvents>[0]),
  )) as Readable & { socket?: Socket };
  // A remote engine that vanishes without a word would otherwise look like one where nothing happens.
  stream.socket?.setKeepAlive(true, 15_000);
  return stream;
}
