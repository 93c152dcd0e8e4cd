import type { ContainerInspectInfo } from "dockerode";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { DriverTimes } from "../../lib/start-phases.ts";
import { type Address, type DeployCall, type Deployment, leavesRunning, type Spec } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { answered, undefinedOn } from "../engine/faults.ts";
import { pull } from "../engine/images.ts";
import { connectToNetwork, REACH_RULES } from "../engine/reach.ts";
import { advisedFault } from "../faults.ts";
import { parseReference } from "../image.ts";
import { isServiceName } from "../labels.ts";
import { firstOf, healthAddress, ownHealthPort } from "../ready.ts";
import type { Rotation } from "./addresses.ts";
import { createOrAdopt, type DockerSite, remove } from "./create-destroy.ts";
import { awaitContainerReady } from "./health.ts";
import type { NetworkPlace } from "./networks.ts";
import { containerCrashFault, type DockerView, findContainer, observeOne } from "./observe.ts";

/** An address or port that is in use: by another berth on this engine, another program, or a leaked sandbox. */
const TAKEN = /address already in use|port is already allocated/i;
const ATTEMPTS = 20;
/** The network was removed after it was found. */
const GONE = /network \S+ not found|no such network/i;

/** The ports of the engine's machine on which berth publishes, from `first`. */
type PublishedPorts = { first: number; rotation: Rotation };

type DockerDeployDeps = {
  engine: Engine;
  view: DockerView;
  site: DockerSite;
  /** Further networks of every container. */
  alsoOn: readonly string[];
  ports: PublishedPorts;
  log: Log;
  /** After how long an open port counts although the image's own health check fails. */
  openPortMs: number;
  /** `previous`: a place that may be out of date. */
  place(spec: Spec, signal: AbortSignal, previous?: NetworkPlace): Promise<NetworkPlace>;
  /** Lists the containers, to see which addresses and ports are in use. */
  refresh(signal: AbortSignal): Promise<unknown>;
};

/** Creates or adopts the container, pulls a missing image, starts it, and waits until it answers or ends. */
export async function deploy(deps: DockerDeployDeps, spec: Spec, call: DeployCall): Promise<Deployment> {
  const { engine, log } = deps;
  const { clock } = engine;
  const began = clock.monotonic();
  const { launched, pulling } = await launch(deps, spec, call);
  try {
    call.onLaunched?.();
    const started = clock.monotonic();
    const ready = await firstOf<ReadyContainer>(call.signal, (own) => [
      failAtEnd(engine, spec, launched, own),
      launched.joined.then(() => connect(deps, spec, launched, { ...call, signal: own })),
    ]);
    const phases: DriverTimes = { ...pulling, create: started - began - (pulling.pull ?? 0), boot: clock.monotonic() - started };
    log.debug({ service: spec.service, adopted: launched.adopted, phases }, "service ready");
    return { ...ready, instance: launched.id, phases };
  } catch (error) {
    if (!leavesRunning(call)) await launched.remove();
    throw error;
  }
}

type Pulling = Pick<DriverTimes, "pull">;

/**
 * Creates at once, without queries for what is nearly always true: that the engine has the image, and that the network is the one of some seconds ago. Each
 * query delays the start. If the engine refuses, both are checked, and the start is repeated once if one of them was the reason, or if the network is gone.
 */
async function launch(deps: DockerDeployDeps, spec: Spec, call: DeployCall): Promise<{ launched: StartedContainer; pulling: Pulling }> {
  let place = await deps.place(spec, call.signal);
  let pulling: Pulling = {};
  for (let placed = 1; ;) {
    try {
      return { launched: await createAndStart(deps, place, spec, call.signal), pulling };
    } catch (error) {
      call.signal.throwIfAborted();
      if (pulling.pull === undefined && error instanceof Fault && error.code === "IMAGE_NOT_FOUND") {
        pulling = await pullMissing(deps.engine, spec, call);
        continue;
      }
      // Empty networks of packages are removed, also by other processes and users.
      if (placed++ > 1 || !(place.mayBeOld || (answered(error, 404) && GONE.test(String(error))))) throw error;
      const now = await deps.place(spec, call.signal, place);
      if (now.id === place.id) throw error;
      place = now;
    }
  }
}

/** `joined`: of its place. `address`: the one that berth has assigned, if any. */
type StartedContainer = { id: string; adopted: boolean; joined: Promise<void>; address: Address | undefined; remove(): Promise<void> };

/** Tries another address and port while the engine reports them as taken, which it checks only at a start. */
async function createAndStart(deps: DockerDeployDeps, place: NetworkPlace, spec: Spec, signal: AbortSignal): Promise<StartedContainer> {
  const { engine, view, site, ports, log } = deps;
  for (let attempt = 1; ; attempt++) {
    // The last list of containers may be out of date.
    if (place.isFull()) await deps.refresh(signal);
    const address = place.takeAddress();
    const port = spec.port !== undefined && REACH_RULES[site.reach].publishes ? ports.rotation.take() : undefined;
    const release = () => {
      if (address !== undefined) place.releaseAddress(address);
      if (port !== undefined) ports.rotation.release(port);
    };
    // As a name of the engine's DNS.
    const alias = place.ofPackage && isServiceName(spec.alias ?? "") ? spec.alias : undefined;
    const endpoint = { network: place.network, alias, address, hostPort: port === undefined ? undefined : ports.first + port };
    const created = await createOrAdopt(engine, view, spec, site, endpoint, log, signal).catch((error: unknown) => {
      release();
      throw error;
    });
    // An adopted container has its own address and port.
    if (created.adopted) release();
    const removeCreated = async () => {
      await remove(engine, created.id).catch((err: unknown) => log.warn({ service: spec.service, err }, "cleanup after failed start failed"));
      if (!created.adopted) release();
    };
    try {
      signal.throwIfAborted();
      if (!created.adopted) for (const network of deps.alsoOn) await connectToNetwork(engine, network, created.id, [], signal);
      // Without the signal, for the same reason as create. 304: it runs already.
      const isStarted = await undefinedOn([304], async () => {
        await engine.call({ doing: `Starting ${spec.service}`, kind: "start" }, (docker) => docker.getContainer(created.id).start());
        return true;
      });
      // It ended while it was adopted, and would keep what it has written.
      if (created.wasRunning && isStarted && attempt < ATTEMPTS) {
        await removeCreated();
        continue;
      }
      const assigned = { ip: address, hostPort: port === undefined ? undefined : endpoint.hostPort };
      const ownAddress = created.adopted ? undefined : assignedAddress(view, spec, assigned);
      return { ...created, joined: place.joined, address: ownAddress, remove: removeCreated };
    } catch (error) {
      if (leavesRunning({ signal })) throw error;
      await removeCreated();
      const taken = error instanceof Error && TAKEN.test(error.message) && (address !== undefined || port !== undefined);
      if (!taken || attempt === ATTEMPTS) throw error;
      log.debug({ service: spec.service, address, port: endpoint.hostPort }, "address or port taken, trying the next one");
    }
  }
}

async function pullMissing(engine: Engine, spec: Spec, call: DeployCall): Promise<Pulling> {
  const ref = parseReference(spec.image);
  if (ref.kind === "id") throw advisedFault("IMAGE_NOT_FOUND", `The engine no longer has the image ${spec.image}`);
  const began = engine.clock.monotonic();
  await pull(engine, ref, call);
  return { pull: engine.clock.monotonic() - began };
}

type AssignedEndpoint = { ip: string | undefined; hostPort: number | undefined };

/** The address of a container whose IP or port berth has assigned. */
function assignedAddress({ reach, engineHost }: DockerView, { service, port }: Spec, assigned: AssignedEndpoint): Address | undefined {
  return port === undefined ? undefined : REACH_RULES[reach].address({ service, port, ...assigned }, engineHost);
}

type ReadyContainer = Pick<Deployment, "addresses" | "warning">;

/** Resolves when the container is ready, by its spec. */
async function connect(
  { engine, view, log, openPortMs }: DockerDeployDeps,
  spec: Spec,
  { id, adopted, address: assigned }: StartedContainer,
  { signal, onAddresses, onHealthStatus, onLookup }: DeployCall,
): Promise<ReadyContainer> {
  const deps = { engine, log, openPortMs, signal, onHealthStatus, onLookup };
  const { proof } = REACH_RULES[view.reach];
  if (spec.port === undefined) {
    const warning = await awaitContainerReady(deps, spec, { id, adopted }, { address: undefined, proof });
    return { addresses: [], ...(warning === undefined ? {} : { warning }) };
  }
  const isHealthPublished = ownHealthPort(spec) !== undefined && REACH_RULES[view.reach].publishes;
  const container = assigned && !isHealthPublished ? undefined : await findContainer(engine, id, signal);
  const address = assigned ?? (container && observeOne(view, container)?.addresses[0]);
  // An ended container is the case of `failAtEnd`.
  if (!address && !container?.State.Running) return new Promise(() => {});
  if (!address) throw advisedFault("CONTAINER_NOT_READY", `${spec.service} has no address on the network ${view.network}.`);
  onAddresses?.([address], id, !adopted);
  const health = isHealthPublished ? publishedHealthAddress(view, spec, container) : healthAddress(spec, address.host);
  const warning = await awaitContainerReady(deps, spec, { id, adopted }, { address, proof, health });
  // Nothing was connected to.
  const { readiness } = spec;
  if (readiness.kind === "running" || (readiness.kind === "healthcheck" && readiness.portStaysClosed))
    return { addresses: [address], ...(warning === undefined ? {} : { warning }) };
  // Something else may have answered: a process that the engine has lost, or a later holder of the address.
  const now = await findContainer(engine, id, signal);
  const still = now && observeOne(view, now);
  if (!now?.State.Running) return new Promise(() => {});
  if (still?.addresses.some(({ host, port }) => host === address.host && port === address.port) !== true)
    throw advisedFault("CONTAINER_NOT_READY", `${spec.service} is no longer at ${address.host} port ${address.port}, where a connect was accepted.`);
  return { addresses: [address], ...(warning === undefined ? {} : { warning }) };
}

function publishedHealthAddress({ engineHost }: DockerView, spec: Spec, container: ContainerInspectInfo | undefined): Address | undefined {
  const published = Number(container?.NetworkSettings.Ports?.[`${ownHealthPort(spec)}/tcp`]?.[0]?.HostPort);
  return published > 0 ? { host: engineHost, port: published } : undefined;
}

/** Rejects when the container ends, at which the engine answers a wait. This call lasts as long as the start, so it has no time limit of its own. */
async function failAtEnd(engine: Engine, spec: Spec, started: Pick<StartedContainer, "id" | "adopted">, signal: AbortSignal): Promise<never> {
  try {
    await engine.docker.getContainer(started.id).wait({ condition: "not-running", abortSignal: signal });
  } catch (error) {
    signal.throwIfAborted();
    // The wait failed, not the container: only `connect` decides, within the caller's own limit.
    if (!answered(error, 404))
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true }));
  }
  throw await containerCrashFault(engine, spec, started, signal);
}
