import type { Service, Task } from "@aws-sdk/client-ecs";
import { Fault } from "../../fault.ts";
import { backoff } from "../backoff.ts";
import type { Address, DeployCall, Spec } from "../driver.ts";
import { awaitReady } from "../ready.ts";
import type { Begun } from "./create.ts";
import { lastLines } from "./logs.ts";
import { findService, tasksAgain } from "./look.ts";
import { addressOf, isEnding, runs } from "./observe.ts";
import type { Site } from "./site.ts";
import { faultOf, stoppedFault } from "./stopped.ts";

/** For so long after it was made, a service may not be seen yet. */
const UNSEEN_MS = 30_000;
/** For so long a role made a moment ago may not be usable, which the scheduler tries again by itself. */
const ROLE_MS = 30_000;
/** A rollout may be called failed a little before the task that failed is listed. */
const REASON_LOOKS = 5;

export type Up = { task: Task; address: Address | undefined; startedAt: number };

/**
 * Resolves when the service's task answers, or without a port has run through its grace time; rejects as soon as one has stopped, could not be
 * placed, or the rollout failed. ECS calls the rollout complete some time after that, which nobody waits for.
 */
export async function awaitRollout(site: Site, spec: Spec, begun: Begun, call: DeployCall): Promise<Up> {
  const { clock } = site;
  const { signal } = call;
  const delays = backoff(site.looks.start.first, site.looks.start.longest);
  const began = clock.monotonic();
  const over = new AbortController();
  const either = AbortSignal.any([signal, over.signal]);
  let coming: { arn: string | undefined; up: Promise<Up> } | undefined;
  let known: string | undefined;
  let seen = begun.adopted;
  let failedLooks = 0;
  try {
    for (;;) {
      const service = await findService(site.aws, spec.service, signal);
      if (service?.status === "ACTIVE") {
        seen = true;
        const tasks = await tasksAgain(site.aws, service, known, signal);
        const failed = tasks.find((task) => isEnding(task) && !begun.tasks.has(task.taskArn ?? ""));
        if (failed) throw stoppedFault(spec.service, failed, await lastLines(site, spec.service, failed, signal));
        const unplaced = unplacedFault(service, begun, clock.monotonic() - began > ROLE_MS);
        if (unplaced) throw unplaced;
        if (hasFailed(service) && ++failedLooks > REASON_LOOKS) throw rolloutFault(service, spec);
        known = tasks.find((task) => !isEnding(task))?.taskArn;
        const task = tasks.find(runs);
        if (tasks.some(pulls)) call.onPull?.({ done: 0, total: 0 });
        if (task && coming?.arn !== task.taskArn) coming = { arn: task.taskArn, up: comesUp(site, spec, task, either) };
      } else if (seen || service || clock.monotonic() - began > UNSEEN_MS) {
        throw new Fault("CONTAINER_CRASHED", `${spec.service} was removed before it was ready.`);
      }
      const up = await Promise.race([...(coming ? [coming.up] : []), clock.sleep(delays.next(), either)]);
      if (!up) continue;
      if (spec.port !== undefined || (await stillRuns(site, up, spec, signal))) return up;
      coming = undefined;
    }
  } finally {
    coming?.up.catch(() => {});
    over.abort(new Error("The start is decided."));
  }
}

async function comesUp(site: Site, spec: Spec, task: Task, signal: AbortSignal): Promise<Up> {
  const { clock } = site;
  const startedAt = clock.monotonic();
  if (spec.port === undefined) {
    await clock.sleep(spec.graceMs, signal);
    return { task, address: undefined, startedAt };
  }
  const address = addressOf(task, spec.port, site.reach);
  if (!address) throw new Fault("CONTAINER_NOT_READY", `${spec.service} runs, but ECS names no private address of its task.`);
  await awaitReady(address, "accepted", { clock, signal });
  return { task, address, startedAt };
}

/** ECS tells of a death a while after it. Where this look sees it, the next round says why. */
async function stillRuns(site: Site, { task }: Up, spec: Spec, signal: AbortSignal): Promise<boolean> {
  const service = await findService(site.aws, spec.service, signal);
  const tasks = service ? await tasksAgain(site.aws, service, task.taskArn, signal) : [];
  return tasks.some((one) => one.taskArn === task.taskArn && runs(one));
}

function pulls({ pullStartedAt, pullStoppedAt, lastStatus }: Task): boolean {
  return lastStatus !== "STOPPED" && pullStartedAt !== undefined && pullStoppedAt === undefined;
}

function hasFailed({ deployments }: Service): boolean {
  return deployments?.some(({ status, rolloutState }) => status === "PRIMARY" && rolloutState === "FAILED") === true;
}

/** What ECS says where it could not even make a task: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html */
function unplacedFault({ events }: Service, begun: Begun, late: boolean): Fault | undefined {
  for (const { id, message = "" } of events ?? []) {
    if (begun.events.has(id ?? "") || !/unable to place a task|failed to launch a task/i.test(message)) continue;
    if (!late && /unable to assume/i.test(message)) continue;
    const service = /\(service ([^)]+)\)/.exec(message)?.[1] ?? "The service";
    return faultOf(service, message) ?? new Fault("CONTAINER_UNSCHEDULABLE", `ECS could not place a task: ${message.slice(0, 400)}`);
  }
  return undefined;
}

function rolloutFault({ deployments }: Service, spec: Spec): Fault {
  const reason = deployments?.find(({ rolloutState }) => rolloutState === "FAILED")?.rolloutStateReason ?? "";
  return faultOf(spec.service, reason) ?? new Fault("CONTAINER_NOT_READY", `ECS gave up starting ${spec.service}: ${reason || "it says no reason"}`);
}
