import type { Container, Service, Task } from "@aws-sdk/client-ecs";
import type { Address, Observed, Call } from "../driver.ts";
import { containerName } from "./definition.ts";
import type { TaskReach, EcsSite } from "./site.ts";
import { readTags } from "./labels.ts";
import { isServiceName } from "../labels.ts";
import { SERVICES_PER_CALL, TASKS_PER_CALL, type Aws } from "./aws.ts";
import { isNamed } from "./faults.ts";

/** The contract's words for a service and its tasks, the newest first; undefined for a service that is not ours. */
export function observe(service: Service, tasks: readonly Task[], reach: TaskReach): Observed | undefined {
  const tagged = readTags(service.tags);
  if (!tagged) return undefined;
  const { labels, port } = tagged;
  const name = service.serviceName ?? "";
  const task = tasks.find(runs);
  if (task) {
    const address = port === undefined ? undefined : addressOf(task, port, reach);
    return { service: name, labels, running: true, instance: taskId(task), ...(address ? { address } : {}) };
  }
  const ended = tasks.find((one) => isEnding(one) && mainContainer(one, name)?.exitCode !== undefined);
  const exit = ended && exitOf(mainContainer(ended, name));
  return { service: name, labels, running: false, ...(exit ? { exit } : {}) };
}

/** A task that ECS wants stopped may still be running for a while, but nobody shall be sent there. */
export function runs({ lastStatus, desiredStatus }: Task): boolean {
  return lastStatus === "RUNNING" && desiredStatus === "RUNNING";
}

/** Stopped, or on its way there for a reason that is known: on Fargate, taking its network away takes half a minute more. */
export function isEnding({ lastStatus, desiredStatus, stoppedReason, stopCode }: Task): boolean {
  return lastStatus === "STOPPED" || (desiredStatus === "STOPPED" && (stoppedReason !== undefined || stopCode !== undefined));
}

/** The one that is ours: AWS may put others beside it, to watch over it. */
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
  // Only where the VPC gives names out.
  const host = reach === "name" ? (detail("privateDnsName") ?? ip) : ip;
  return host === undefined || host === "" ? undefined : { host, port };
}

function exitOf(container: Container | undefined): Observed["exit"] {
  if (container?.exitCode === undefined) return undefined;
  return { code: container.exitCode, outOfMemory: /OutOfMemory/.test(container.reason ?? "") };
}

/** A service that only has the name, but is not ours, does not exist for berth. */
export async function inspect(site: EcsSite, service: string, { signal }: Call): Promise<Observed | undefined> {
  signal.throwIfAborted();
  if (!isServiceName(service)) return undefined;
  const found = await findService(site.aws, service, signal);
  if (!found || !readTags(found.tags)) return undefined;
  return observe(found, await tasksOf(site.aws, found, signal), site.reach);
}

export async function list(site: EcsSite, { signal }: Call): Promise<Observed[]> {
  const services = (await allServices(site.aws, signal)).filter(({ tags }) => readTags(tags));
  const live = services.length === 0 ? [] : await liveTasks(site.aws, signal);
  const observed: Observed[] = [];
  for (const service of services) {
    let tasks: Task[] = ofService(service, live);
    // Why one ended is asked of the few that do not run.
    if (!tasks.some(runs)) tasks = await tasksOf(site.aws, service, signal);
    const one = observe(service, tasks, site.reach);
    if (one) observed.push(one);
  }
  return observed;
}

const PER_PAGE = 100;
/** Of lists, so that no answer keeps us for ever. */
const MOST_PAGES = 100;

/** By names or ARNs, with tags; those that are missing or were deleted are left out. */
async function findServices(aws: Aws, services: readonly string[], signal: AbortSignal | undefined): Promise<Service[]> {
  const found: Service[] = [];
  for (let at = 0; at < services.length; at += SERVICES_PER_CALL) {
    const answer = await aws.describeServices({ services: services.slice(at, at + SERVICES_PER_CALL), include: ["TAGS"] }, signal);
    found.push(...(answer.services ?? []).filter(({ status }) => status !== "INACTIVE"));
  }
  return found;
}

/** Undefined where there is none, or where it was deleted and its tasks are gone. Looks at the same time share their calls. */
export async function findService(aws: Aws, name: string, signal: AbortSignal | undefined): Promise<Service | undefined> {
  const found = await aws.service(name, signal);
  return found?.status === "INACTIVE" ? undefined : found;
}

/** Every service of the cluster, whosever it is. */
export async function allServices(aws: Aws, signal: AbortSignal): Promise<Service[]> {
  const arns = await pages(async (nextToken) => {
    const listed = await aws.listServices({ maxResults: PER_PAGE, nextToken }, signal);
    return { items: listed.serviceArns, nextToken: listed.nextToken };
  });
  return findServices(aws, arns, signal);
}

/** What runs; where nothing does, what shall, and what stopped within the last hour, which is as long as ECS knows of it. The newest first. */
export async function tasksOf(aws: Aws, service: Service, signal: AbortSignal | undefined): Promise<Task[]> {
  const serviceName = service.serviceName ?? "";
  const live = ofService(service, await findTasks(aws, await listTasks(aws, { serviceName, desiredStatus: "RUNNING" }, signal), signal));
  if (live.some(runs)) return live;
  const stopped = await findTasks(aws, await listTasks(aws, { serviceName, desiredStatus: "STOPPED" }, signal), signal);
  return ofService(service, [...live, ...stopped]);
}

/** The same for a look that comes after others: while the task that was found before has not ended, there is no other. */
export async function tasksAgain(aws: Aws, service: Service, known: string | undefined, signal: AbortSignal): Promise<Task[]> {
  const [task] = known === undefined ? [] : await findTasks(aws, [known], signal);
  return task && !isEnding(task) ? [task] : tasksOf(aws, service, signal);
}

/** A few tasks by their ARNs; looks at the same time share their calls. */
export async function findTasks(aws: Aws, arns: readonly string[], signal: AbortSignal | undefined): Promise<Task[]> {
  const found = await Promise.all(arns.map((arn) => aws.task(arn, signal)));
  return found.filter((task) => task !== undefined);
}

/** All tasks of the cluster that shall run. */
export async function liveTasks(aws: Aws, signal: AbortSignal): Promise<Task[]> {
  return describeTasks(aws, await listTasks(aws, { desiredStatus: "RUNNING" }, signal), signal);
}

async function describeTasks(aws: Aws, arns: readonly string[], signal: AbortSignal): Promise<Task[]> {
  const found: Task[] = [];
  for (let at = 0; at < arns.length; at += TASKS_PER_CALL) {
    const answer = await aws.describeTasks({ tasks: arns.slice(at, at + TASKS_PER_CALL) }, signal);
    found.push(...(answer.tasks ?? []));
  }
  return found;
}

/** Not those of an earlier service of the same name, which ECS still lists for an hour. */
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
    // Deleted meanwhile, or made a moment ago and not known everywhere yet.
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
