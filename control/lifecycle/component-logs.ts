import type { Log } from "../../lib/log.ts";

/**
 * The lifecycle's log with a field `component`. Its values are the names that a Datagrok server's troubleshooting page has its readers search for: the service,
 * and its timers for images and for containers.
 */
export type ComponentLogs = { service: Log; images: Log; containers: Log };

export function createComponentLogs(log: Log): ComponentLogs {
  const of = (component: string) => log.child({ component });
  return { service: of("DockerService"), images: of("DockerService.processImages"), containers: of("DockerService.processContainers") };
}
