import type { DeployCall, Deployment, Spec, Address } from "../driver.ts";
import { createOrAdopt, type Begun } from "./create.ts";
import { remove } from "./destroy.ts";
import { taskId, findService, tasksAgain, addressOf, isEnding, runs } from "./observe.ts";
import type { EcsSite } from "./site.ts";
import type { DriverTimes } from "../../lib/start-phases.ts";
import type { Service, Task } from "@aws-sdk/client-ecs";
import { advisedFault } from "../faults.ts";
import { createBackoff } from "../../lib/backoff.ts";
import { awaitReady } from "../ready.ts";
import { isTrouble } from "./faults.ts";
import { lastLines } from "./logs.ts";
import { stoppedFault, faultOf } from "./stopped.ts";
import type { Fault } from "../../lib/fault.ts";

/** Create or adopt, then wait until it answers or has failed. */
export async function deploy(site: EcsSite, spec: Spec, call: DeployCall): Promise<Deployment> {
  const { clock, log } = site;
  const began = clock.monotonic();
  const begun = await createOrAdopt(site, spec, call.signal);
  try {
    call.signal.throwIfAborted();
    call.onLaunched?.();
    const { task, address, startedAt } = await awaitRollout(site, spec, begun, call);
    const pull = begun.adopted ? 0 : pullMs(task);
    const phases: DriverTimes = {
      ...(pull > 0 ? { pull } : {}),
      create: Math.max(startedAt - began - pull, 0),
      boot: clock.monotonic() - startedAt,
    };
    log.debug({ service: spec.service, adopted: begun.adopted, phases }, "Ready.");
    return { ...(address ? { address } : {}), instance: taskId(task), phases };
  } catch (error) {
    await remove(site, spec.service).catch((err: unknown) =>
      log.warn({ service: spec.service, err }, "Could not remove what is left of a failed start."),
    );
    throw error;
  }
}

function pullMs({ pullStartedAt, pullStoppedAt }: { pullStartedAt?: Date | undefined; pullStoppedAt?: Date | undefined }): number {
  return pullStartedAt && pullStoppedAt ? pullStoppedAt.getTime() - pullStartedAt.getTime() : 0;
}

/** For so long after it was made, a service may not be seen, nor its role be usable. */
const SETTLE_MS = 30_000;
/** A rollout may be called failed a little before the task that failed is listed. */
const REASON_LOOKS = 5;

export type Up = { task: Task; address: Address | undefined; startedAt: number };

/**
 * Resolves when the service's task answers, or without a port has run through its grace time; rejects as soon as one has stopped, could not be
 * placed, or the rollout failed. ECS calls the rollout complete some time after that, which nobody waits for.
 */
export async function awaitRollout(site: EcsSite, spec: Spec, begun: Begun, { signal, onPull }: DeployCall): Promise<Up> {
  const { clock } = site;
  const delays = createBackoff(site.looks.start.first, site.looks.start.longest);
  const over = new AbortController();
  const either = AbortSignal.any([signal, over.signal]);
  const look = openLook(site, spec, begun, signal);
  let coming: { arn: string | undefined; up: Promise<Up> } | undefined;
  try {
    for (;;) {
      const task = await look();
      if (task && isPulling(task)) onPull?.({ done: 0, total: 0 });
      if (task && runs(task) && coming?.arn !== task.taskArn) coming = { arn: task.taskArn, up: comesUp(site, spec, task, either) };
      const up = await Promise.race([...(coming ? [coming.up] : []), clock.sleep(delays.next(), either)]);
      if (!up) continue;
      // A connect proves that it lives; time that passed does not, and ECS tells of a death a while after it.
      const now = spec.port === undefined ? await look() : up.task;
      if (now && runs(now) && now.taskArn === up.task.taskArn) return up;
      coming = undefined;
    }
  } finally {
    coming?.up.catch(() => {});
    over.abort(new Error("The start is decided."));
  }
}

/** Each look finds the live task, undefined where there is none yet or AWS does not answer, or throws what ended the start. */
function openLook(site: EcsSite, spec: Spec, begun: Begun, signal: AbortSignal): () => Promise<Task | undefined> {
  const { clock } = site;
  const began = clock.monotonic();
  let known: string | undefined;
  let seen = begun.adopted;
  let givenUp = 0;
  let lastSeen = began;

  const judge = async (service: Service, tasks: readonly Task[]) => {
    const late = clock.monotonic() - began > SETTLE_MS;
    const failed = tasks.find((task) => isEnding(task) && !begun.tasks.has(task.taskArn ?? ""));
    if (failed) throw stoppedFault(spec, failed, await lastLines(site, spec.service, failed, signal));
    const unplaced = unplacedFault(service, spec.service, begun.events, late);
    if (unplaced) throw unplaced;
    if (isGivenUp(service) && ++givenUp > REASON_LOOKS) throw givenUpFault(service, spec.service);
  };

  const ask = async () => {
    try {
      const service = await findService(site.aws, spec.service, signal);
      const tasks = service?.status === "ACTIVE" ? await tasksAgain(site.aws, service, known, signal) : [];
      lastSeen = clock.monotonic();
      return { service, tasks };
    } catch (error) {
      signal.throwIfAborted();
      if (!isTrouble(error) || clock.monotonic() - lastSeen > site.blindMs) throw error;
      site.log.warn({ service: spec.service, err: error }, "A start could not be looked at; looking again.");
      return undefined;
    }
  };

  return async () => {
    const found = await ask();
    if (!found) return undefined;
    const { service, tasks } = found;
    const active = service?.status === "ACTIVE";
    if (active) await judge(service, tasks);
    else if (seen || service || lastSeen - began > SETTLE_MS)
      throw advisedFault("CONTAINER_CRASHED", `${spec.service} was removed by somebody else before it was ready`, { todo: "Start it again." });
    seen ||= active;
    const live = tasks.find((task) => !isEnding(task));
    known = live?.taskArn;
    return live;
  };
}

async function comesUp(site: EcsSite, spec: Spec, task: Task, signal: AbortSignal): Promise<Up> {
  const { clock } = site;
  const startedAt = clock.monotonic();
  if (spec.port === undefined) {
    await clock.sleep(spec.graceMs, signal);
    return { task, address: undefined, startedAt };
  }
  const address = addressOf(task, spec.port, site.reach);
  if (!address) {
    const todo = "Look at the task's network interface in AWS's console.";
    throw advisedFault("CONTAINER_NOT_READY", `${spec.service} runs, but ECS names no private address of its task`, { todo });
  }
  await awaitReady(address, "accepted", { clock, signal });
  return { task, address, startedAt };
}

function isPulling({ pullStartedAt, pullStoppedAt, lastStatus }: Task): boolean {
  return lastStatus !== "STOPPED" && pullStartedAt !== undefined && pullStoppedAt === undefined;
}

/** True where ECS will start no more tasks of this rollout. */
export function isGivenUp({ deployments }: Service): boolean {
  return deployments?.some(({ status, rolloutState }) => status === "PRIMARY" && rolloutState === "FAILED") === true;
}

/** Why ECS gave up, by what it says of the rollout itself. */
export function givenUpFault({ deployments }: Service, service: string): Fault {
  const reason = deployments?.find(({ rolloutState }) => rolloutState === "FAILED")?.rolloutStateReason ?? "";
  const sentence = `ECS gave up starting ${service}: ${reason || "it says no reason"}`;
  return faultOf(service, reason) ?? advisedFault("CONTAINER_NOT_READY", sentence, { todo: "Look at the service's events in AWS's console." });
}

/**
 * Why no task could even be made, by the events that were not there before: service-event-messages-list.html of the developer guide. Not yet `late`, a
 * role that cannot be taken says nothing: it may have been made a moment ago, and the scheduler tries again by itself.
 */
export function unplacedFault({ events }: Service, service: string, before: ReadonlySet<string>, late: boolean): Fault | undefined {
  for (const { id, message = "" } of events ?? []) {
    if (before.has(id ?? "") || !/unable to place a task|failed to launch a task/i.test(message)) continue;
    if (!late && /unable to assume/i.test(message)) continue;
    return faultOf(service, message) ?? advisedFault("CONTAINER_UNSCHEDULABLE", `ECS could not place a task of ${service}: ${message.slice(0, 400)}`);
  }
  return undefined;
}
