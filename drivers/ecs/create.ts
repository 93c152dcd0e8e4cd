import type { Service } from "@aws-sdk/client-ecs";
import { advisedFault } from "../faults.ts";
import { createBackoff } from "../../lib/backoff.ts";
import type { Spec } from "../driver.ts";
import { notHonoured, service, taskDefinition } from "./definition.ts";
import { deregister, remove } from "./destroy.ts";
import { isNamed, isTrouble, saidBy } from "./faults.ts";
import { chooseLaunch, type TaskLaunch } from "./launch.ts";
import { findService, tasksOf, isEnding } from "./observe.ts";
import type { EcsSite } from "./site.ts";
import { readTags } from "./labels.ts";
import { foreignOwnerOf } from "../labels.ts";

/** What was made a moment ago is not known everywhere at AWS: a name that is taken may not be seen yet, a role not be usable. Some 15 s in all. */
const ATTEMPTS = 8;

/** `events` and `tasks` tell what was there before, and so says nothing of this start. */
export type Begun = { adopted: boolean; events: ReadonlySet<string>; tasks: ReadonlySet<string> };

/** Creates the service, or finds the one that is as good; its holder of any other generation, or one that has ended, goes first. */
export async function createOrAdopt(site: EcsSite, spec: Spec, signal: AbortSignal): Promise<Begun> {
  const delays = createBackoff(site.looks.retry.first, site.looks.retry.longest);
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    const holder = await findService(site.aws, spec.service, signal);
    if (holder) {
      refuseForeignOwner(holder, spec);
      const before = await adoptable(site, holder, spec, signal);
      if (before) return before;
      site.log.info({ service: spec.service, generation: readTags(holder.tags)?.labels.generation, state: holder.status }, "Replacing the service.");
      await remove(site, spec.service, signal);
    }
    const launch = await chooseLaunch(site.aws, spec, site.launchType, signal);
    for (const what of notHonoured(spec, launch)) site.log.warn({ service: spec.service }, `Not honoured: ${what}.`);
    signal.throwIfAborted();
    try {
      await create(site, spec, launch);
      return { adopted: false, events: new Set(), tasks: new Set() };
    } catch (error) {
      if (!passes(error) || attempt === ATTEMPTS) throw error;
    }
    await site.clock.sleep(delays.next(), signal);
  }
}

/** Neither call is cut off by a signal: ECS, which no longer hears us, may still do it. */
async function create(site: EcsSite, spec: Spec, launch: TaskLaunch): Promise<void> {
  const registered = await site.aws.registerTaskDefinition(taskDefinition(spec, launch, site));
  const arn = registered.taskDefinition?.taskDefinitionArn ?? "";
  try {
    await site.aws.createService(service(spec, launch, arn, site)).catch((error: unknown) => {
      // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentCircuitBreaker.html: younger than many an endpoint.
      if (!site.countingBreaker || !/threshold/i.test(saidBy(error))) throw error;
      site.countingBreaker = false;
      site.log.info({ reason: saidBy(error) }, "This ECS knows no circuit breaker that counts: it gives up after three failed tasks, not one.");
      return site.aws.createService(service(spec, launch, arn, site));
    });
  } catch (error) {
    // Only the answer may have been lost.
    const cleanUp = isTrouble(error) ? remove(site, spec.service) : deregister(site, arn);
    await cleanUp.catch((err: unknown) => site.log.warn({ service: spec.service, err }, "Could not remove what may be left of a failed start."));
    throw error;
  }
}

/** Somebody took the name first, or it is on its way out, or the two were made for each other and a moment too early. */
function passes(error: unknown): boolean {
  return (
    isNamed(error, "InvalidParameterException", "ClientException") &&
    /not idempotent|still draining|unable to assume|is inactive|service linked role/i.test(saidBy(error))
  );
}

/** Undefined where another must take its place: of another definition, ended, given up by ECS, or being deleted. */
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

function refuseForeignOwner(holder: Service, spec: Spec): void {
  const owner = foreignOwnerOf(readTags(holder.tags)?.labels, spec.labels, "a service that berth did not make");
  if (owner === undefined) return;
  const todo = "Remove that first.";
  throw advisedFault("SPEC_REFUSED", `The name ${spec.service} is taken in the ECS cluster by ${owner}`, { todo });
}
