import { hash } from "node:crypto";
import type Docker from "dockerode";
import type { ContainerCreateOptions, ContainerInspectInfo } from "dockerode";
import type { Log } from "../../lib/log.ts";
import { type Call, type OwnedCall, MOST_STOP_GRACE_SECONDS, nanoCpus, type Spec, STOP_GRACE_SECONDS } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { answered, undefinedOn } from "../engine/faults.ts";
import { type Reach, REACH_RULES } from "../engine/reach.ts";
import { parseLabels, refuseForeignOwner, writeLabels } from "../labels.ts";
import { ownHealthPort } from "../ready.ts";
import { CHECK_WHILE_STARTING } from "./health.ts";
import { type DockerView, findContainer, findService, observeOne } from "./observe.ts";

/** The engine reserves a name before it lists its container, and releases it a moment after the removal. */
const PAUSE_MS = 50;
/** Two seconds; after that another process keeps taking the name. */
const ATTEMPTS = 40;

/** `wasRunning`: when it was adopted. */
type CreatedContainer = { id: string; adopted: boolean; wasRunning: boolean };

/** Creates the service's container, or adopts it. Removes a container of another generation first. */
export async function createOrAdopt(
  engine: Engine,
  view: DockerView,
  spec: Spec,
  site: DockerSite,
  endpoint: Endpoint,
  log: Log,
  signal: AbortSignal,
): Promise<CreatedContainer> {
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    try {
      return { id: await create(engine, spec, site, endpoint, log), adopted: false, wasRunning: false };
    } catch (error) {
      if (!answered(error, 409) || attempt === ATTEMPTS) throw error;
    }
    if (attempt > 1) await engine.clock.sleep(PAUSE_MS, signal);
    const holder = await findContainer(engine, spec.service, signal);
    if (!holder) continue;
    refuseForeignOwner(parseLabels(holder.Config.Labels), spec, { kind: "container", where: " on the engine" });
    const adopted = isAdoptable(holder, spec, view) && (!holder.State.Paused || (await unpause(engine, holder.Id, spec.service)));
    if (adopted) return { id: holder.Id, adopted: true, wasRunning: holder.State.Running };
    log.info({ service: spec.service, generation: parseLabels(holder.Config.Labels)?.generation, state: holder.State.Status }, "replacing container");
    if (holder.State.Running) await stop(engine, holder.Id, spec.service, signal, graceOf(holder));
    await remove(engine, holder.Id, signal);
  }
}

/** The same definition, and running, or with the same image and variables created but not started, or paused. */
function isAdoptable(holder: ContainerInspectInfo, spec: Spec, view: DockerView): boolean {
  const { Paused: paused, Status: status } = holder.State;
  if ((paused || status === "created") && !hasSameContent(holder, spec)) return false;
  const observed = observeOne(view, paused ? { ...holder, State: { ...holder.State, Paused: false } } : holder);
  if (observed?.labels.generation !== spec.labels.generation) return false;
  // A change of `reach` needs another container, because only a new one can publish its port.
  return observed.running ? observed.addresses.length > 0 === (spec.port !== undefined) : status === "created";
}

/** False if a tag has moved meanwhile, or a credential or the user's session has changed. */
function hasSameContent({ Config }: ContainerInspectInfo, { image, env }: Spec): boolean {
  const variables = new Set(Config.Env);
  // The engine adds the image's own variables: only the label shows that a credential was removed.
  const hasSameNames = Config.Labels[VARIABLES] === namesOf(env);
  return Config.Image === image && hasSameNames && Object.entries(env).every(([name, value]) => variables.has(`${name}=${value}`));
}

const VARIABLES = "berth.variables";

/** A digest: labels are for everyone who may list containers. */
function namesOf(env: Spec["env"]): string {
  return hash("sha256", JSON.stringify(Object.keys(env).toSorted()));
}

/** Without a signal, because the engine may complete an aborted call. It takes milliseconds. */
async function create(engine: Engine, spec: Spec, site: DockerSite, endpoint: Endpoint, log: Log): Promise<string> {
  // Several first calls at once may have the limit, and each of them retries without it.
  const limited = site.storageLimit;
  const call = { doing: `Creating ${spec.service}`, kind: "start" as const };
  try {
    return await engine.call(call, (docker) => post(docker, spec.service, definition(spec, site, endpoint), log));
  } catch (error) {
    if (!limited || !/storage-opt|StorageOpt|quota/i.test(String(error))) throw error;
    // Only some storage drivers can (overlay2 on xfs with pquota). Logged once, because it holds for every container.
    if (site.storageLimit) log.warn({ service: spec.service, err: error }, "`storage` of container.json ignored: this engine cannot limit a disk");
    site.storageLimit = false;
    return engine.call(call, (docker) => post(docker, spec.service, definition(spec, site, endpoint), log));
  }
}

/**
 * By the client's own dial. Its `createContainer` drops the engine's warnings, such as a limit that its kernel does not support, and puts the whole
 * definition with all variables into the URL, unless name and body are separate.
 */
async function post(docker: Docker, name: string, body: ContainerCreateOptions, log: Log): Promise<string> {
  const created = await new Promise<{ Id: string; Warnings?: string[] | null }>((resolve, reject) => {
    docker.modem.dial(
      {
        path: "/containers/create?",
        method: "POST",
        options: { _query: { name }, _body: body },
        statusCodes: { 201: true, 400: "bad parameter", 404: "no such container", 409: "conflict", 500: "server error" },
      },
      (error: unknown, data: unknown) => (error ? reject(error) : resolve(data as { Id: string })),
    );
  });
  for (const warning of created.Warnings ?? []) log.warn({ service: name, warning }, "engine ignores a setting of the container");
  return created.Id;
}

/** How long a stop may take beyond the grace time. */
const STOP_CALL_MS = 20_000;
const GONE_CALL_MS = 10_000;

/** Stops and removes the container, also if another call does the same. Returns its last state. */
export async function destroy(
  engine: Engine,
  view: DockerView,
  service: string,
  { signal, owner }: OwnedCall,
): Promise<ContainerInspectInfo | undefined> {
  const container = await findService(engine, view, service, signal);
  if (!container) return undefined;
  if (owner) refuseForeignOwner(parseLabels(container.Config.Labels), { service, labels: owner }, { where: " on the engine" });
  // By its id: another process may give the name to the next one meanwhile.
  await stop(engine, container.Id, service, signal, graceOf(container));
  await remove(engine, container.Id, signal);
  return container;
}

/** The grace time that it was created with, in seconds. */
function graceOf({ Config }: ContainerInspectInfo): number {
  const { StopTimeout: seconds = STOP_GRACE_SECONDS } = Config as { StopTimeout?: number };
  return seconds >= 0 ? Math.min(seconds, MOST_STOP_GRACE_SECONDS) : STOP_GRACE_SECONDS;
}

/** Stops a container with a grace time in seconds. Succeeds if it does not run or does not exist. `id` may be its name. */
export async function stop(engine: Engine, id: string, service: string, signal: AbortSignal, grace = STOP_GRACE_SECONDS): Promise<void> {
  const call = { doing: `Stopping ${service}`, signal, ms: grace * 1_000 + STOP_CALL_MS };
  await undefinedOn([304, 404], () => engine.call(call, (docker, abortSignal) => docker.getContainer(id).stop({ t: grace, abortSignal })));
}

/** Removes a container, running or not, and returns when its name is free. Without a signal it cannot be aborted: it cleans up after a failure. */
export async function remove(engine: Engine, id: string, signal?: AbortSignal): Promise<void> {
  const doing = `Removing ${id}`;
  // 409: another call is removing it.
  await undefinedOn([404, 409], () =>
    engine.call({ doing, signal }, (docker, abortSignal) => docker.getContainer(id).remove({ force: true, v: true, abortSignal })),
  );
  await undefinedOn([404], () =>
    engine.call({ doing, signal, ms: GONE_CALL_MS }, (docker, abortSignal) => docker.getContainer(id).wait({ condition: "removed", abortSignal })),
  );
}

/** On a busy machine with cgroup v1, one of 200 attempts ends with runc's "unable to freeze"; the next one succeeds. */
const PAUSE_ATTEMPTS = 3;

/** Freezes a running container. False if it does not run, or if the engine cannot: without root on an old kernel. */
export async function pause(engine: Engine, view: DockerView, service: string, { signal }: Call): Promise<boolean> {
  for (let attempt = 1; ; attempt++) {
    const container = await findService(engine, view, service, signal);
    const observed = container && observeOne(view, container);
    if (!container || !observed?.running) return observed?.paused === true;
    const isPaused = await succeeds(() =>
      engine.call({ doing: `Pausing ${service}`, signal }, (docker, abortSignal) => docker.getContainer(container.Id).pause({ abortSignal })),
    );
    if (isPaused || attempt === PAUSE_ATTEMPTS) return isPaused;
  }
}

/** False if the container does not run then. Without a signal, as a start: it takes milliseconds. */
export async function unpause(engine: Engine, id: string, service: string): Promise<boolean> {
  if (await succeeds(() => engine.call({ doing: `Unpausing ${service}` }, (docker) => docker.getContainer(id).unpause()))) return true;
  // Another call may have been first.
  const now = await findContainer(engine, id, undefined);
  return now?.State.Running === true && !now.State.Paused;
}

/** False if the engine refuses. Its status is 500 for a container in another state. */
async function succeeds(task: () => Promise<unknown>): Promise<boolean> {
  try {
    await task();
    return true;
  } catch (error) {
    if (answered(error, 403, 404, 409, 500)) return false;
    throw error;
  }
}

const MB = 1024 * 1024;

/**
 * The options of all containers. Ports are published on `hostIp`, or if that is empty on every address of the engine's machine. `pidsLimit` limits
 * processes and threads. `storageLimit` is false after the engine has failed to limit a container's disk.
 */
export type DockerSite = { reach: Reach; hostIp: string; pidsLimit: number; storageLimit: boolean };

/** The network of one container, and its address and published port. If undefined, the engine assigns them. */
export type Endpoint = { network: string; alias: string | undefined; address: string | undefined; hostPort: number | undefined };

/** The body of the engine's create call. Control is the supervisor, so the engine restarts nothing by itself. */
export function definition(spec: Spec, site: DockerSite, { network, alias, address, hostPort }: Endpoint): ContainerCreateOptions {
  const port = spec.port === undefined ? undefined : `${spec.port}/tcp`;
  const publishes = port !== undefined && REACH_RULES[site.reach].publishes;
  const healthPort = publishes ? ownHealthPort(spec) : undefined;
  return {
    Image: spec.image,
    Env: Object.entries(spec.env).map(([name, value]) => `${name}=${value}`),
    Labels: { ...writeLabels(spec.labels, spec.port), [VARIABLES]: namesOf(spec.env) },
    StopTimeout: spec.shutdownGraceSeconds ?? STOP_GRACE_SECONDS,
    ...(port === undefined ? {} : { ExposedPorts: { [port]: {} } }),
    ...(spec.readiness.kind === "healthcheck" ? { Healthcheck: CHECK_WHILE_STARTING } : {}),
    ...(address === undefined && alias === undefined ? {} : { NetworkingConfig: { EndpointsConfig: { [network]: endpointConfig(alias, address) } } }),
    HostConfig: {
      NetworkMode: network,
      NanoCpus: nanoCpus(spec),
      Memory: spec.memoryMb * MB,
      // Equal to `Memory`: no swap on top, so that the limit means the same on every machine.
      MemorySwap: spec.memoryMb * MB,
      ShmSize: spec.shmMb * MB,
      // A fork bomb would use up the machine's process ids, which all containers share.
      PidsLimit: site.pidsLimit,
      // Disables setuid programs.
      SecurityOpt: ["no-new-privileges"],
      // With raw sockets a container answers ARP for its neighbours, and reads what gateways send them, tokens included.
      CapDrop: ["NET_RAW"],
      // The engine's machine, for APIs that listen there: on Linux the engine has no such name by default.
      ExtraHosts: ["host.docker.internal:host-gateway"],
      RestartPolicy: { Name: "no" },
      ...(spec.gpu > 0 ? { DeviceRequests: [{ Driver: "", Count: spec.gpu, DeviceIDs: [], Capabilities: [["gpu"]], Options: {} }] } : {}),
      ...(publishes
        ? {
            PortBindings: {
              [port]: [{ HostIp: site.hostIp, HostPort: hostPort === undefined ? "" : String(hostPort) }],
              ...(healthPort === undefined ? {} : { [`${healthPort}/tcp`]: [{ HostIp: site.hostIp, HostPort: "" }] }),
            },
          }
        : {}),
      ...(site.storageLimit && spec.storageGb > 0 ? { StorageOpt: { size: `${spec.storageGb}G` } } : {}),
    },
  };
}

function endpointConfig(alias: string | undefined, address: string | undefined) {
  return {
    ...(alias === undefined ? {} : { Aliases: [alias] }),
    ...(address === undefined ? {} : { IPAMConfig: { IPv4Address: address } }),
  };
}
