import type { Service } from "@aws-sdk/client-ecs";
import { createBackoff } from "../../lib/backoff.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { type OwnedCall, MOST_STOP_GRACE_SECONDS, type Spec } from "../driver.ts";
import { advisedFault } from "../faults.ts";
import { isServiceName, refuseForeignOwner } from "../labels.ts";
import { ignoredSettings, readTags, service, taskDefinition } from "./definition.ts";
import { isNamed, isTrouble, messageOf } from "./faults.ts";
import { chooseLaunch, type TaskLaunch } from "./launch.ts";
import { findService, findTasks, isEnding, tasksOf } from "./observe.ts";
import type { EcsSite } from "./site.ts";

/** AWS is eventually consistent: a taken name may not be visible yet, a role not usable. About 15 s in all. */
const ATTEMPTS = 8;

/** `events` and `tasks` existed before, and so are not about this start. */
export type Begun = { adopted: boolean; events: ReadonlySet<string>; tasks: ReadonlySet<string> };

/** Creates the service, or adopts it. Removes one of another generation, or one that has ended, first. */
export async function createOrAdopt(site: EcsSite, spec: Spec, signal: AbortSignal): Promise<Begun> {
  const delays = createBackoff(site.polling.retry.first, site.polling.retry.longest);
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    const holder = await findService(site.aws, spec.service, signal);
    if (holder) {
      refuseForeignOwner(readTags(holder.tags)?.labels, spec, { where: " in the ECS cluster", todo: "Remove that first." });
      const before = await adoptable(site, holder, spec, signal);
      if (before) return before;
      site.log.info({ service: spec.service, generation: readTags(holder.tags)?.labels.generation, state: holder.status }, "replacing service");
      await remove(site, spec.service, signal);
    }
    const launch = await chooseLaunch(site, spec, signal);
    for (const setting of ignoredSettings(spec, launch)) site.log.warn({ service: spec.service, setting }, "setting of container.json ignored");
    signal.throwIfAborted();
    try {
      await create(site, spec, launch);
      return { adopted: false, events: new Set(), tasks: new Set() };
    } catch (error) {
      if (!mayPass(error) || attempt === ATTEMPTS) throw error;
    }
    await site.clock.sleep(delays.next(), signal);
  }
}

/** Without a signal, because ECS may complete an aborted call. */
async function create(site: EcsSite, spec: Spec, launch: TaskLaunch): Promise<void> {
  const registered = await site.aws.registerTaskDefinition(taskDefinition(spec, launch, site));
  const arn = registered.taskDefinition?.taskDefinitionArn ?? "";
  try {
    await site.aws.createService(service(spec, launch, arn, site)).catch((error: unknown) => {
      // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentCircuitBreaker.html: some endpoints are older.
      if (!site.countingBreaker || !/threshold/i.test(messageOf(error))) throw error;
      site.countingBreaker = false;
      site.log.info({ reason: messageOf(error) }, "ECS has no circuit breaker threshold, gives up after three failed tasks");
      return site.aws.createService(service(spec, launch, arn, site));
    });
  } catch (error) {
    // Only the response may be lost.
    const cleanUp = isTrouble(error) ? remove(site, spec.service) : deregister(site, arn);
    await cleanUp.catch((err: unknown) => site.log.warn({ service: spec.service, err }, "cleanup after failed start failed"));
    throw error;
  }
}

/** The name is taken or draining, or a new role is not usable yet. */
function mayPass(error: unknown): boolean {
  return (
    isNamed(error, "InvalidParameterException", "ClientException") &&
    /not idempotent|still draining|unable to assume|is inactive|service linked role/i.test(messageOf(error))
  );
}

/** Undefined if it must be replaced: it has another definition, has ended, was given up by ECS, or is being deleted. */
async function adoptable(site: EcsSite, holder: Service, spec: Spec, signal: AbortSignal): Promise<Begun | undefined> {
  const tagged = readTags(holder.tags);
  if (holder.status !== "ACTIVE" || tagged?.labels.generation !== spec.labels.generation || tagged.port !== spec.port) return undefined;
  const tasks = await tasksOf(site.aws, holder, signal);
  const live = tasks.some((task) => !isEnding(task));
  const failed = holder.deployments?.some(({ rolloutState }) => rolloutState === "FAILED") === true;
  if (!live && (tasks.length > 0 || failed || holder.desiredCount === 0)) return undefined;
  return {
    adopted: true,
    events: new Set((holder.events ?? []).map(({ id }) => id ?? "")),
    tasks: new Set(tasks.filter(isEnding).map(({ taskArn }) => taskArn ?? "")),
  };
}

/** The longest grace time of a task, and the time in which Fargate removes its network. */
const GONE_MS = MOST_STOP_GRACE_SECONDS * 1_000 + 170_000;
const MOST_PAGES = 20;

/** Deletes the service and returns when its tasks have stopped, also if another process does the same. */
export async function destroy(site: EcsSite, service: string, { signal, owner }: OwnedCall): Promise<void> {
  signal.throwIfAborted();
  if (!isServiceName(service)) return;
  const holder = await findService(site.aws, service, signal);
  const labels = readTags(holder?.tags)?.labels;
  if (!labels) return;
  if (owner) refuseForeignOwner(labels, { service, labels: owner }, { where: " in the ECS cluster" });
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
async function deregister(site: EcsSite, arn: string): Promise<void> {
  try {
    await site.aws.deregisterTaskDefinition(arn);
  } catch (error) {
    site.log.warn({ definition: arn, err: error }, "deregistering unused task definition failed");
  }
}
