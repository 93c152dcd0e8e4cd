import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import type { DockerOptions } from "./docker/driver.ts";
import type { Driver, DriverName } from "./driver.ts";
import type { EcsOptions } from "./ecs/driver.ts";
import type { KubernetesOptions } from "./kubernetes/driver.ts";
import { type GpuPolicy, preferGpu } from "./gpu.ts";
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
