import type { Log } from "../../lib/log.ts";
import type { Call, DriverEvent } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { eventStream, STATE_EVENTS } from "../engine/streams.ts";
import { OURS } from "../labels.ts";

/** Events after which the address of a container may be another's. */
const ENDING: ReadonlySet<string | undefined> = new Set(["kill", "stop", "die", "destroy"]);

/**
 * An instance is a container of the engine, by its id. `onNetwork` is called with the name of each network that is created or removed, and without a name
 * after a break, when any network may have changed. There is no filter by label, because events of networks have no labels.
 */
export async function* events(engine: Engine, log: Log, call: Call, onNetwork: (name?: string) => void): AsyncGenerator<DriverEvent> {
  for await (const event of eventStream(engine, { type: ["container", "network"], event: [...STATE_EVENTS, "kill", "stop"] }, log, call)) {
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
