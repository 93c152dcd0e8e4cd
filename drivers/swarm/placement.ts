import { parseReference } from "../image.ts";
import type { SwarmCluster } from "./cluster.ts";
import type { Reach, REACHES } from "../engine/reach.ts";

/**
 * Where a service's task may run, as Swarm's own constraints: on nodes whose label `role` is the host's name, once any node has that label, and an image
 * that only this engine has, since it was built on it, here.
 */
export function constraintsFor(image: string, host: string, { self, nodes }: SwarmCluster): string[] {
  return [
    ...(nodes.some(({ labels }) => labels["role"] === host) ? [`node.labels.role==${host}`] : []),
    ...(parseReference(image).kind === "id" && nodes.length > 1 ? [`node.id==${self}`] : []),
  ];
}

/** What the nodes call their GPUs (`node-generic-resources`); `gpu` where none has any, so that the scheduler says so. */
export function gpuKind({ nodes }: Pick<SwarmCluster, "nodes">): string {
  return nodes.flatMap(({ resources }) => resources).find((kind) => /gpu/i.test(kind)) ?? "gpu";
}

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
