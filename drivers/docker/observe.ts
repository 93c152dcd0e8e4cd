import type { ContainerInspectInfo } from "dockerode";
import { Fault } from "../../lib/fault.ts";
import type { Address, Call, LogOptions, Observed, OwnedCall, Spec } from "../driver.ts";
import { type ContainerLine, listContainers } from "../engine/containers.ts";
import type { Engine } from "../engine/engine.ts";
import { undefinedOn } from "../engine/faults.ts";
import { type Reach, REACH_RULES } from "../engine/reach.ts";
import { logStream } from "../engine/streams.ts";
import { crashFault, LOG_TAIL_LINES, logTail } from "../faults.ts";
import { isOwnedBy, isServiceName, OURS, parseLabels, readPort } from "../labels.ts";
import { ownEndpoint } from "./bridge-network.ts";

/** The network and the way by which berth reaches containers. */
export type DockerView = { network: string; reach: Reach; engineHost: string };

/** From the engine's `inspect`; undefined for a container that berth did not create. */
export function observeOne(view: DockerView, container: ContainerInspectInfo): Observed | undefined {
  const labels = parseLabels(container.Config.Labels);
  if (!labels) return undefined;
  const service = container.Name.replace(/^\//, "");
  const port = readPort(container.Config.Labels);
  const published = port === undefined ? undefined : container.NetworkSettings.Ports?.[`${port}/tcp`]?.[0]?.HostPort;
  const { Paused: paused, Status: status, ExitCode: code, OOMKilled: outOfMemory } = container.State;
  const running = container.State.Running && !paused;
  return {
    service,
    labels,
    running,
    instance: container.Id,
    ...(paused ? { paused } : {}),
    addresses: addressesOf(view, running, {
      service,
      port,
      ip: ownEndpoint(view.network, container.NetworkSettings.Networks)?.IPAddress,
      hostPort: Number(published),
    }),
    ...(running || paused || status === "created" ? {} : { exit: { code, outOfMemory } }),
  };
}

/** From a line of the engine's list, which has no exit codes. */
function observeListed(view: DockerView, container: ContainerLine): Observed | undefined {
  const labels = parseLabels(container.Labels);
  const service = container.Names[0]?.replace(/^\//, "");
  if (!labels || service === undefined) return undefined;
  const port = readPort(container.Labels);
  const running = ["running", "restarting"].includes(container.State);
  const hostPort = container.Ports.find(({ PrivatePort, Type }) => PrivatePort === port && Type === "tcp")?.PublicPort;
  return {
    service,
    labels,
    running,
    instance: container.Id,
    ...(container.State === "paused" ? { paused: true } : {}),
    addresses: addressesOf(view, running, { service, port, ip: ownEndpoint(view.network, container.NetworkSettings.Networks)?.IPAddress, hostPort }),
  };
}

type ContainerEndpoint = { service: string; port: number | undefined; ip: string | undefined; hostPort: number | undefined };

function addressesOf({ reach, engineHost }: DockerView, running: boolean, { port, ...ways }: ContainerEndpoint): Address[] {
  const address = running && port !== undefined ? REACH_RULES[reach].address({ ...ways, port }, engineHost) : undefined;
  return address ? [address] : [];
}

/** A container by name or id, created by berth or not. */
export function findContainer(engine: Engine, name: string, signal: AbortSignal | undefined): Promise<ContainerInspectInfo | undefined> {
  return undefinedOn([404], () =>
    engine.call({ doing: `Inspecting ${name}`, signal }, (docker, abortSignal) => docker.getContainer(name).inspect({ abortSignal })),
  );
}

/** The container of a service. One with this name that berth did not create does not count. */
export async function findService(engine: Engine, view: DockerView, service: string, signal: AbortSignal): Promise<ContainerInspectInfo | undefined> {
  const container = isServiceName(service) ? await findContainer(engine, service, signal) : undefined;
  // The engine also finds a container by (the beginning of) its id.
  return container?.Name === `/${service}` && observeOne(view, container) ? container : undefined;
}

export async function inspect(engine: Engine, view: DockerView, service: string, { signal }: Call): Promise<Observed | undefined> {
  signal.throwIfAborted();
  const container = await findService(engine, view, service, signal);
  return container && observeOne(view, container);
}

/** The engine's list of berth's containers, of all stores. */
export function listLines(engine: Engine, signal: AbortSignal | undefined): Promise<ContainerLine[]> {
  return listContainers(engine, { label: OURS, all: true }, signal);
}

/** One after another, hundreds of ended containers would take longer than a list may; all at once, they would delay the engine's other calls. */
const INSPECTED_AT_ONCE = 8;

export async function list(engine: Engine, view: DockerView, lines: readonly ContainerLine[], { signal }: Call): Promise<Observed[]> {
  const listed = lines.flatMap((line) => observeListed(view, line) ?? []);
  const isEnded = ({ running, paused }: Observed) => !running && !paused;
  const observed = listed.filter((one) => !isEnded(one));
  const ended = listed.filter(isEnded);
  for (let at = 0; at < ended.length; at += INSPECTED_AT_ONCE) {
    // Only `inspect` has the exit code. It may be gone by then.
    const some = ended.slice(at, at + INSPECTED_AT_ONCE);
    for (const one of await Promise.all(some.map(({ service }) => inspect(engine, view, service, { signal })))) if (one) observed.push(one);
  }
  return observed;
}

/** Ends when the container does. */
export async function* logs(engine: Engine, view: DockerView, service: string, options: LogOptions, call: OwnedCall): AsyncGenerator<string> {
  const { signal, owner } = call;
  signal.throwIfAborted();
  const container = await findService(engine, view, service, signal);
  // By its id: another one may take the name.
  if (container && isOwnedBy(parseLabels(container.Config.Labels), owner))
    yield* logStream(engine, { of: "containers", id: container.Id }, options, signal);
}

/** Why a container ended by itself; read before it is removed. */
export async function containerCrashFault(
  engine: Engine,
  spec: Spec,
  { id, adopted }: { id: string; adopted: boolean },
  signal: AbortSignal,
): Promise<Fault> {
  const container = await findContainer(engine, id, signal);
  const lines = await logTail(logStream(engine, { of: "containers", id }, { tail: LOG_TAIL_LINES, timestamps: true }, signal), signal);
  const before = adopted ? "" : " before it was ready";
  if (!container) return new Fault("CONTAINER_CRASHED", `Another process removed ${spec.service}${before}.`, { logs: lines });
  const { ExitCode: code, OOMKilled: outOfMemory, Error: reason } = container.State;
  return crashFault(spec, { code, outOfMemory, reason, adopted }, lines);
}
