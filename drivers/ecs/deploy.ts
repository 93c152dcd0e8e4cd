import type { Service, Task } from "@aws-sdk/client-ecs";
import { createBackoff } from "../../lib/backoff.ts";
import type { Fault } from "../../lib/fault.ts";
import type { DriverTimes } from "../../lib/start-phases.ts";
import { type Address, type DeployCall, type Deployment, leavesRunning, type Spec } from "../driver.ts";
import { advisedFault } from "../faults.ts";
import { gpuFault } from "../gpu.ts";
import { awaitReady, healthAddress } from "../ready.ts";
import { type Begun, createOrAdopt, remove } from "./create-destroy.ts";
import { isTrouble } from "./faults.ts";
import { readLogTail } from "./logs.ts";
import { addressOf, findService, isEnding, runs, taskId, tasksAgain } from "./observe.ts";
import type { EcsSite } from "./site.ts";
import { faultOf, stoppedFault } from "./stopped.ts";

/** Creates or adopts the service, then waits until it answers or has failed. */
export async function deploy(site: EcsSite, spec: Spec, call: DeployCall): Promise<Deployment> {
  const { clock, log } = site;
  const began = clock.monotonic();
  const begun = await createOrAdopt(site, spec, call.signal);
  try {
    call.signal.throwIfAborted();
    call.onLaunched?.();
    const { task, addresses, startedAt } = await awaitRollout(site, spec, begun, call);
    const pull = begun.adopted ? 0 : pullMs(task);
    const phases: DriverTimes = {
      ...(pull > 0 ? { pull } : {}),
      create: Math.max(startedAt - began - pull, 0),
      boot: clock.monotonic() - startedAt,
    };
    log.debug({ service: spec.service, adopted: begun.adopted, phases }, "service ready");
    return { addresses, instance: taskId(task), phases };
  } catch (error) {
    if (!leavesRunning(call))
      await remove(site, spec.service).catch((err: unknown) => log.warn({ service: spec.service, err }, "cleanup after failed start failed"));
    throw error;
  }
}

function pullMs({ pullStartedAt, pullStoppedAt }: { pullStartedAt?: Date | undefined; pullStoppedAt?: Date | undefined }): number {
  return pullStartedAt && pullStoppedAt ? pullStoppedAt.getTime() - pullStartedAt.getTime() : 0;
}

/** For this time after its creation, a service may be invisible and its role unusable. */
const SETTLE_MS = 30_000;
/** ECS may report a failed rollout a little before it lists the failed task. */
const REASON_POLLS = 5;

type ReadyTask = { task: Task; addresses: Address[]; startedAt: number };

/**
 * Resolves when the service's task is ready, by its spec. Rejects when a task has stopped, could not be placed, or the
 * rollout failed. ECS reports the rollout as complete some time later.
 */
async function awaitRollout(site: EcsSite, spec: Spec, begun: Begun, { signal, onPull, onHealthStatus, onLookup }: DeployCall): Promise<ReadyTask> {
  const { clock } = site;
  const delays = createBackoff(site.polling.start.first, site.polling.start.longest);
  const decided = new AbortController();
  const either = AbortSignal.any([signal, decided.signal]);
  const poll = createPoll(site, spec, begun, signal);
  let starting: { arn: string | undefined; ready: Promise<ReadyTask> } | undefined;
  try {
    for (;;) {
      const task = await poll();
      if (task && isPulling(task)) onPull?.({ done: 0, total: 0 });
      if (task && runs(task) && starting?.arn !== task.taskArn)
        starting = { arn: task.taskArn, ready: connect(site, spec, task, { signal: either, onHealthStatus, onLookup }) };
      const ready = await Promise.race([...(starting ? [starting.ready] : []), clock.sleep(delays.next(), either)]);
      if (!ready) continue;
      // A connection proves that the task runs. The end of the grace time does not, and ECS reports an end late.
      const now = spec.readiness.kind === "running" ? await poll() : ready.task;
      if (now && runs(now) && now.taskArn === ready.task.taskArn) return ready;
      starting = undefined;
    }
  } finally {
    starting?.ready.catch(() => {});
    decided.abort(new Error("The start is decided."));
  }
}

/** Each poll returns the live task, undefined if there is none yet or AWS does not answer, or throws the failure of the start. */
function createPoll(site: EcsSite, spec: Spec, begun: Begun, signal: AbortSignal): () => Promise<Task | undefined> {
  const { clock } = site;
  const began = clock.monotonic();
  let liveArn: string | undefined;
  let wasActive = begun.adopted;
  let givenUp = 0;
  let lastReplyAt = began;

  const throwIfFailed = async (service: Service, tasks: readonly Task[]) => {
    const late = clock.monotonic() - began > SETTLE_MS;
    const failed = tasks.find((task) => isEnding(task) && !begun.tasks.has(task.taskArn ?? ""));
    if (failed) throw stoppedFault(spec, failed, await readLogTail(site, spec.service, failed, signal));
    const unplaced = unplacedFault(service, spec, begun.events, late);
    if (unplaced) throw unplaced;
    if (isGivenUp(service) && ++givenUp > REASON_POLLS) throw givenUpFault(service, spec.service);
  };

  const query = async () => {
    try {
      const service = await findService(site.aws, spec.service, signal);
      const tasks = service?.status === "ACTIVE" ? await tasksAgain(site.aws, service, liveArn, signal) : [];
      lastReplyAt = clock.monotonic();
      return { service, tasks };
    } catch (error) {
      signal.throwIfAborted();
      if (!isTrouble(error) || clock.monotonic() - lastReplyAt > site.maxOutageMs) throw error;
      site.log.warn({ service: spec.service, err: error }, "start state unreadable, retrying");
      return undefined;
    }
  };

  return async () => {
    const reply = await query();
    if (!reply) return undefined;
    const { service, tasks } = reply;
    const active = service?.status === "ACTIVE";
    if (active) await throwIfFailed(service, tasks);
    else if (wasActive || service || lastReplyAt - began > SETTLE_MS)
      throw advisedFault("CONTAINER_CRASHED", `Another process removed ${spec.service} before it was ready`, { todo: "Start it again." });
    wasActive ||= active;
    const live = tasks.find((task) => !isEnding(task));
    liveArn = live?.taskArn;
    return live;
  };
}

async function connect(site: EcsSite, spec: Spec, task: Task, { signal, onHealthStatus, onLookup }: DeployCall): Promise<ReadyTask> {
  const { clock } = site;
  const startedAt = clock.monotonic();
  const address = spec.port === undefined ? undefined : addressOf(task, spec.port, site.reach);
  if (spec.port !== undefined && !address) {
    const todo = "Look at the task's network interface in AWS's console.";
    throw advisedFault("CONTAINER_NOT_READY", `${spec.service} runs, but ECS names no private address of its task`, { todo });
  }
  await awaitReady(spec, { address, proof: "accepted", health: healthAddress(spec, address?.host) }, { clock, signal, onHealthStatus, onLookup });
  return { task, addresses: address ? [address] : [], startedAt };
}

function isPulling({ pullStartedAt, pullStoppedAt, lastStatus }: Task): boolean {
  return lastStatus !== "STOPPED" && pullStartedAt !== undefined && pullStoppedAt === undefined;
}

/** True if ECS will start no more tasks of this rollout. */
function isGivenUp({ deployments }: Service): boolean {
  return deployments?.some(({ status, rolloutState }) => status === "PRIMARY" && rolloutState === "FAILED") === true;
}

/** Why ECS gave up, by the reason of the rollout. */
function givenUpFault({ deployments }: Service, service: string): Fault {
  const reason = deployments?.find(({ rolloutState }) => rolloutState === "FAILED")?.rolloutStateReason ?? "";
  const sentence = `ECS gave up starting ${service}: ${reason || "it reports no reason"}`;
  return faultOf(service, reason) ?? advisedFault("CONTAINER_NOT_READY", sentence, { todo: "Look at the service's events in AWS's console." });
}

/** What the closest instance lacks. */
const NO_GPU = /RESOURCE:GPU|insufficient GPU/i;

/**
 * Why no task could be placed, by the new events: service-event-messages-list.html of the developer guide. Until `late`, a role that cannot be assumed does
 * not count: it may be new, and the scheduler retries.
 */
function unplacedFault({ events }: Service, { service, gpu }: Spec, before: ReadonlySet<string>, late: boolean): Fault | undefined {
  for (const { id, message = "" } of events ?? []) {
    if (before.has(id ?? "") || !/unable to place a task|failed to launch a task/i.test(message)) continue;
    if (!late && /unable to assume/i.test(message)) continue;
    if (gpu > 0 && NO_GPU.test(message)) return gpuFault(`ECS could not place a task of ${service}: ${message.slice(0, 400)}`);
    return faultOf(service, message) ?? advisedFault("CONTAINER_UNSCHEDULABLE", `ECS could not place a task of ${service}: ${message.slice(0, 400)}`);
  }
  return undefined;
}
