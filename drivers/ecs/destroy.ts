import { advisedFault } from "../faults.ts";
import { createBackoff } from "../../lib/backoff.ts";
import type { Call } from "../driver.ts";
import { isServiceName } from "../labels.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { isNamed } from "./faults.ts";
import { findService, findTasks, tasksOf } from "./observe.ts";
import type { EcsSite } from "./site.ts";
import { readTags } from "./labels.ts";

/** A task's grace, and what Fargate takes to take its network away; longer, and ECS is stuck. */
const GONE_MS = 180_000;
const MOST_PAGES = 20;

/** Deletes the service and returns when its tasks have stopped; whoever else is doing the same, or already did, is welcome. */
export async function destroy(site: EcsSite, service: string, { signal }: Call): Promise<void> {
  signal.throwIfAborted();
  if (!isServiceName(service)) return;
  const found = await findService(site.aws, service, signal);
  if (!found || !readTags(found.tags)) return;
  await remove(site, service, signal);
}

/** Whatever is known of it: a service made a moment ago can be deleted before it can be seen. Without a signal it cleans up after a failure. */
export async function remove(site: EcsSite, service: string, signal?: AbortSignal): Promise<void> {
  const known = new Set(await liveTasks(site, service, signal));
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
  const successor = await withTimeout({ clock: site.clock, ms: GONE_MS, overdue, signal }, (own) => gone(site, service, { created, known }, own));
  if (!successor) await deregisterAll(site, service);
}

/**
 * ECS counts a service as deleted once its tasks are stopping; its name is free then, but its containers may still run. True where somebody has
 * made another of that name meanwhile, which is not ours to wait for.
 */
async function gone(site: EcsSite, service: string, of: { created: Date | undefined; known: Set<string> }, signal: AbortSignal): Promise<boolean> {
  const delays = createBackoff(site.looks.start.first, site.looks.start.longest);
  for (;;) {
    const holder = await findService(site.aws, service, signal);
    const successor = holder !== undefined && of.created !== undefined && holder.createdAt?.getTime() !== of.created.getTime();
    const found = successor ? undefined : holder;
    // One that was started while the service was being deleted is not among those that were known.
    if (found) for (const { taskArn = "" } of await tasksOf(site.aws, found, signal)) of.known.add(taskArn);
    const left = (await findTasks(site.aws, [...of.known], signal)).filter(({ lastStatus }) => lastStatus !== "STOPPED");
    if (!found && left.length === 0) return successor;
    await site.clock.sleep(delays.next(), signal);
  }
}

async function liveTasks(site: EcsSite, service: string, signal: AbortSignal | undefined): Promise<string[]> {
  const found = await findService(site.aws, service, signal);
  const tasks = found ? await tasksOf(site.aws, found, signal) : [];
  return tasks.filter(({ lastStatus }) => lastStatus !== "STOPPED").map(({ taskArn = "" }) => taskArn);
}

/** A family is one service's own, so whatever a death at the wrong moment left of it goes too. */
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
    site.log.warn({ service: family, err: error }, "Could not look for task definitions that nothing uses any more.");
  }
}

/** Nothing depends on it: one that stays only makes the account's lists longer. */
export async function deregister(site: EcsSite, arn: string): Promise<void> {
  try {
    await site.aws.deregisterTaskDefinition(arn);
  } catch (error) {
    site.log.warn({ definition: arn, err: error }, "Could not deregister a task definition that nothing uses any more.");
  }
}
