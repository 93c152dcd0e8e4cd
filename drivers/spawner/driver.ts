import { randomUUID } from "node:crypto";
import { createBackoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import { decodeText } from "../../lib/lines.ts";
import type { Log } from "../../lib/log.ts";
import {
  type Call,
  type DeployCall,
  type Deployment,
  type Driver,
  type DriverEvent,
  type Host,
  type ImageSource,
  leavesRunning,
  type LogOptions,
  type OwnedCall,
  type ResolvedImage,
  type Spec,
  type Usage,
} from "../driver.ts";
import { reconnect } from "../events.ts";
import { isServiceName } from "../labels.ts";
import { awaitWork, lines, openSpawnerClient, RETRY_MS, servicePath, type SpawnerClient, type SpawnerEndpoint } from "./client.ts";
import { brokenOff } from "./faults.ts";
import { deploymentOff, folderOnWire, observedOff, specOnWire, type WireObserved } from "./wire.ts";

export type SpawnerOptions = SpawnerEndpoint;

/** The container's grace time, after the current work for the same service: longer than the spawner's own limit. */
const DESTROY_MS = 320_000;
const EVENTS_RETRY_MS = { firstMs: 250, longestMs: 10_000 };

/** Another berth's spawner as the orchestrator, over its REST API. Opens no connection before the first call. */
export function spawnerDriver({ clock, log, ...at }: SpawnerOptions & { clock: Clock; log: Log }): Driver {
  const client = openSpawnerClient(at, clock);
  return {
    name: "spawner",
    resolve: (image, call) => resolve(client, clock, image, call),
    deploy: (spec, call) => deploy(client, clock, log, spec, call),
    destroy: async (service, { signal, owner }) => {
      if (!isServiceName(service)) return;
      // A spawner of an older version ignores the owner.
      await client.json({
        method: "DELETE",
        path: `${servicePath(service)}?${ownerQuery(owner)}`,
        signal,
        doing: `Stopping ${service}`,
        ms: DESTROY_MS,
      });
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
    const { cpuMs, networkBytes, windowMs, memoryBytes } = (reply ?? {}) as Partial<Usage>;
    if (typeof cpuMs !== "number") return undefined;
    const given = { ...(typeof windowMs === "number" ? { windowMs } : {}), ...(typeof memoryBytes === "number" ? { memoryBytes } : {}) };
    return { cpuMs, networkBytes: typeof networkBytes === "number" ? networkBytes : 0, ...given };
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
  const stream = reconnect({ clock, log, signal, ...EVENTS_RETRY_MS, ...messages }, () => lines<DriverEvent>(client, clock, request));
  for await (const event of stream) yield event === "disconnected" ? { kind: "disconnected" } : event;
}

function ownerQuery(owner: OwnedCall["owner"]): string {
  return owner === undefined ? "" : new URLSearchParams({ store: owner.store, container: owner.container }).toString();
}

/** Ends when the container does. A spawner of an older version ignores the owner. */
async function* logs(
  client: SpawnerClient,
  service: string,
  { tail, follow = false, timestamps = false }: LogOptions,
  { signal, owner }: OwnedCall,
): AsyncGenerator<string> {
  if (!isServiceName(service)) return;
  const doing = `Reading the logs of ${service}`;
  const path = `${servicePath(service)}/logs?tail=${tail}&follow=${follow}${timestamps ? "&timestamps=true" : ""}&${ownerQuery(owner)}`;
  const body = await client.stream({ method: "GET", path, signal, doing });
  try {
    yield* decodeText(body);
  } catch (error) {
    signal.throwIfAborted();
    throw brokenOff(error, doing, client.name);
  }
}

/** How long an undo is tried: as long as the spawner's own stop takes. */
const UNDO_MS = 30_000;

/** The spawner continues a deploy without clients, so an abort here is sent to the spawner too, unless the next control process is to go on with it. */
async function deploy(client: SpawnerClient, clock: Clock, log: Log, spec: Spec, call: DeployCall): Promise<Deployment> {
  const { signal } = call;
  const doing = `Starting ${spec.service}`;
  signal.throwIfAborted();
  if (!isServiceName(spec.service))
    throw new Fault("SPEC_REFUSED", `${doing}: ${JSON.stringify(spec.service)} is not a DNS label, which a service's name must be.`);
  // The cancellation uses another connection than the call, and may overtake it.
  const id = randomUUID();
  const path = `/deploy/${spec.host ?? HOST}/${encodeURIComponent(spec.service)}/1?call=${id}`;
  try {
    // The spawner does not report this moment. It limits its own machine's work itself.
    call.onLaunched?.();
    const line = await awaitWork(client, clock, { method: "POST", path, body: specOnWire(spec), signal, doing }, call);
    if ("deployment" in line) return deploymentOff(line.deployment);
    throw new Fault("ENGINE_FAILED", `${doing}: ${client.name} answered with no deployment; is it a berth spawner?`);
  } catch (error) {
    if (signal.aborted && !leavesRunning(call))
      await undo(client, clock, spec, id).catch((err: unknown) => log.warn({ service: spec.service, err }, "undo of an aborted start failed"));
    throw error;
  }
}

/** Only this generation: a late call must not end what was deployed since. */
async function undo(client: SpawnerClient, clock: Clock, { service, labels }: Spec, id: string): Promise<void> {
  const doing = `Undoing the start of ${service}`;
  const path = `${servicePath(service)}?generation=${labels.generation}&call=${id}`;
  const overdue = () => new Fault("ENGINE_FAILED", `${doing}: the spawner at ${client.name} did not answer within ${UNDO_MS / 1_000} s.`);
  await withTimeout({ clock, ms: UNDO_MS, overdue }, async (signal) => {
    for (const delays = createBackoff(RETRY_MS.first, RETRY_MS.longest); ;) {
      try {
        return await client.json({ method: "DELETE", path, signal, doing });
      } catch (error) {
        if (signal.aborted || !(error instanceof Fault) || error.code !== "ENGINE_UNREACHABLE") throw error;
        await clock.sleep(delays.next(), signal);
      }
    }
  });
}

/** Percent-encoded, this is within the spawner's limit. */
const LONGEST_PART = 150;

/** Plugin containers are for the installation's compute host. */
const HOST: Host = "cvm";

async function resolve(client: SpawnerClient, clock: Clock, { ref, folder }: ImageSource, call: DeployCall): Promise<ResolvedImage> {
  const doing = `Looking for ${ref}`;
  const [service, tag] = splitReference(ref);
  const path = `/validate/${HOST}/${encodeURIComponent(service)}/${encodeURIComponent(tag)}`;
  const body = { image: ref, ...folderOnWire(folder) };
  const line = await awaitWork(client, clock, { method: "POST", path, body, signal: call.signal, doing }, call);
  if ("image" in line) return { ...line.image, command: line.image.command ?? [] };
  throw new Fault("ENGINE_FAILED", `${doing}: ${client.name} answered with no image; is it a berth spawner?`);
}

/** For readers of the spawner's log: the body has the reference. A port is no tag, a digest is one. */
function splitReference(ref: string): [service: string, tag: string] {
  const [name = ref, digest] = ref.split("@", 2);
  const [, bare = name, tag = "latest"] = /^(.*?)(?::([^/:]+))?$/.exec(name) ?? [];
  return [bare.slice(0, LONGEST_PART), (digest ?? tag).slice(0, LONGEST_PART)];
}
