import { existsSync } from "node:fs";
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Driver, Registry, Spec } from "../driver.ts";
import { openEngine } from "../engine/engine.ts";
import { joinNetwork, DEFAULT_PIDS_LIMIT, engineMachine, type REACHES } from "../engine/reach.ts";
import { containerListeners } from "../engine/listening.ts";
import { containerUsage } from "../engine/usage.ts";
import { refuseBadName } from "../labels.ts";
import { currentTask, findOwnService, swarmCapacity, tasksOf } from "./cluster.ts";
import { ensureOverlay } from "./create.ts";
import { deploy, type SwarmDeployDeps } from "./deploy.ts";
import { destroy } from "./destroy.ts";
import { events } from "./events.ts";
import { logs } from "./logs.ts";
import { inspect, list, type SwarmView } from "./observe.ts";
import { resolve } from "./resolve.ts";

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

  /** The id of the container of the service's task, on whatever node. */
  const taskContainer = async (service: string, signal: AbortSignal): Promise<string | undefined> => {
    signal.throwIfAborted();
    const holder = await findOwnService(engine, service, signal);
    const task = holder && currentTask((await tasksOf(engine, holder.ID, signal)) ?? []);
    return task?.Status.ContainerStatus?.ContainerID;
  };

  return {
    name: "swarm",
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
    events: (call) => events(engine, log, call),
    close: async () => engine.close(),
  };
}
