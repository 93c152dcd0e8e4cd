import type { Log } from "../../log.ts";
import type { Call, DriverEvent } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { eventStream, TELLING } from "../engine/event-stream.ts";
import { OURS } from "../labels.ts";

/** Ends only when the signal aborts. */
export async function* events(engine: Engine, log: Log, call: Call): AsyncGenerator<DriverEvent> {
  for await (const event of eventStream(engine, { type: ["container"], label: [OURS], event: TELLING }, log, call)) {
    if (event === "connected" || event === "disconnected") {
      yield { kind: event };
      continue;
    }
    const { name, [OURS]: container } = event.Actor?.Attributes ?? {};
    if (name !== undefined && container !== undefined) yield { kind: "changed", service: name, container };
  }
}
