import type { Address, Observed } from "../driver.ts";
import { type ContainerRoutes, REACH_RULES } from "../engine/reach.ts";
import { parseLabels, readPort } from "../labels.ts";
import type { SwarmNode } from "./cluster.ts";
import type { Service, Task } from "./task.ts";
import { type Standpoint, taskReachOf } from "./placement.ts";

/** The engine's word on a container of this machine: it knows of an end before the swarm does, and of memory as the swarm never does. */
export type LocalContainer = { running: boolean; code: number; outOfMemory: boolean };

/** What one look at a service takes; `bridged` is the container's address on this machine's own bridge. */
export type SeenTask = {
  service: Service;
  task: Task | undefined;
  local: LocalContainer | undefined;
  bridged: string | undefined;
  node: Pick<SwarmNode, "address"> | undefined;
};

/** How this driver sees tasks: from where, and on which machine the engine is. */
export type SwarmView = { standpoint: Standpoint; engineHost: string };

/** The contract's words for it; undefined for a service that is not ours. */
export function observe(view: SwarmView, seen: SeenTask): Observed | undefined {
  const { service, task, local } = seen;
  const labels = parseLabels(service.Spec?.Labels);
  const name = service.Spec?.Name;
  if (!labels || name === undefined) return undefined;
  const running = isRunning(seen);
  const address = running ? addressOf(view, seen) : undefined;
  const code = local?.code ?? task?.Status.ContainerStatus?.ExitCode;
  const ended = !running && task !== undefined && code !== undefined && hasEnded(task, local);
  return {
    service: name,
    labels,
    running,
    ...(task ? { instance: task.ID } : {}),
    ...(address ? { address } : {}),
    ...(ended ? { exit: { code, outOfMemory: local?.outOfMemory ?? false } } : {}),
  };
}

/** One that was scaled to nothing by hand is told to end. */
function isRunning({ task, local }: Pick<SeenTask, "task" | "local">): boolean {
  if (task === undefined || task.DesiredState !== "running") return false;
  return local ? local.running : task.Status.State === "running";
}

function hasEnded(task: Task, local: LocalContainer | undefined): boolean {
  if (["complete", "failed", "shutdown"].includes(task.Status.State)) return true;
  return local !== undefined && !local.running && task.Status.State === "running";
}

/** Where the task would be reached, by the way that its service was made for. */
export function addressOf(view: SwarmView, { service, task, bridged, node }: SeenTask): Address | undefined {
  const port = readPort(service.Spec?.Labels);
  const name = service.Spec?.Name;
  if (port === undefined || name === undefined) return undefined;
  const way = taskReachOf(view.standpoint, publishes(service));
  const hostPort = task?.Status.PortStatus?.Ports?.find(({ TargetPort }) => TargetPort === port)?.PublishedPort;
  // A manager on its own, or one that is not told better, knows itself by no address that leads anywhere.
  const known = node !== undefined && !/^(0\.0\.0\.0|127\..*|::1?|)$/.test(node.address);
  const ways: ContainerRoutes = { service: name, port, ip: way === "name" ? "by name" : bridged, hostPort };
  return REACH_RULES[way].address(ways, known ? node.address : view.engineHost);
}

export function publishes(service: Service): boolean {
  return (service.Spec?.EndpointSpec?.Ports?.length ?? 0) > 0;
}
