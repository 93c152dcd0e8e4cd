import { Fault } from "../lib/fault.ts";
import type { DriverName } from "./driver.ts";

/** What of the settings decides which orchestrator is meant. */
export type DriverChoice = {
  /** `BERTH_DRIVER`. */
  wished: DriverName | "auto";
  /** `GROK_SPAWNER_FORCE_DOCKER_TYPE_HOST`. */
  forceDocker: boolean;
  /** A cluster is named in either block of ECS's settings. */
  ecs: boolean;
  /** Kubernetes' namespace or kubeconfig is set. */
  kubernetes: boolean;
};

/**
 * The one orchestrator that the settings mean, as grok_spawner chooses it; "ask" where the Docker engine behind the socket must say whether it
 * manages a swarm (`chooseOnEngine`). Plain processes are never chosen: what isolates nothing is named. Faults: SETTINGS_INVALID.
 */
export function chooseDriver({ wished, forceDocker, ecs, kubernetes }: DriverChoice): DriverName | "ask" {
  if (wished !== "auto") return wished;
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
