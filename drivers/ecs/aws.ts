import { CloudWatchLogsClient, GetLogEventsCommand, type GetLogEventsCommandInput } from "@aws-sdk/client-cloudwatch-logs";
import {
  CreateServiceCommand,
  DeleteServiceCommand,
  DeregisterTaskDefinitionCommand,
  DescribeContainerInstancesCommand,
  DescribeServicesCommand,
  DescribeTasksCommand,
  ECSClient,
  ListContainerInstancesCommand,
  ListServicesCommand,
  ListTaskDefinitionsCommand,
  ListTasksCommand,
  RegisterTaskDefinitionCommand,
  type Service,
  type Task,
  type CreateServiceCommandInput,
  type DescribeServicesCommandInput,
  type DescribeTasksCommandInput,
  type ListContainerInstancesCommandInput,
  type ListServicesCommandInput,
  type ListTaskDefinitionsCommandInput,
  type ListTasksCommandInput,
  type RegisterTaskDefinitionCommandInput,
} from "@aws-sdk/client-ecs";
import type { Clock } from "../../lib/clock.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { awsFault, unanswered } from "./faults.ts";

/** Every IAM action that the driver itself asks for: `conf/ecs/policy.json` allows these. */
export const ACTIONS = [
  "ecs:CreateService",
  "ecs:DeleteService",
  "ecs:DeregisterTaskDefinition",
  "ecs:DescribeContainerInstances",
  "ecs:DescribeServices",
  "ecs:DescribeTasks",
  "ecs:ListContainerInstances",
  "ecs:ListServices",
  "ecs:ListTaskDefinitions",
  "ecs:ListTasks",
  "ecs:RegisterTaskDefinition",
  "logs:GetLogEvents",
] as const;
export type AwsAction = (typeof ACTIONS)[number];

/** What one call may ask about at most, by the API reference. */
export const SERVICES_PER_CALL = 10;
export const TASKS_PER_CALL = 100;
/** So long a look waits for others to share its call with. */
const GATHER_MS = 20;

/** Any call, with what the client tries again by itself. */
const CALL_MS = 45_000;
const CONNECT_MS = 5_000;
const ANSWER_MS = 20_000;
/** With the client's adaptive mode, which also slows down by itself where AWS throttles. */
const TRIES = 6;

/**
 * The calls to AWS, all of one cluster: bounded, paced, cancellable, and failing with a `Fault` whose cause is the client's own error.
 * Whoever leaves the signal out says that being cut off in the middle would leave something behind.
 */
export type Aws = ReturnType<typeof openAws>;

/** Credentials come from the usual chain (variables, files, the task's or instance's role); `AWS_ENDPOINT_URL*` count. Asks nothing yet. */
export function openAws(at: {
  cluster: string;
  region: string | undefined;
  logsRegion: string | undefined;
  rate: { perSecond: number; burst: number };
  clock: Clock;
}) {
  const { cluster, clock } = at;
  const client = (region: string | undefined) => ({
    ...(region === undefined ? {} : { region }),
    maxAttempts: TRIES,
    retryMode: "adaptive",
    requestHandler: { connectionTimeout: CONNECT_MS, requestTimeout: ANSWER_MS },
  });
  const ecs = new ECSClient(client(at.region));
  const logs = new CloudWatchLogsClient(client(at.logsRegion ?? at.region));
  const turn = createRateLimit({ ...at.rate, clock });

  const ask = async <T>(
    action: AwsAction,
    signal: AbortSignal | undefined,
    send: (options: { abortSignal: AbortSignal }) => Promise<T>,
  ): Promise<T> => {
    const overdue = () => unanswered(action, `no answer within ${CALL_MS / 1_000} s`);
    try {
      await turn(signal);
      // The chain of credentials cannot be cancelled, so nobody waits for it longer than for the rest.
      return await withTimeout({ clock, ms: CALL_MS, overdue, signal }, (abortSignal) => send({ abortSignal }));
    } catch (error) {
      signal?.throwIfAborted();
      throw awsFault(error, action);
    }
  };

  const describeServices = (input: Omit<DescribeServicesCommandInput, "cluster">, signal?: AbortSignal) =>
    ask("ecs:DescribeServices", signal, (options) => ecs.send(new DescribeServicesCommand({ ...input, cluster }), options));
  const describeTasks = (input: Omit<DescribeTasksCommandInput, "cluster">, signal?: AbortSignal) =>
    ask("ecs:DescribeTasks", signal, (options) => ecs.send(new DescribeTasksCommand({ ...input, cluster }), options));

  return {
    cluster,
    clock,
    /** One service with its tags, by its name; undefined where ECS does not know it. */
    service: batchCalls<Service>({
      most: SERVICES_PER_CALL,
      windowMs: GATHER_MS,
      clock,
      ask: async (services) => {
        const { services: found = [] } = await describeServices({ services, include: ["TAGS"] });
        return new Map(found.map((service) => [service.serviceName ?? "", service]));
      },
    }),
    /** One task, by its ARN; undefined where ECS does not know it. */
    task: batchCalls<Task>({
      most: TASKS_PER_CALL,
      windowMs: GATHER_MS,
      clock,
      ask: async (tasks) => {
        const { tasks: found = [] } = await describeTasks({ tasks });
        return new Map(found.map((task) => [task.taskArn ?? "", task]));
      },
    }),
    describeServices,
    describeTasks,
    registerTaskDefinition: (input: RegisterTaskDefinitionCommandInput) =>
      ask("ecs:RegisterTaskDefinition", undefined, (options) => ecs.send(new RegisterTaskDefinitionCommand(input), options)),
    deregisterTaskDefinition: (taskDefinition: string) =>
      ask("ecs:DeregisterTaskDefinition", undefined, (options) => ecs.send(new DeregisterTaskDefinitionCommand({ taskDefinition }), options)),
    listTaskDefinitions: (input: ListTaskDefinitionsCommandInput) =>
      ask("ecs:ListTaskDefinitions", undefined, (options) => ecs.send(new ListTaskDefinitionsCommand(input), options)),
    createService: (input: CreateServiceCommandInput) =>
      ask("ecs:CreateService", undefined, (options) => ecs.send(new CreateServiceCommand({ ...input, cluster }), options)),
    deleteService: (service: string) =>
      ask("ecs:DeleteService", undefined, (options) => ecs.send(new DeleteServiceCommand({ cluster, service, force: true }), options)),
    listServices: (input: ListServicesCommandInput, signal?: AbortSignal) =>
      ask("ecs:ListServices", signal, (options) => ecs.send(new ListServicesCommand({ ...input, cluster }), options)),
    listTasks: (input: ListTasksCommandInput, signal?: AbortSignal) =>
      ask("ecs:ListTasks", signal, (options) => ecs.send(new ListTasksCommand({ ...input, cluster }), options)),
    listContainerInstances: (input: ListContainerInstancesCommandInput, signal?: AbortSignal) =>
      ask("ecs:ListContainerInstances", signal, (options) => ecs.send(new ListContainerInstancesCommand({ ...input, cluster }), options)),
    describeContainerInstances: (containerInstances: string[], signal?: AbortSignal) =>
      ask("ecs:DescribeContainerInstances", signal, (options) =>
        ecs.send(new DescribeContainerInstancesCommand({ cluster, containerInstances }), options),
      ),
    getLogEvents: (input: GetLogEventsCommandInput, signal?: AbortSignal) =>
      ask("logs:GetLogEvents", signal, (options) => logs.send(new GetLogEventsCommand(input), options)),
    close: () => {
      ecs.destroy();
      logs.destroy();
    },
  };
}

type BatchedCall<V> = { resolve(value: V | undefined): void; reject(error: unknown): void };

/**
 * Questions about single things, asked together: those that come within `windowMs` of the first, or `most` of them. Answers undefined for what was
 * not found; all of a call fail as it does. Who is called off waits no longer, the others do.
 */
export function batchCalls<V>(how: { most: number; windowMs: number; clock: Clock; ask(keys: string[]): Promise<Map<string, V>> }) {
  let coming = new Map<string, BatchedCall<V>[]>();
  let cancel = () => {};

  const flush = () => {
    cancel();
    const asked = coming;
    coming = new Map();
    how.ask([...asked.keys()]).then(
      (found) => asked.forEach((waiting, key) => waiting.forEach(({ resolve }) => resolve(found.get(key)))),
      (error: unknown) => asked.forEach((waiting) => waiting.forEach(({ reject }) => reject(error))),
    );
  };

  return (key: string, signal?: AbortSignal): Promise<V | undefined> =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error);
      const onAbort = () => reject(signal?.reason as Error);
      signal?.addEventListener("abort", onAbort, { once: true });
      const settled =
        <T>(act: (outcome: T) => void) =>
        (outcome: T) => {
          signal?.removeEventListener("abort", onAbort);
          act(outcome);
        };
      const waiting = { resolve: settled(resolve), reject: settled(reject) };
      if (coming.size === 0) cancel = how.clock.after(how.windowMs, flush);
      coming.set(key, [...(coming.get(key) ?? []), waiting]);
      if (coming.size >= how.most) flush();
    });
}

/** Lets calls pass at most so fast: each waits for its turn, in the order in which they came, or rejects with the signal's reason. */
export type RateLimit = (signal?: AbortSignal) => Promise<void>;

/** `burst` calls may come at once after a pause; from then on `perSecond`. */
export function createRateLimit({ perSecond, burst, clock }: { perSecond: number; burst: number; clock: Clock }): RateLimit {
  const gap = 1_000 / perSecond;
  let last = Number.NEGATIVE_INFINITY;
  return async (signal) => {
    const now = clock.monotonic();
    last = Math.max(last, now - burst * gap) + gap;
    if (last > now) await clock.sleep(last - now, signal);
  };
}
