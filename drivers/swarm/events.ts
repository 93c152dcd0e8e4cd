import type { Log } from "../../lib/log.ts";
import type { Call, DriverEvent } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { type EngineEvent, eventStream, STATE_EVENTS } from "../engine/streams.ts";
import { OURS } from "../labels.ts";
import { findService } from "./cluster.ts";

/** The label that the engine gives to a service's containers. */
const SERVICE_NAME = "com.docker.swarm.service.name";
const TASK_ID = "com.docker.swarm.task.id";

/** Events after which the address of a container or a service may be another's. */
const ENDING: ReadonlySet<string | undefined> = new Set(["kill", "stop", "die", "destroy", "remove"]);

/**
 * The events of the manager: of all services, and of containers on its own machine. It does not report the end of a container on another node, which the
 * next `inspect` or `list` shows. An instance is a task, by its id.
 */
export async function* events(engine: Engine, log: Log, call: Call): AsyncGenerator<DriverEvent> {
  // A service's event has no labels, and a removed service cannot be inspected: this keeps the owners of existing services.
  const owners = new Map<string, string>();
  // Without a filter by label, which would drop the services' own events.
  const filters = { type: ["container", "service"], event: [...STATE_EVENTS, "kill", "stop", "update", "remove"] };
  for await (const event of eventStream(engine, filters, log, call)) {
    if (event === "disconnected") {
      yield { kind: "disconnected" };
      continue;
    }
    if (event === "connected") {
      await loadOwners(engine, owners, call).catch(() => {});
      yield { kind: "connected" };
      continue;
    }
    const named = event.Type === "service" ? await ofService(engine, owners, event, call).catch(() => undefined) : ofContainer(event);
    const instance = event.Actor?.Attributes?.[TASK_ID];
    if (named) yield { kind: "changed", ...named, ...(ENDING.has(event.Action) ? { ended: { instance } } : {}) };
  }
}

type EventSubject = { service: string; container: string };

async function loadOwners(engine: Engine, owners: Map<string, string>, { signal }: Call): Promise<void> {
  const services = await engine.call({ doing: "Listing services", signal }, (docker, abortSignal) =>
    docker.listServices({ filters: JSON.stringify({ label: [OURS] }), abortSignal }),
  );
  owners.clear();
  for (const { Spec } of services) if (Spec?.Name && Spec.Labels?.[OURS]) owners.set(Spec.Name, Spec.Labels[OURS]);
}

function ofContainer({ Actor }: EngineEvent): EventSubject | undefined {
  const { [SERVICE_NAME]: service, [OURS]: container } = Actor?.Attributes ?? {};
  return service !== undefined && container !== undefined ? { service, container } : undefined;
}

async function ofService(
  engine: Engine,
  owners: Map<string, string>,
  { Action, Actor }: EngineEvent,
  { signal }: Call,
): Promise<EventSubject | undefined> {
  const service = Actor?.Attributes?.["name"];
  if (service === undefined) return undefined;
  if (Action === "create") {
    const owner = (await findService(engine, service, signal))?.Spec?.Labels?.[OURS];
    if (owner !== undefined) owners.set(service, owner);
  }
  const container = owners.get(service);
  if (Action === "remove") owners.delete(service);
  return container === undefined ? undefined : { service, container };
}
