import { existsSync } from "node:fs";
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Driver, Registry, Spec } from "../driver.ts";
import { openEngine } from "../engine/engine.ts";
import { joinNetwork } from "../engine/join-network.ts";
import { DEFAULT_PIDS_LIMIT, engineMachine, type REACHES } from "../engine/reach.ts";
import { refuseBadName } from "../labels.ts";
import { swarmCapacity } from "./cluster.ts";
import { deploy, type SwarmStart } from "./deploy.ts";
import { events } from "./events.ts";
import { logs } from "./logs.ts";
import { inspect, list, type SwarmView } from "./observe.ts";
import { ensureOverlay } from "./create.ts";
import { destroy } from "./destroy.ts";
import { resolve } from "./resolve.ts";

export type SwarmOptions = {
  /** A manager's engine, in the syntax of `DOCKER_HOST`; the engine's usual socket where left out. */
  host?: string | undefined;
  /** Speak TLS; `folder` holds ca.pem, cert.pem and key.pem (`DOCKER_CERT_PATH`). */
  tls?: { folder: string } | undefined;
  /** How long a call may take; 30 s where left out. */
  callMs?: number;
  /** The attachable overlay network that all services share; made when it is missing. */
  network: string;
  /** The label `role` of the nodes that run containers which are for no host, where any node has it. */
  nodeRole: string;
  /** Most processes and threads of one container; `DEFAULT_PIDS_LIMIT` where left out. */
  pidsLimit?: number;
  reach: (typeof REACHES)[number];
  registry?: Registry | undefined;
  /** How long a task may wait for a node; others may be about to leave room. */
  unplacedMs?: number;
};

const UNPLACED_MS = 15_000;

/** A Docker Swarm as the orchestrator, spoken to through one of its managers. Opens no connection until it is asked something. Faults: SETTINGS_INVALID. */
export function swarmDriver(options: SwarmOptions & { clock: Clock; log: Log }): Driver {
  const { clock, log, network, registry } = options;
  const engine = openEngine(options, clock);
  const machine = engineMachine(engine.remote);
  const view: SwarmView = {
    standpoint: {
      wished: options.reach,
      inContainer: existsSync("/.dockerenv"),
      // Over TCP, as the driver `docker` takes it: even where the host is this machine's own name, containers may not be on it.
      elsewhere: engine.remote !== undefined,
      platform: process.platform,
    },
    engineHost: machine.host,
  };
  const site = { network, nodeRole: options.nodeRole, pidsLimit: options.pidsLimit ?? DEFAULT_PIDS_LIMIT };
  const start: SwarmStart = { engine, view, site, registry, unplacedMs: options.unplacedMs ?? UNPLACED_MS, log };
  const byName = view.standpoint.wished === "name" || (view.standpoint.wished === "auto" && view.standpoint.inContainer);
  let joined = !byName;
  let warned = false;

  /** Once per driver, when the first task is about to be reached. */
  const join = async (signal: AbortSignal) => {
    if (joined) return;
    await ensureOverlay(engine, network, signal);
    await joinNetwork(engine, network, log, signal);
    joined = true;
  };
  const warnOf = ({ service, storageGb }: Spec) => {
    if (warned || storageGb <= 0) return;
    warned = true;
    log.warn({ service, storageGb }, "Swarm cannot limit a container's disk: `storage` of container.json is not honoured.");
  };

  return {
    name: "swarm",
    pulls: true,
    resolve: (image, call) => resolve(engine, image, call, { registry, log }),
    deploy: async (spec, call) => {
      call.signal.throwIfAborted();
      refuseBadName(spec.service);
      warnOf(spec);
      await join(call.signal);
      return deploy(start, spec, call);
    },
    destroy: (service, call) => destroy(engine, service, call),
    inspect: (service, call) => inspect(engine, view, service, call),
    list: async (call) => {
      await join(call.signal);
      return list(engine, view, call);
    },
    logs: (service, which, call) => logs(engine, service, which, call),
    capacity: ({ signal }) => swarmCapacity(engine, signal),
    events: (call) => events(engine, log, call),
    close: async () => engine.close(),
  };
}
