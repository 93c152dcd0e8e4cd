import type { Service } from "@aws-sdk/client-ecs";

import { createBackoff } from "../../lib/backoff.ts";
import type { Spec } from "../driver.ts";
import { ignoredSettings, service, taskDefinition, readTags } from "./definition.ts";
import { deregister, remove } from "./destroy.ts";
import { isNamed, isTrouble, messageOf } from "./faults.ts";
import { chooseLaunch, type TaskLaunch } from "./launch.ts";
import { findService, tasksOf, isEnding } from "./observe.ts";
import type { EcsSite } from "./site.ts";
import { refuseForeignOwner } from "../labels.ts";

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
    const launch = await chooseLaunch(site.aws, spec, site.launchType, signal);
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
