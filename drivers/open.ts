import { createBackoff } from "../lib/backoff.ts";
import type { Clock } from "../lib/clock.ts";
import { withTimeout } from "../lib/deadline.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import type { DockerOptions } from "./docker/driver.ts";
import { type Call, type Driver, DRIVER_VERBS, type DriverName, type DriverVerb } from "./driver.ts";
import type { EcsOptions } from "./ecs/driver.ts";
import { unansweredFault } from "./faults.ts";
import { type GpuPolicy, preferGpu } from "./gpu.ts";
import type { KubernetesOptions } from "./kubernetes/driver.ts";
import { guardAddresses } from "./middleware.ts";
import type { ProcessOptions } from "./process/driver.ts";
import type { SpawnerOptions } from "./spawner/driver.ts";
import type { SwarmOptions } from "./swarm/driver.ts";

/** The options of each driver. Only those of the opened driver are required. */
export type DriverSettings = {
  docker?: DockerOptions;
  swarm?: SwarmOptions;
  ecs?: EcsOptions;
  kubernetes?: KubernetesOptions;
  process?: ProcessOptions;
  spawner?: SpawnerOptions;
  /** By default `require`. */
  gpuPolicy?: GpuPolicy;
};

type DriverTools = { clock: Clock; log: Log };
type Open = (settings: DriverSettings, tools: DriverTools) => Promise<Driver>;

/** With `prefer`: how long a cluster may take to add a machine with a GPU. */
const GPU_PATIENCE_MS = 5_000;

/** Loaded on demand: an orchestrator's client may cost half a second and tens of megabytes. */
const OPEN: Partial<Record<DriverName, Open>> = {
  docker: async (settings, tools) => {
    const { dockerDriver } = await import("./docker/driver.ts");
    return dockerDriver({ ...optionsOf(settings.docker, "docker"), ...tools });
  },
  swarm: async (settings, tools) => {
    const { swarmDriver } = await import("./swarm/driver.ts");
    return swarmDriver({ ...optionsOf(settings.swarm, "swarm"), ...tools });
  },
  ecs: async (settings, tools) => {
    const { ecsDriver } = await import("./ecs/driver.ts");
    return ecsDriver({ ...optionsOf(settings.ecs, "ecs"), ...tools });
  },
  kubernetes: async (settings, tools) => {
    const { kubernetesDriver } = await import("./kubernetes/driver.ts");
    const gpuPatienceMs = settings.gpuPolicy === "prefer" ? { gpuPatienceMs: GPU_PATIENCE_MS } : {};
    return kubernetesDriver({ ...gpuPatienceMs, ...optionsOf(settings.kubernetes, "kubernetes"), ...tools });
  },
  process: async (settings, tools) => {
    const { processDriver } = await import("./process/driver.ts");
    return processDriver({ ...optionsOf(settings.process, "process"), ...tools });
  },
  spawner: async (settings, tools) => {
    const { spawnerDriver } = await import("./spawner/driver.ts");
    return spawnerDriver({ ...optionsOf(settings.spawner, "spawner"), ...tools });
  },
};

/** The drivers of this version. */
export const AVAILABLE_DRIVERS: readonly DriverName[] = Object.keys(OPEN) as DriverName[];

/** Faults: SETTINGS_INVALID for a driver that this version does not have, or whose options are missing or wrong. */
export async function openDriver(name: DriverName, settings: DriverSettings, tools: DriverTools): Promise<Driver> {
  const open = OPEN[name];
  if (!open) throw new Fault("SETTINGS_INVALID", `The driver "${name}" is not in this version; there are: ${AVAILABLE_DRIVERS.join(", ")}.`);
  const log = tools.log.child({ driver: name });
  const driver = guardAddresses(await open(settings, { clock: tools.clock, log }));
  return settings.gpuPolicy === "prefer" ? preferGpu(driver, log) : driver;
}

function optionsOf<T>(settings: T | undefined, name: DriverName): T {
  if (settings === undefined) throw new Fault("SETTINGS_INVALID", `The driver "${name}" was chosen without its settings.`);
  return settings;
}

/** The settings that decide on the orchestrator. */
export type DriverChoice = {
  /** `BERTH_DRIVER`. */
  setting: DriverName | "auto";
  /** `GROK_SPAWNER_FORCE_DOCKER_TYPE_HOST`. */
  forceDocker: boolean;
  /** Either block of the ECS settings names a cluster. */
  ecs: boolean;
  /** Kubernetes' namespace or kubeconfig is set. */
  kubernetes: boolean;
};

/**
 * The orchestrator of the settings, as grok_spawner chooses it. "ask" means: it depends on whether the Docker engine manages a swarm (`chooseOnEngine`).
 * `process` is never chosen automatically, because it isolates nothing. Faults: SETTINGS_INVALID.
 */
export function chooseDriver({ setting, forceDocker, ecs, kubernetes }: DriverChoice): DriverName | "ask" {
  if (setting !== "auto") return setting;
  if (forceDocker) return "docker";
  if (ecs && kubernetes) {
    const sentence = "Both an ECS cluster and Kubernetes are set, and berth speaks to one orchestrator: unset one, or name it in BERTH_DRIVER.";
    throw new Fault("SETTINGS_INVALID", sentence);
  }
  if (ecs) return "ecs";
  return kubernetes ? "kubernetes" : "ask";
}

export function chooseOnEngine(engine: { managesSwarm: boolean }): DriverName {
  return engine.managesSwarm ? "swarm" : "docker";
}

const RETRY_MS = { first: 250, longest: 10_000 };
const CHOICE_MS = 60_000;

type DeferredChoice = {
  /** Queries the engine and opens the driver; repeated until it succeeds once. Faults: ENGINE_UNREACHABLE and others of a call. */
  choose(signal: AbortSignal): Promise<Driver>;
  /** Its name, and whether it pulls, until then. */
  meanwhile: Pick<Driver, "name" | "pulls" | "healthchecks" | "replicas">;
  clock: Clock;
  log: Log;
};

/**
 * A driver whose kind depends on the engine. Each call queries the engine until one query has succeeded, and fails if its query fails. So control can
 * start while the engine is away.
 */
export function deferredDriver({ choose, meanwhile, clock, log }: DeferredChoice): Driver {
  let chosen: Driver | undefined;
  let choosing: Promise<Driver> | undefined;
  const closing = new AbortController();
  const choice = async () => {
    const driver = await choose(closing.signal);
    chosen = driver;
    return driver;
  };
  const get = async (signal: AbortSignal): Promise<Driver> => {
    signal.throwIfAborted();
    if (chosen) return chosen;
    choosing ??= choice().finally(() => {
      choosing = undefined;
    });
    const current = choosing;
    current.catch(() => {});
    const overdue = () => unansweredFault(`The container engine did not answer within ${CHOICE_MS / 1000} s whether it manages a swarm`);
    // A caller that gives up leaves the query to the other callers.
    return withTimeout({ clock, ms: CHOICE_MS, overdue, signal }, () => current);
  };
  const calls = Object.fromEntries(
    DRIVER_VERBS.map((verb) => [
      verb,
      async (...args: never[]) => {
        const driver = (await get((args.at(-1) as unknown as Call).signal)) as Partial<Record<DriverVerb, (...args: never[]) => Promise<unknown>>>;
        // Without `pause` a driver cannot pause.
        return (await driver[verb]?.(...args)) ?? (verb === "pause" ? false : undefined);
      },
    ]),
  ) as unknown as Required<Pick<Driver, DriverVerb>>;
  return {
    get name(): DriverName {
      return (chosen ?? meanwhile).name;
    },
    get healthchecks() {
      return (chosen ?? meanwhile).healthchecks;
    },
    get replicas() {
      return (chosen ?? meanwhile).replicas;
    },
    ...(meanwhile.pulls ? { pulls: meanwhile.pulls } : {}),
    ...calls,
    logs: async function* (service, options, call) {
      yield* (await get(call.signal)).logs(service, options, call);
    },
    events: async function* (call) {
      const delays = createBackoff(RETRY_MS.first, RETRY_MS.longest);
      for (let logged = false; !call.signal.aborted; logged = true) {
        const driver = await get(call.signal).catch((error: unknown) => {
          if (!logged && !call.signal.aborted) log.warn({ err: error }, "container engine unreachable, retrying");
        });
        if (driver) return yield* driver.events(call);
        await clock.sleep(delays.next(), call.signal).catch(() => {});
      }
    },
    close: async () => {
      closing.abort(new Error("Closing."));
      await choosing?.catch(() => {});
      await chosen?.close();
    },
  };
}
