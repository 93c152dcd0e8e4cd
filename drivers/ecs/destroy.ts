import { createBackoff } from "../../lib/backoff.ts";
import { withTimeout } from "../../lib/deadline.ts";
import type { Call } from "../driver.ts";
import { advisedFault } from "../faults.ts";
import { isServiceName } from "../labels.ts";
import { readTags } from "./definition.ts";
import { isNamed } from "./faults.ts";
import { findService, findTasks, tasksOf } from "./observe.ts";
import type { EcsSite } from "./site.ts";

/** A task's grace time, and the time in which Fargate removes its network. */
const GONE_MS = 180_000;
const MOST_PAGES = 20;

/** Deletes the service and returns when its tasks have stopped, also if another process does the same. */
export async function destroy(site: EcsSite, service: string, { signal }: Call): Promise<void> {
  signal.throwIfAborted();
  if (!isServiceName(service)) return;
  const holder = await findService(site.aws, service, signal);
  if (!holder || !readTags(holder.tags)) return;
  await remove(site, service, signal);
}

/** Deletes without a check: a new service can be deleted before it is visible. Without a signal it cleans up after a failure. */
export async function remove(site: EcsSite, service: string, signal?: AbortSignal): Promise<void> {
  const taskArns = new Set(await liveTaskArns(site, service, signal));
  let created: Date | undefined;
  try {
    created = (await site.aws.deleteService(service)).service?.createdAt;
  } catch (error) {
    if (!isNamed(error, "ServiceNotFoundException", "ServiceNotActiveException")) throw error;
  }
  const overdue = () => {
    const todo = "Look at its tasks in AWS's console.";
    return advisedFault("ENGINE_FAILED", `ECS did not stop the tasks of ${service} within ${GONE_MS / 1_000} s of deleting it`, { todo });
  };
  const successor = await withTimeout({ clock: site.clock, ms: GONE_MS, overdue, signal }, (own) =>
    waitUntilGone(site, service, { created, taskArns }, own),
  );
  if (!successor) await deregisterAll(site, service);
}

/**
 * ECS counts a service as deleted when its tasks are stopping: its name is free then, but its containers may still run. True if another process has created
 * a service of that name meanwhile.
 */
async function waitUntilGone(
  site: EcsSite,
  service: string,
  { created, taskArns }: { created: Date | undefined; taskArns: Set<string> },
  signal: AbortSignal,
): Promise<boolean> {
  const delays = createBackoff(site.polling.start.first, site.polling.start.longest);
  for (;;) {
    const holder = await findService(site.aws, service, signal);
    const successor = holder !== undefined && created !== undefined && holder.createdAt?.getTime() !== created.getTime();
    const deleting = successor ? undefined : holder;
    // Includes a task that was started during the deletion.
    if (deleting) for (const { taskArn = "" } of await tasksOf(site.aws, deleting, signal)) taskArns.add(taskArn);
    const running = (await findTasks(site.aws, [...taskArns], signal)).filter(({ lastStatus }) => lastStatus !== "STOPPED");
    if (!deleting && running.length === 0) return successor;
    await site.clock.sleep(delays.next(), signal);
  }
}

async function liveTaskArns(site: EcsSite, service: string, signal: AbortSignal | undefined): Promise<string[]> {
  const holder = await findService(site.aws, service, signal);
  const tasks = holder ? await tasksOf(site.aws, holder, signal) : [];
  return tasks.filter(({ lastStatus }) => lastStatus !== "STOPPED").map(({ taskArn = "" }) => taskArn);
}

/** A family belongs to one service, so this also removes what a crash has left. */
async function deregisterAll(site: EcsSite, family: string): Promise<void> {
  try {
    let nextToken: string | undefined;
    for (let page = 0; page < MOST_PAGES; page++) {
      const listed = await site.aws.listTaskDefinitions({ familyPrefix: family, status: "ACTIVE", nextToken });
      for (const arn of listed.taskDefinitionArns ?? []) await deregister(site, arn);
      nextToken = listed.nextToken;
      if (nextToken === undefined) return;
    }
  } catch (error) {
    site.log.warn({ service: family, err: error }, "listing unused task definitions failed");
  }
}

/** A failure is only logged: an unused definition does no harm. */
export async function deregister(site: EcsSite, arn: string): Promise<void> {
  try {
    await site.aws.deregisterTaskDefinition(arn);
  } catch (error) {
    site.log.warn({ definition: arn, err: error }, "deregistering unused task definition failed");
  }
}
