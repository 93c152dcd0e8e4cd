import { existsSync } from "node:fs";
import type { ImageInspectInfo } from "dockerode";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { DeployCall, Driver, ImageSource, Registry, ResolvedImage, Spec } from "../driver.ts";
import { containerUsage, type Engine, openEngine } from "../engine/engine.ts";
import { openExec } from "../engine/exec.ts";
import { describeImage, findLocalCopy, localImage, pullAndInspect, queryDigest } from "../engine/images.ts";
import { containerListeners } from "../engine/listening.ts";
import { DEFAULT_PIDS_LIMIT, engineMachine, joinNetwork, type REACHES } from "../engine/reach.ts";
import { advisedFault } from "../faults.ts";
import { parseReference, type Reference } from "../image.ts";
import { refuseBadName } from "../labels.ts";
import { currentTask, findOwnService, isOver, swarmCapacity, type Task, tasksOf } from "./cluster.ts";
import { destroy, ensureOverlay } from "./create-destroy.ts";
import { deploy, type SwarmDeployDeps } from "./deploy.ts";
import { logs } from "./logs.ts";
import { events, inspect, list, type SwarmView } from "./observe.ts";

export type SwarmOptions = {
  /** A manager's engine, in the syntax of `DOCKER_HOST`; by default the engine's usual socket. */
  host?: string | undefined;
  /** Speak TLS; `folder` holds ca.pem, cert.pem and key.pem (`DOCKER_CERT_PATH`). */
  tls?: { folder: string } | undefined;
  /** The time limit of a call; by default 30 s. */
  callMs?: number;
  /** The attachable overlay network that all services share; created if it does not exist. */
  network: string;
  /** Further overlay networks of every service, which exist already. */
  alsoOn?: readonly string[];
  /** The label `role` of nodes for containers without a host, if any node has it. */
  nodeRole: string;
  /** The limit of processes and threads of one container; by default `DEFAULT_PIDS_LIMIT`. */
  pidsLimit?: number;
  reach: (typeof REACHES)[number];
  registry?: Registry | undefined;
  /** How long a task may wait for a node, whose capacity other tasks may be about to free. */
  unplacedMs?: number;
};

const UNPLACED_MS = 15_000;

/** A Docker Swarm as the orchestrator, through one of its managers. Opens no connection before the first call. Faults: SETTINGS_INVALID. */
export function swarmDriver(options: SwarmOptions & { clock: Clock; log: Log }): Driver {
  const { clock, log, network, registry } = options;
  const engine = openEngine(options, clock);
  const machine = engineMachine(engine.remote);
  const view: SwarmView = {
    standpoint: {
      setting: options.reach,
      inContainer: existsSync("/.dockerenv"),
      // Over TCP, as in the driver `docker`: containers may be on another machine even if the host is this machine's name.
      elsewhere: engine.remote !== undefined,
      platform: process.platform,
    },
    engineHost: machine.host,
  };
  const site = { network, alsoOn: options.alsoOn ?? [], nodeRole: options.nodeRole, pidsLimit: options.pidsLimit ?? DEFAULT_PIDS_LIMIT };
  const deps: SwarmDeployDeps = { engine, view, site, registry, unplacedMs: options.unplacedMs ?? UNPLACED_MS, log };
  const byName = view.standpoint.setting === "name" || (view.standpoint.setting === "auto" && view.standpoint.inContainer);
  let joined = !byName;
  let warned = false;

  /** Once per driver, before the first connection to a task. */
  const join = async (signal: AbortSignal) => {
    if (joined) return;
    await ensureOverlay(engine, network, signal);
    await joinNetwork(engine, network, log, signal);
    joined = true;
  };
  const warnOfStorage = ({ service, storageGb }: Spec) => {
    if (warned || storageGb <= 0) return;
    warned = true;
    log.warn({ service, storageGb }, "`storage` of container.json ignored: Swarm cannot limit a container's disk");
  };

  const taskOf = async (service: string, signal: AbortSignal): Promise<Task | undefined> => {
    signal.throwIfAborted();
    const holder = await findOwnService(engine, service, signal);
    return holder && currentTask((await tasksOf(engine, holder.ID, signal)) ?? []);
  };
  /** The id of the container of the service's task, on whatever node. */
  const taskContainer = async (service: string, signal: AbortSignal): Promise<string | undefined> =>
    (await taskOf(service, signal))?.Status.ContainerStatus?.ContainerID;

  return {
    name: "swarm",
    replicas: {},
    pulls: true,
    resolve: (image, call) => resolve(engine, image, call, { registry, log }),
    deploy: async (spec, call) => {
      call.signal.throwIfAborted();
      refuseBadName(spec.service);
      warnOfStorage(spec);
      await join(call.signal);
      return deploy(deps, spec, call);
    },
    destroy: (service, call) => destroy(engine, service, call),
    inspect: (service, call) => inspect(engine, view, service, call),
    list: async (call) => {
      await join(call.signal);
      return list(engine, view, call);
    },
    logs: (service, options, call) => logs(engine, service, options, call),
    capacity: ({ signal }) => swarmCapacity(engine, signal),
    listeners: async (service, { signal }) => {
      const container = await taskContainer(service, signal);
      return container ? containerListeners(engine, container, signal) : undefined;
    },
    // A task of another node has its statistics at that node's engine.
    usage: async (service, { signal }) => {
      const container = await taskContainer(service, signal);
      return container ? containerUsage(engine, container, signal) : undefined;
    },
    // A manager runs commands in containers of its own node only.
    exec: async (service, options, { signal }) => {
      const task = await taskOf(service, signal);
      const container = task?.Status.ContainerStatus?.ContainerID;
      if (task === undefined || container === undefined || isOver(task)) return undefined;
      const session = await openExec(engine, container, options, signal);
      if (session) return session;
      const node = await engine.call(
        { doing: "Inspecting the engine", signal },
        (docker) => docker.info() as Promise<{ Swarm?: { NodeID?: string } }>,
      );
      if (node.Swarm?.NodeID === task.NodeID) return undefined;
      throw new Fault(
        "EXEC_UNAVAILABLE",
        `${service} runs on node ${task.NodeID}, and berth opens shells on the node of its own manager only: run docker exec on that node.`,
      );
    },
    events: (call) => events(engine, log, call),
    close: async () => engine.close(),
  };
}

type Name = Extract<Reference, { kind: "name" }>;
type SwarmResolveDeps = { registry: Registry | undefined; log: Log };

/**
 * Resolves to `name@digest`, which every node can pull by itself. An image that was built on this engine and is in no registry has its id, and starts on
 * this engine. The engine has the image afterwards, because only then its ports are known. Each call reads the digest of a tag, and pulls only if it has
 * moved. The engine's copy is used while the registry fails.
 */
async function resolve(engine: Engine, { ref }: ImageSource, call: DeployCall, deps: SwarmResolveDeps): Promise<ResolvedImage> {
  const { signal } = call;
  const { registry } = deps;
  const named = parseReference(ref);
  if (named.kind === "id") {
    const local = await localImage(engine, ref, signal);
    if (local) return describeImage(engine, local, signal);
    throw advisedFault("IMAGE_NOT_FOUND", `The manager's engine has no image ${ref}`);
  }
  if (named.registry === undefined && registry === undefined) return resolveLocal(engine, ref, named, call, registry);
  try {
    const resolved = named.registry === undefined ? await registry?.resolve(ref, call) : undefined;
    if (resolved) return await pin(engine, parseReference(resolved.reference) as Name, resolved.digest, call, registry);
    if (named.registry === undefined) return await resolveLocal(engine, ref, named, call, registry);
    return await pin(engine, named, await digestOf(engine, named, call, registry), call, registry);
  } catch (error) {
    if (signal.aborted || !(error instanceof Fault) || error.code === "ENGINE_UNREACHABLE") throw error;
    const local = await findLocalCopy(engine, ref, registry, call);
    if (!local) throw error;
    deps.log.warn({ ref, code: error.code, cause: error.message }, "registry failed, using the engine's own copy");
    return describeCopy(engine, parseReference(local.name) as Name, local.copy, call);
  }
}

/** No configured registry has the image: it is the engine's own, else one of the engine's default registry. */
async function resolveLocal(engine: Engine, ref: string, named: Name, call: DeployCall, registry: Registry | undefined): Promise<ResolvedImage> {
  const local = await localImage(engine, ref, call.signal);
  if (local) return describeCopy(engine, named, local, call);
  return pin(engine, named, await digestOf(engine, named, call, registry), call, registry);
}

async function digestOf(engine: Engine, named: Name, call: DeployCall, registry: Registry | undefined): Promise<string> {
  return named.digest ?? (await queryDigest(engine, named, registry, call));
}

/** Exactly this image, on this engine too. */
async function pin(engine: Engine, named: Name, digest: string, call: DeployCall, registry: Registry | undefined): Promise<ResolvedImage> {
  const id = `${named.name}@${digest}`;
  const copy = (await localImage(engine, id, call.signal)) ?? (await pullAndInspect(engine, id, call, { registry }));
  return { ...(await describeImage(engine, copy, call.signal, { digest })), id, digest };
}

/** A copy of this engine, with its name and digest in a registry if it has them. */
async function describeCopy(engine: Engine, named: Name, copy: ImageInspectInfo, call: DeployCall): Promise<ResolvedImage> {
  const image = await describeImage(engine, copy, call.signal);
  const pinned = copy.RepoDigests?.find((name) => name.startsWith(`${named.name}@`));
  return pinned === undefined ? image : { ...image, id: pinned, digest: pinned.slice(pinned.indexOf("@") + 1) };
}
