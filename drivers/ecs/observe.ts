import type { Container, Service, Task } from "@aws-sdk/client-ecs";
import { completesWithin } from "../../lib/deadline.ts";
import { createBackoff } from "../../lib/backoff.ts";
import type { Address, Call, DriverEvent, Observed } from "../driver.ts";
import { reasonOf } from "../events.ts";
import { isServiceName } from "../labels.ts";
import { type Aws, SERVICES_PER_CALL, TASKS_PER_CALL } from "./aws.ts";
import { containerName, readTags } from "./definition.ts";
import { isNamed } from "./faults.ts";
import type { EcsSite, TaskReach } from "./site.ts";

/** The observed state of a service, from its tasks, the newest first; undefined if berth did not create it. */
export function observe(service: Service, tasks: readonly Task[], reach: TaskReach): Observed | undefined {
  const tagged = readTags(service.tags);
  if (!tagged) return undefined;
  const { labels, port } = tagged;
  const name = service.serviceName ?? "";
  const task = tasks.find(runs);
  if (task) {
    const address = port === undefined ? undefined : addressOf(task, port, reach);
    return { service: name, labels, running: true, instance: taskId(task), addresses: address ? [address] : [] };
  }
  const ended = tasks.find((one) => isEnding(one) && mainContainer(one, name)?.exitCode !== undefined);
  const exit = ended && exitOf(mainContainer(ended, name));
  return { service: name, labels, running: false, addresses: [], ...(exit ? { exit } : {}) };
}

/** A task that ECS is about to stop does not count. */
export function runs({ lastStatus, desiredStatus }: Task): boolean {
  return lastStatus === "RUNNING" && desiredStatus === "RUNNING";
}

/** Stopped, or stopping with a known reason: on Fargate, the removal of its network takes half a minute more. */
export function isEnding({ lastStatus, desiredStatus, stoppedReason, stopCode }: Task): boolean {
  return lastStatus === "STOPPED" || (desiredStatus === "STOPPED" && (stoppedReason !== undefined || stopCode !== undefined));
}

/** berth's own container: AWS may add others for monitoring. */
export function mainContainer(task: Task, service: string): Container | undefined {
  return task.containers?.find(({ name }) => name === containerName({ service })) ?? task.containers?.[0];
}

export function taskId(task: Task): string {
  return task.taskArn?.split("/").at(-1) ?? "";
}

/** From the task's own network interface: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Attachment.html */
export function addressOf(task: Task, port: number, reach: TaskReach): Address | undefined {
  const details = task.attachments?.find(({ type }) => type === "ElasticNetworkInterface")?.details;
  const detail = (name: string) => details?.find((one) => one.name === name)?.value;
  const own = task.containers?.[0]?.networkInterfaces?.[0];
  const ip = detail("privateIPv4Address") ?? own?.privateIpv4Address ?? own?.ipv6Address;
  // Only if the VPC assigns names.
  const host = reach === "name" ? (detail("privateDnsName") ?? ip) : ip;
  return host === undefined || host === "" ? undefined : { host, port };
}

function exitOf(container: Container | undefined): Observed["exit"] {
  if (container?.exitCode === undefined) return undefined;
  return { code: container.exitCode, outOfMemory: /OutOfMemory/.test(container.reason ?? "") };
}

/** A service with this name that berth did not create does not count. */
export async function inspect(site: EcsSite, service: string, { signal }: Call): Promise<Observed | undefined> {
  signal.throwIfAborted();
  if (!isServiceName(service)) return undefined;
  const holder = await findService(site.aws, service, signal);
  if (!holder || !readTags(holder.tags)) return undefined;
  return observe(holder, await tasksOf(site.aws, holder, signal), site.reach);
}

export async function list(site: EcsSite, { signal }: Call): Promise<Observed[]> {
  const services = (await allServices(site.aws, signal)).filter(({ tags }) => readTags(tags));
  const live = services.length === 0 ? [] : await liveTasks(site.aws, signal);
  const observed: Observed[] = [];
  for (const service of services) {
    let tasks: Task[] = ofService(service, live);
    // Only stopped services need the query for their ended tasks.
    if (!tasks.some(runs)) tasks = await tasksOf(site.aws, service, signal);
    const one = observe(service, tasks, site.reach);
    if (one) observed.push(one);
  }
  return observed;
}

const PER_PAGE = 100;
/** Limits a list that does not end. */
const MOST_PAGES = 100;

/** By names or ARNs, with tags, without missing and deleted ones. */
async function findServices(aws: Aws, services: readonly string[], signal: AbortSignal | undefined): Promise<Service[]> {
  const all: Service[] = [];
  for (let at = 0; at < services.length; at += SERVICES_PER_CALL) {
    const reply = await aws.describeServices({ services: services.slice(at, at + SERVICES_PER_CALL), include: ["TAGS"] }, signal);
    all.push(...(reply.services ?? []).filter(({ status }) => status !== "INACTIVE"));
  }
  return all;
}

/** Undefined if it does not exist, or was deleted and its tasks are gone. Concurrent queries share their calls. */
export async function findService(aws: Aws, name: string, signal: AbortSignal | undefined): Promise<Service | undefined> {
  const service = await aws.service(name, signal);
  return service?.status === "INACTIVE" ? undefined : service;
}

/** Every service of the cluster, with or without berth's labels. */
async function allServices(aws: Aws, signal: AbortSignal): Promise<Service[]> {
  const arns = await pages(async (nextToken) => {
    const listed = await aws.listServices({ maxResults: PER_PAGE, nextToken }, signal);
    return { items: listed.serviceArns, nextToken: listed.nextToken };
  });
  return findServices(aws, arns, signal);
}

/** The running tasks. If there are none: the starting ones and those that stopped within the last hour, after which ECS forgets them. The newest first. */
export async function tasksOf(aws: Aws, service: Service, signal: AbortSignal | undefined): Promise<Task[]> {
  const serviceName = service.serviceName ?? "";
  const live = ofService(service, await findTasks(aws, await listTasks(aws, { serviceName, desiredStatus: "RUNNING" }, signal), signal));
  if (live.some(runs)) return live;
  const stopped = await findTasks(aws, await listTasks(aws, { serviceName, desiredStatus: "STOPPED" }, signal), signal);
  return ofService(service, [...live, ...stopped]);
}

/** The same for repeated queries: while the task of the last query has not ended, there is no other. */
export async function tasksAgain(aws: Aws, service: Service, lastArn: string | undefined, signal: AbortSignal): Promise<Task[]> {
  const [task] = lastArn === undefined ? [] : await findTasks(aws, [lastArn], signal);
  return task && !isEnding(task) ? [task] : tasksOf(aws, service, signal);
}

/** A few tasks by their ARNs. Concurrent queries share their calls. */
export async function findTasks(aws: Aws, arns: readonly string[], signal: AbortSignal | undefined): Promise<Task[]> {
  const tasks = await Promise.all(arns.map((arn) => aws.task(arn, signal)));
  return tasks.filter((task) => task !== undefined);
}

/** All tasks of the cluster whose desired state is running. */
async function liveTasks(aws: Aws, signal: AbortSignal): Promise<Task[]> {
  return describeTasks(aws, await listTasks(aws, { desiredStatus: "RUNNING" }, signal), signal);
}

async function describeTasks(aws: Aws, arns: readonly string[], signal: AbortSignal): Promise<Task[]> {
  const all: Task[] = [];
  for (let at = 0; at < arns.length; at += TASKS_PER_CALL) {
    const reply = await aws.describeTasks({ tasks: arns.slice(at, at + TASKS_PER_CALL) }, signal);
    all.push(...(reply.tasks ?? []));
  }
  return all;
}

/** Without those of an earlier service of the same name, which ECS lists for an hour. */
export function ofService(service: Service, tasks: readonly Task[]): Task[] {
  const since = service.createdAt?.getTime() ?? 0;
  return tasks
    .filter(({ group, createdAt }) => group === `service:${service.serviceName}` && (createdAt?.getTime() ?? since) >= since)
    .toSorted((a, b) => (b.createdAt?.getTime() ?? 0) - (a.createdAt?.getTime() ?? 0));
}

async function listTasks(
  aws: Aws,
  of: { serviceName?: string; desiredStatus: "RUNNING" | "STOPPED" },
  signal: AbortSignal | undefined,
): Promise<string[]> {
  try {
    return await pages(async (nextToken) => {
      const listed = await aws.listTasks({ ...of, maxResults: PER_PAGE, nextToken }, signal);
      return { items: listed.taskArns, nextToken: listed.nextToken };
    });
  } catch (error) {
    // Deleted meanwhile, or too new to be visible everywhere.
    if (isNamed(error, "ServiceNotFoundException", "ServiceNotActiveException")) return [];
    throw error;
  }
}

async function pages(
  next: (token: string | undefined) => Promise<{ items: string[] | undefined; nextToken: string | undefined }>,
): Promise<string[]> {
  const all: string[] = [];
  let token: string | undefined;
  for (let page = 0; page < MOST_PAGES; page++) {
    const { items = [], nextToken } = await next(token);
    all.push(...items);
    token = nextToken;
    if (token === undefined) break;
  }
  return all;
}

/**
 * A poll without a result for this time, and for twice as long as the one before took, counts as lost: it may be repeated for minutes, and meanwhile a task's
 * address may be given to another. An API that answers slowly is no loss.
 */
const LATE_MS = 20_000;
/** What the rate limit of calls adds to that for each service, several times over. */
const LATE_PER_SERVICE_MS = 25;

/**
 * ECS sends no events without a queue of EventBridge, so this polls, less often the longer nothing changes. An instance is a task, by its id; its end is
 * visible at the next poll.
 */
export async function* events(site: EcsSite, { signal }: Call): AsyncGenerator<DriverEvent> {
  const { events: pauses, retry } = site.polling;
  const delays = createBackoff(pauses.first, pauses.longest);
  const retries = createBackoff(retry.first, retry.longest);
  let before: Map<string, ServiceState> | undefined;
  // Each loss and each return is logged once, whatever the number of attempts.
  let lost = false;
  let lastMs = 0;
  while (!signal.aborted) {
    const begun = site.clock.monotonic();
    const poll = readStates(site, signal);
    // It outlives a reader that stops while it is late.
    poll.catch(() => {});
    try {
      if (!lost && !(await completesWithin(poll, Math.max(2 * lastMs, LATE_MS + LATE_PER_SERVICE_MS * (before?.size ?? 0)), site.clock))) {
        lost = true;
        site.log.warn({}, "ECS does not answer, addresses unknown");
        yield { kind: "disconnected" };
      }
      const now = await poll;
      lastMs = site.clock.monotonic() - begun;
      const changed = before ? changesOf(before, now) : [];
      if (lost) site.log.info({}, "ECS reachable again");
      if (lost || !before) yield { kind: "connected" };
      lost = false;
      before = now;
      retries.reset();
      if (changed.length > 0) delays.reset();
      for (const { service, container, ended } of changed) {
        for (const instance of ended) yield { kind: "changed", service, container, ended: { instance } };
        if (ended.length === 0) yield { kind: "changed", service, container };
      }
    } catch (error) {
      if (signal.aborted) return;
      site.log[lost ? "debug" : "warn"]({ reason: reasonOf(error) }, "ECS unreachable, polling again");
      if (!lost) yield { kind: "disconnected" };
      lost = true;
    }
    // Requests wait for the next result, so it is not put off.
    await site.clock.sleep((lost ? retries : delays).next(), signal).catch(() => {});
  }
}

/** `digest` changes whenever the result of `inspect` may change. `running` has the ids of running tasks. */
type ServiceState = { service: string; container: string; digest: string; running: readonly string[] };

async function readStates({ aws }: EcsSite, signal: AbortSignal): Promise<Map<string, ServiceState>> {
  const services = await allServices(aws, signal);
  const ours = services.flatMap((service) => {
    const labels = readTags(service.tags)?.labels;
    return labels ? [{ service, container: labels.container }] : [];
  });
  const live = ours.length === 0 ? [] : await liveTasks(aws, signal);
  return new Map(
    ours.map(({ service, container }) => {
      const name = service.serviceName ?? "";
      const rollouts = (service.deployments ?? []).map(({ id, rolloutState }) => `${id} ${rolloutState}`);
      const own = ofService(service, live);
      const tasks = own.map((task) => `${taskId(task)} ${task.lastStatus}`);
      return [name, { service: name, container, digest: [service.status, ...rollouts, ...tasks].join(), running: own.filter(runs).map(taskId) }];
    }),
  );
}

/** `ended`: the tasks that no longer run. */
function changesOf(before: Map<string, ServiceState>, now: Map<string, ServiceState>): (ServiceState & { ended: string[] })[] {
  return [...new Set([...before.keys(), ...now.keys()])].flatMap((service) => {
    const [old, one] = [before.get(service), now.get(service)];
    const latest = one ?? old;
    if (latest === undefined || old?.digest === one?.digest) return [];
    return [{ ...latest, ended: (old?.running ?? []).filter((id) => one?.running.includes(id) !== true) }];
  });
}
