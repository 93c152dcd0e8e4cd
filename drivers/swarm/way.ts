import type { Reach, REACHES } from "../engine/reach.ts";
import type { SwarmCluster } from "./cluster.ts";

/** How berth was told to reach tasks, and from where it does. */
export type Standpoint = { wished: (typeof REACHES)[number]; inContainer: boolean; elsewhere: boolean; platform: NodeJS.Platform };

/**
 * By name from a container, which can be on the overlay. From the machine itself only tasks of that machine have an address that leads there, so
 * with several nodes each task publishes a port on its own.
 */
export function chooseTaskReach({ wished, inContainer, elsewhere, platform }: Standpoint, { nodes }: Pick<SwarmCluster, "nodes">): Reach {
  if (wished !== "auto") return wished;
  if (inContainer) return "name";
  return elsewhere || platform !== "linux" || nodes.length > 1 ? "published" : "address";
}

/** The same of a service that is there: whether it publishes stands in its definition. */
export function taskReachOf({ wished, inContainer }: Standpoint, publishes: boolean): Reach {
  if (publishes) return "published";
  return wished === "name" || (wished === "auto" && inContainer) ? "name" : "address";
}
