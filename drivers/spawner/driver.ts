import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { decodeText } from "../../lib/split-lines.ts";
import type { Driver, Call, DriverEvent, Usage, LogOptions } from "../driver.ts";
import { reconnect } from "../events.ts";
import { isServiceName } from "../labels.ts";
import { openSpawnerClient, type SpawnerEndpoint, servicePath, type SpawnerClient, lines } from "./client.ts";
import { deploy } from "./deploy.ts";
import { brokenOff } from "./faults.ts";
import { resolve } from "./resolve.ts";
import { observedOff, type WireObserved } from "./wire.ts";

export type SpawnerOptions = SpawnerEndpoint;

/** The container's grace time, after the current work for the same service. */
const DESTROY_MS = 120_000;
const RETRY_MS = { firstMs: 250, longestMs: 10_000 };

/** Another berth's spawner as the orchestrator, over its REST API. Opens no connection before the first call. */
export function spawnerDriver({ clock, log, ...at }: SpawnerOptions & { clock: Clock; log: Log }): Driver {
  const client = openSpawnerClient(at, clock);
  return {
    name: "spawner",
    resolve: (image, call) => resolve(client, clock, image, call),
    deploy: (spec, call) => deploy(client, clock, log, spec, call),
    destroy: async (service, { signal }) => {
      if (!isServiceName(service)) return;
      await client.json({ method: "DELETE", path: servicePath(service), signal, doing: `Stopping ${service}`, ms: DESTROY_MS });
    },
    inspect: async (service, { signal }) => {
      if (!isServiceName(service)) return undefined;
      const doing = `Inspecting ${service}`;
      const reply = await client.json({ method: "GET", path: servicePath(service), signal, doing });
      return reply === undefined ? undefined : observedOff(requireObserved(reply, doing, client.name));
    },
    list: async ({ signal }) => {
      const doing = "Listing services";
      const reply = await client.json({ method: "GET", path: "/services", signal, doing });
      if (!Array.isArray(reply)) throw new Fault("ENGINE_FAILED", `${doing}: ${client.name} answered with no list; is it a berth spawner?`);
      return reply.map((one) => observedOff(requireObserved(one, doing, client.name)));
    },
    usage: (service, call) => usage(client, service, call),
    logs: (service, which, call) => logs(client, service, which, call),
    events: (call) => events(client, clock, log, call),
    close: async () => client.close(),
  };
}

/** Undefined from a spawner that does not have the route. */
async function usage(client: SpawnerClient, service: string, { signal }: Call): Promise<Usage | undefined> {
  signal.throwIfAborted();
  if (!isServiceName(service)) return undefined;
  try {
    const reply = await client.json({ method: "GET", path: `${servicePath(service)}/usage`, signal, doing: `Reading the use of ${service}` });
    const { cpuMs, networkBytes, windowMs } = (reply ?? {}) as Partial<Usage>;
    if (typeof cpuMs !== "number") return undefined;
    return { cpuMs, networkBytes: typeof networkBytes === "number" ? networkBytes : 0, ...(typeof windowMs === "number" ? { windowMs } : {}) };
  } catch (error) {
    if (error instanceof Fault && error.code === "ENGINE_FAILED") return undefined;
    throw error;
  }
}

function requireObserved(value: unknown, doing: string, at: string): WireObserved {
  const { serviceName, running, labels } = (value ?? {}) as Partial<WireObserved>;
  if (typeof serviceName === "string" && typeof running === "boolean" && typeof labels === "object") return value as WireObserved;
  throw new Fault("ENGINE_FAILED", `${doing}: the response of ${at} is no service; is it a berth spawner?`);
}

/** An outage of the spawner's own engine arrives as its `connected`. */
async function* events(client: SpawnerClient, clock: Clock, log: Log, { signal }: Call): AsyncGenerator<DriverEvent> {
  const messages = { lost: "spawner events lost, reconnecting", back: "spawner events connected again" };
  const request = { method: "GET" as const, path: "/events", signal, doing: "Listening to the spawner" };
  const stream = reconnect({ clock, log, signal, ...RETRY_MS, ...messages }, () => lines<DriverEvent>(client, clock, request));
  for await (const event of stream) yield event === "disconnected" ? { kind: "disconnected" } : event;
}

/** Ends when the container does. */
async function* logs(
  client: SpawnerClient,
  service: string,
  { tail, follow = false, timestamps = false }: LogOptions,
  { signal }: Call,
): AsyncGenerator<string> {
  if (!isServiceName(service)) return;
  const doing = `Reading the logs of ${service}`;
  const path = `${servicePath(service)}/logs?tail=${tail}&follow=${follow}${timestamps ? "&timestamps=true" : ""}`;
  const body = await client.stream({ method: "GET", path, signal, doing });
  try {
    yield* decodeText(body);
  } catch (error) {
    signal.throwIfAborted();
    throw brokenOff(error, doing, client.name);
  }
}
