import type { AuthConfig, CreateServiceOptions } from "dockerode";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { nanoCpus, type OwnedCall, type Spec, STOP_GRACE_SECONDS } from "../driver.ts";
import { type ContainerLine, listContainers } from "../engine/containers.ts";
import type { Engine } from "../engine/engine.ts";
import { answered, undefinedOn } from "../engine/faults.ts";
import { NETWORK_LABEL, type Reach } from "../engine/reach.ts";
import { advisedFault } from "../faults.ts";
import { parseReference } from "../image.ts";
import { parseLabels, refuseForeignOwner, writeLabels } from "../labels.ts";
import { ownHealthPort } from "../ready.ts";
import {
  currentTask,
  findOwnService,
  findService,
  isOver,
  listNodes,
  listTasks,
  type Service,
  type SwarmCluster,
  type Task,
  tasksOf,
} from "./cluster.ts";
import { localContainer, publishes } from "./observe.ts";

const PAUSE_MS = 50;

/** Two seconds in which other processes take the name again. */
const ATTEMPTS = 40;

type CreatedService = { id: string; adopted: boolean };

/** Creates the service, or adopts it. Removes a service of another generation first. */
export async function createOrAdopt(
  engine: Engine,
  spec: Spec,
  way: Reach,
  body: CreateServiceOptions,
  login: AuthConfig | undefined,
  log: Log,
  signal: AbortSignal,
): Promise<CreatedService> {
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    try {
      return { id: await create(engine, spec, body, login), adopted: false };
    } catch (error) {
      if (!isNameTaken(error) || attempt === ATTEMPTS) throw error;
    }
    if (attempt > 1) await engine.clock.sleep(PAUSE_MS, signal);
    const holder = await findService(engine, spec.service, signal);
    if (!holder) continue;
    refuseForeignOwner(parseLabels(holder.Spec?.Labels), spec, { where: " in the swarm" });
    if (await isAdoptable(engine, holder, spec, way, signal)) return { id: holder.ID, adopted: true };
    log.info({ service: spec.service, generation: parseLabels(holder.Spec?.Labels)?.generation }, "replacing service");
    // By id, so that a service that another process has just created stays.
    await remove(engine, { id: holder.ID, name: spec.service, grace: graceOf(holder) }, "ended", signal);
  }
}

/** The same definition, starting or running. */
async function isAdoptable(engine: Engine, holder: Service, spec: Spec, way: Reach, signal: AbortSignal): Promise<boolean> {
  if (parseLabels(holder.Spec?.Labels)?.generation !== spec.labels.generation) return false;
  if (publishes(holder) !== (way === "published" && spec.port !== undefined)) return false;
  if (holder.Spec?.Mode?.Replicated?.Replicas !== 1) return false;
  const task = currentTask((await tasksOf(engine, holder.ID, signal)) ?? []);
  if (task === undefined) return true;
  const id = task.Status.ContainerStatus?.ContainerID;
  // The engine notices the end of its own container before the swarm does.
  const local = id ? await localContainer(engine, id, signal) : undefined;
  return !isOver(task) && local?.running !== false;
}

/** Without a signal, because the swarm may complete an aborted call. It takes milliseconds. */
async function create(engine: Engine, spec: Spec, body: CreateServiceOptions, login: AuthConfig | undefined): Promise<string> {
  const created = await engine.call({ doing: `Creating ${spec.service}`, kind: "start" }, (docker) =>
    login ? docker.createService(login, body) : docker.createService(body),
  );
  return (created as unknown as { id: string }).id;
}

/** Creates the overlay network if it does not exist. Faults: SPEC_REFUSED if the name is that of another network. */
export async function ensureOverlay(engine: Engine, network: string, signal: AbortSignal): Promise<void> {
  const doing = `Creating the overlay network ${network}`;
  try {
    const { Driver: driver, Scope: scope } = (await engine.call({ doing, signal }, (docker) => docker.getNetwork(network).inspect())) as {
      Driver?: string;
      Scope?: string;
    };
    // An empty driver: another process is creating the network, and the engine has only its name.
    if ((driver === "overlay" && scope === "swarm") || driver === "") return;
    const sentence = `The network ${network} is a ${driver} network, and a swarm's services need an overlay: set BERTH_SWARM_NETWORK to another name`;
    throw advisedFault("SPEC_REFUSED", sentence);
  } catch (error) {
    if (!answered(error, 404)) throw error;
  }
  try {
    // Attachable, so that berth's own container can join it.
    const options = { Name: network, Driver: "overlay", Attachable: true, CheckDuplicate: true, Labels: { [NETWORK_LABEL]: network } };
    await engine.call({ doing, signal }, (docker, abortSignal) => docker.createNetwork({ ...options, abortSignal }));
  } catch (raced) {
    if (!isNameTaken(raced)) throw raced;
  }
}

/** The name is taken: 409, or after two calls at once, a 500 with the sentence of the swarm's store. */
function isNameTaken(error: unknown): boolean {
  return answered(error, 409) || (error instanceof Fault && /name conflicts with an existing object/.test(error.message));
}

/** Swarm takes 2 s to stop a task, and as long again to remove the container. */
const GONE_MS = 30_000;
/** The first pause between two looks. A swarm takes seconds, so pauses grow by a tenth of the time that has passed. */
const POLL_MS = 100;
const LONGEST_POLL_MS = 500;

/** The label that the engine gives to containers of a service. */
const OF_SERVICE = "com.docker.swarm.service.id";

/** Stops and removes the service, and waits until this machine has no container of it, and no other ready node runs one. */
export async function destroy(engine: Engine, service: string, { signal, owner }: OwnedCall): Promise<void> {
  signal.throwIfAborted();
  const holder = await findOwnService(engine, service, signal);
  if (holder && owner) refuseForeignOwner(parseLabels(holder.Spec?.Labels), { service, labels: owner }, { where: " in the swarm" });
  if (holder) await remove(engine, { id: holder.ID, name: service, grace: graceOf(holder) }, "gone", signal);
}

/** The grace time that it was created with, in seconds. */
function graceOf({ Spec: created }: Service): number {
  const template = created?.TaskTemplate as { ContainerSpec?: { StopGracePeriod?: number } } | undefined;
  const period = template?.ContainerSpec?.StopGracePeriod;
  return period === undefined ? STOP_GRACE_SECONDS : period / SECOND;
}

/**
 * Removes a service and waits until its tasks have "ended", or until this machine's containers of it are "gone" too. Another process may do the same at the
 * same time. Without a signal it cannot be aborted: it cleans up after a failed start, and kills the container without grace time.
 */
export async function remove(
  engine: Engine,
  service: { id: string; name: string; grace?: number },
  until: "ended" | "gone",
  signal?: AbortSignal,
): Promise<void> {
  const { clock } = engine;
  const limitMs = (service.grace ?? STOP_GRACE_SECONDS) * 1_000 + GONE_MS;
  await undefinedOn([404], () =>
    engine.call({ doing: `Removing ${service.name}`, signal }, (docker, abortSignal) => docker.getService(service.id).remove({ abortSignal })),
  );
  const begin = clock.monotonic();
  const pauseMs = () => Math.min(LONGEST_POLL_MS, POLL_MS + (clock.monotonic() - begin) / 10);
  for (const end = begin + limitMs; ; await clock.sleep(pauseMs(), signal)) {
    const remaining = await unendedTasks(engine, service, signal);
    // Includes a container that this machine has just started, which the swarm does not list yet.
    const here = await containersHere(engine, service.id, signal);
    const running = here.filter(({ State }) => State === "running");
    if (remaining.length === 0 && (until === "ended" ? running : here).length === 0) return;
    if (signal === undefined) await Promise.all(running.map(({ Id }) => kill(engine, Id)));
    if (clock.monotonic() < end) continue;
    const where = remaining.map(({ NodeID }) => NodeID ?? "no node yet").join(", ") || "this machine";
    throw advisedFault("ENGINE_FAILED", `${service.name} was removed, but its container has not ended within ${limitMs / 1000} s (node: ${where})`);
  }
}

/**
 * A task that has a node may still start its container there. Tasks on a node that is down do not count: Swarm ends them when the node is back.
 */
async function unendedTasks(engine: Engine, { id, name }: { id: string; name: string }, signal: AbortSignal | undefined): Promise<Task[]> {
  const tasks = await listTasks(engine, { name: [`${name}.`] }, signal);
  const remaining = tasks.filter((task) => task.ServiceID === id && !isOver(task) && task.NodeID);
  if (remaining.length === 0) return [];
  const ready = new Set((await listNodes(engine, signal)).flatMap((node) => (node.ready ? node.id : [])));
  return remaining.filter(({ NodeID }) => ready.has(NodeID ?? ""));
}

function containersHere(engine: Engine, serviceId: string, signal: AbortSignal | undefined): Promise<ContainerLine[]> {
  return listContainers(engine, { label: `${OF_SERVICE}=${serviceId}`, all: true }, signal);
}

function kill(engine: Engine, id: string): Promise<unknown> {
  // 404: it is gone; 409: it does not run.
  return undefinedOn([404, 409], () =>
    engine.call({ doing: `Killing ${id}` }, (docker, abortSignal) => docker.getContainer(id).kill({ abortSignal })),
  );
}

const MB = 1024 * 1024;
const SECOND = 1_000_000_000;

/** `alsoOn`: further networks of every service. `nodeRole`: the role of nodes for containers without a host. `pidsLimit`: the processes and threads of one container. */
export type SwarmSite = { network: string; alsoOn: readonly string[]; nodeRole: string; pidsLimit: number };

/**
 * The body of the create call. Control is the supervisor: Swarm restarts nothing, and has no health check, which would delay the start and end containers
 * without notice. The service's name resolves to its task directly (`dnsrr`): a virtual address would drop connections that are silent for 15 minutes,
 * as IPVS does.
 */
export function definition(spec: Spec, site: SwarmSite, way: Reach, cluster: SwarmCluster): CreateServiceOptions {
  const labels = writeLabels(spec.labels, spec.port);
  const size = { NanoCPUs: nanoCpus(spec), MemoryBytes: spec.memoryMb * MB };
  const gpus = spec.gpu > 0 ? [{ DiscreteResourceSpec: { Kind: gpuKind(cluster), Value: spec.gpu } }] : undefined;
  const shm = { Type: "tmpfs", Source: "", Target: "/dev/shm", TmpfsOptions: { SizeBytes: spec.shmMb * MB, Mode: 0o1777 } };
  const publishes = way === "published" && spec.port !== undefined;
  const published = publishes ? [spec.port, ownHealthPort(spec)].filter((port) => port !== undefined) : [];
  const body = {
    Name: spec.service,
    Labels: labels,
    TaskTemplate: {
      ContainerSpec: {
        Image: spec.image,
        Env: Object.entries(spec.env).map(([name, value]) => `${name}=${asTemplate(value)}`),
        Labels: labels,
        Mounts: spec.shmMb > 0 ? [shm] : [],
        StopGracePeriod: (spec.shutdownGraceSeconds ?? STOP_GRACE_SECONDS) * SECOND,
        Healthcheck: { Test: ["NONE"] },
        // With raw sockets a container answers ARP for its neighbours, and reads what gateways send them.
        CapabilityDrop: ["CAP_NET_RAW"],
        // The node's machine, for APIs that listen there; its engine fills in the address.
        Hosts: ["host-gateway host.docker.internal"],
        // Engines before API 1.44 ignore it.
        Privileges: { NoNewPrivileges: true },
      },
      // Reserved as well as limited, so that the scheduler knows which node has the capacity.
      Resources: { Limits: { ...size, Pids: site.pidsLimit }, Reservations: { ...size, ...(gpus ? { GenericResources: gpus } : {}) } },
      RestartPolicy: { Condition: "none", MaxAttempts: 0 },
      Placement: { Constraints: constraintsFor(spec.image, spec.host ?? site.nodeRole, cluster) },
      Networks: [site.network, ...site.alsoOn].map((network) => ({ Target: network })),
    },
    Mode: { Replicated: { Replicas: 1 } },
    UpdateConfig: { Parallelism: 1, Order: "stop-first", FailureAction: "pause" },
    EndpointSpec: {
      Mode: "dnsrr",
      // Only on the task's node, on any free port: the routing mesh would accept for a task that does not.
      ...(publishes ? { Ports: published.map((port) => ({ Protocol: "tcp" as const, TargetPort: port, PublishMode: "host" as const })) } : {}),
    },
  };
  return body as CreateServiceOptions;
}

/**
 * Swarm expands variables as templates of Go, and quotes a variable that is none in its error, secret or not. This template prints the value.
 * https://docs.docker.com/reference/cli/docker/service/create/#create-services-using-templates
 */
function asTemplate(value: string): string {
  return value.replaceAll("{{", '{{"{{"}}');
}

/**
 * The placement of a service's task, as constraints of Swarm: on nodes whose label `role` is the host's name, if any node has that label. An image that was
 * built on this engine runs only here.
 */
export function constraintsFor(image: string, host: string, { self, nodes }: SwarmCluster): string[] {
  return [
    ...(nodes.some(({ labels }) => labels["role"] === host) ? [`node.labels.role==${host}`] : []),
    ...(parseReference(image).kind === "id" && nodes.length > 1 ? [`node.id==${self}`] : []),
  ];
}

/** The nodes' name of GPUs (`node-generic-resources`). Without GPUs it is `gpu`, so that the scheduler reports them as missing. */
export function gpuKind({ nodes }: Pick<SwarmCluster, "nodes">): string {
  return nodes.flatMap(({ resources }) => resources).find(isGpuKind) ?? "gpu";
}

export function isGpuKind(kind: string): boolean {
  return /gpu/i.test(kind);
}
