import { readReference } from "../reference.ts";
import type { SwarmCluster } from "./cluster.ts";

/**
 * Where a service's task may run, as Swarm's own constraints: on nodes whose label `role` is the host's name, once any node has that label, and an image
 * that only this engine has, since it was built on it, here.
 */
export function constraintsFor(image: string, host: string, { self, nodes }: SwarmCluster): string[] {
  return [
    ...(nodes.some(({ labels }) => labels["role"] === host) ? [`node.labels.role==${host}`] : []),
    ...(readReference(image).kind === "id" && nodes.length > 1 ? [`node.id==${self}`] : []),
  ];
}

/** What the nodes call their GPUs (`node-generic-resources`); `gpu` where none has any, so that the scheduler says so. */
export function gpuKind({ nodes }: Pick<SwarmCluster, "nodes">): string {
  return nodes.flatMap(({ resources }) => resources).find((kind) => /gpu/i.test(kind)) ?? "gpu";
}
