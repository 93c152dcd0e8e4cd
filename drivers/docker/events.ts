import type { Log } from "../../lib/log.ts";
import type { Call, DriverEvent } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { eventStream, TELLING } from "../engine/event-stream.ts";
import { OURS } from "../labels.ts";

/** Events of a container that ends or is stopped: after these its address may be another's. */
const ENDING: ReadonlySet<string | undefined> = new Set(["kill", "stop", "die", "destroy"]);

/**
 * An instance is a container of the engine, by its id. Ends only when the signal aborts. `onNetwork` is called with the name of each network that is created or
 * removed; without a name after a break, when any may have been. A filter by label would exclude networks: their events have none.
 */
export async function* events(engine: Engine, log: Log, call: Call, onNetwork: (name?: string) => void): AsyncGenerator<DriverEvent> {
  for await (const event of eventStream(engine, { type: ["container", "network"], event: [...TELLING, "kill", "stop"] }, log, call)) {
    if (event === "connected" || event === "disconnected") {
      onNetwork();
      yield { kind: event };
      continue;
    }
    if (event.Type === "network") {
      onNetwork(event.Actor?.Attributes?.["name"]);
      continue;
    }
    const { name, [OURS]: container } = event.Actor?.Attributes ?? {};
    if (name === undefined || container === undefined) continue;
    const ended = ENDING.has(event.Action) ? { ended: { instance: event.Actor?.ID } } : {};
    yield { kind: "changed", service: name, container, ...ended };
  }
}
