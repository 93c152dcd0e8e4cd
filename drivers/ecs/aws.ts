import { CloudWatchLogsClient, GetLogEventsCommand, type GetLogEventsCommandInput } from "@aws-sdk/client-cloudwatch-logs";
import {
  CreateServiceCommand,
  DeleteServiceCommand,
  DeregisterTaskDefinitionCommand,
  DescribeContainerInstancesCommand,
  DescribeServicesCommand,
  DescribeTasksCommand,
  ECSClient,
  ExecuteCommandCommand,
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
  type ExecuteCommandCommandInput,
  type ListContainerInstancesCommandInput,
  type ListServicesCommandInput,
  type ListTaskDefinitionsCommandInput,
  type ListTasksCommandInput,
  type RegisterTaskDefinitionCommandInput,
} from "@aws-sdk/client-ecs";
import { createBackoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { awsFault, isThrottling, unanswered } from "./faults.ts";

/** Every IAM action that the driver uses without shells: `conf/ecs/policy.json` allows these. */
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

/** With shells: `conf/ecs/policy-shell.json` allows these. */
export const SHELL_ACTIONS = ["ecs:ExecuteCommand"] as const;
type AwsAction = (typeof ACTIONS)[number] | (typeof SHELL_ACTIONS)[number];

/** The limits of one call, by the API reference. */
export const SERVICES_PER_CALL = 10;
export const TASKS_PER_CALL = 100;
/** How long a query waits for others to share its call. */
const GATHER_MS = 20;

/** The time limit of a call, with the retries of the client. */
const CALL_MS = 45_000;
const CALL_LIMITS = { connectionTimeout: 5_000, requestTimeout: 20_000 };
/** In the client's adaptive mode, which also slows down when AWS throttles. */
const TRIES = 6;
/** AWS throttles whole accounts, and other programs of the account too. After the client's tries berth makes further ones, with pauses, for this time. */
const THROTTLED_MS = 120_000;

/**
 * The calls to AWS, all for one cluster: bounded, rate-limited and cancellable. They fail with a `Fault` whose cause is the client's own error.
 * A call without a signal is one whose abort would leave something behind.
 */
export type Aws = ReturnType<typeof openAws>;

/** Credentials come from the usual chain (variables, files, the task's or instance's role); `AWS_ENDPOINT_URL*` apply. Sends nothing yet. */
export function openAws(at: {
  cluster: string;
  region: string | undefined;
  logsRegion: string | undefined;
  rate: { perSecond: number; burst: number };
  /** Pauses while AWS throttles, in milliseconds. */
  retry?: { first: number; longest: number };
  /** Of the client, for each call. */
  tries?: number | undefined;
  clock: Clock;
}) {
  const { cluster, clock, retry = { first: 250, longest: 4_000 } } = at;
  const client = (region: string | undefined) => ({
    ...(region === undefined ? {} : { region }),
    maxAttempts: at.tries ?? TRIES,
    retryMode: "adaptive",
    requestHandler: CALL_LIMITS,
  });
  const ecs = new ECSClient(client(at.region));
  // A repeated command would run twice. On a connection that was used before, it may meet the other end's close.
  const ownConnection = { httpAgent: { keepAlive: false }, httpsAgent: { keepAlive: false } };
  const ecsOnce = new ECSClient({ ...client(at.region), maxAttempts: 1, requestHandler: { ...CALL_LIMITS, ...ownConnection } });
  const logs = new CloudWatchLogsClient(client(at.logsRegion ?? at.region));
  const rateLimit = createRateLimit({ ...at.rate, clock });

  const call = async <T>(
    action: AwsAction,
    signal: AbortSignal | undefined,
    send: (options: { abortSignal: AbortSignal }) => Promise<T>,
  ): Promise<T> => {
    const overdue = () => unanswered(action, `no answer within ${CALL_MS / 1_000} s`);
    const delays = createBackoff(retry.first, retry.longest);
    const began = clock.monotonic();
    for (;;) {
      try {
        await rateLimit(signal);
        // The chain of credentials cannot be cancelled: the time limit covers it too.
        return await withTimeout({ clock, ms: CALL_MS, overdue, signal }, (abortSignal) => send({ abortSignal }));
      } catch (error) {
        signal?.throwIfAborted();
        if (!isThrottling(error) || clock.monotonic() - began > THROTTLED_MS) throw awsFault(error, action);
      }
      await clock.sleep(delays.next(), signal);
    }
  };

  const describeServices = (input: Omit<DescribeServicesCommandInput, "cluster">, signal?: AbortSignal) =>
    call("ecs:DescribeServices", signal, (options) => ecs.send(new DescribeServicesCommand({ ...input, cluster }), options));
  const describeTasks = (input: Omit<DescribeTasksCommandInput, "cluster">, signal?: AbortSignal) =>
    call("ecs:DescribeTasks", signal, (options) => ecs.send(new DescribeTasksCommand({ ...input, cluster }), options));

  return {
    cluster,
    clock,
    /** One service with its tags, by its name; undefined if ECS does not have it. */
    service: batchCalls<Service>({
      most: SERVICES_PER_CALL,
      windowMs: GATHER_MS,
      clock,
      query: async (services) => {
        const reply = await describeServices({ services, include: ["TAGS"] });
        return new Map((reply.services ?? []).map((service) => [service.serviceName ?? "", service]));
      },
    }),
    /** One task, by its ARN; undefined if ECS does not have it. */
    task: batchCalls<Task>({
      most: TASKS_PER_CALL,
      windowMs: GATHER_MS,
      clock,
      query: async (tasks) => {
        const reply = await describeTasks({ tasks });
        return new Map((reply.tasks ?? []).map((task) => [task.taskArn ?? "", task]));
      },
    }),
    describeServices,
    describeTasks,
    registerTaskDefinition: (input: RegisterTaskDefinitionCommandInput) =>
      call("ecs:RegisterTaskDefinition", undefined, (options) => ecs.send(new RegisterTaskDefinitionCommand(input), options)),
    deregisterTaskDefinition: (taskDefinition: string) =>
      call("ecs:DeregisterTaskDefinition", undefined, (options) => ecs.send(new DeregisterTaskDefinitionCommand({ taskDefinition }), options)),
    listTaskDefinitions: (input: ListTaskDefinitionsCommandInput) =>
      call("ecs:ListTaskDefinitions", undefined, (options) => ecs.send(new ListTaskDefinitionsCommand(input), options)),
    createService: (input: CreateServiceCommandInput) =>
      call("ecs:CreateService", undefined, (options) => ecs.send(new CreateServiceCommand({ ...input, cluster }), options)),
    deleteService: (service: string) =>
      call("ecs:DeleteService", undefined, (options) => ecs.send(new DeleteServiceCommand({ cluster, service, force: true }), options)),
    executeCommand: (input: ExecuteCommandCommandInput, signal: AbortSignal) =>
      call("ecs:ExecuteCommand", signal, (options) => ecsOnce.send(new ExecuteCommandCommand({ ...input, cluster }), options)),
    listServices: (input: ListServicesCommandInput, signal?: AbortSignal) =>
      call("ecs:ListServices", signal, (options) => ecs.send(new ListServicesCommand({ ...input, cluster }), options)),
    listTasks: (input: ListTasksCommandInput, signal?: AbortSignal) =>
      call("ecs:ListTasks", signal, (options) => ecs.send(new ListTasksCommand({ ...input, cluster }), options)),
    listContainerInstances: (input: ListContainerInstancesCommandInput, signal?: AbortSignal) =>
      call("ecs:ListContainerInstances", signal, (options) => ecs.send(new ListContainerInstancesCommand({ ...input, cluster }), options)),
    describeContainerInstances: (containerInstances: string[], signal?: AbortSignal) =>
      call("ecs:DescribeContainerInstances", signal, (options) =>
        ecs.send(new DescribeContainerInstancesCommand({ cluster, containerInstances }), options),
      ),
    getLogEvents: (input: GetLogEventsCommandInput, signal?: AbortSignal) =>
      call("logs:GetLogEvents", signal, (options) => logs.send(new GetLogEventsCommand(input), options)),
    close: () => {
      ecs.destroy();
      ecsOnce.destroy();
      logs.destroy();
    },
  };
}

type BatchedCall<V> = { resolve(value: V | undefined): void; reject(error: unknown): void };

/**
 * Combines queries for single things to one call: those within `windowMs` of the first, or `most` of them. Resolves with undefined for what does not exist.
 * All queries of a call fail as it does. An aborted query leaves the others.
 */
export function batchCalls<V>(options: { most: number; windowMs: number; clock: Clock; query(keys: string[]): Promise<Map<string, V>> }) {
  let next = new Map<string, BatchedCall<V>[]>();
  let cancel = () => {};

  const flush = () => {
    cancel();
    const batch = next;
    next = new Map();
    options.query([...batch.keys()]).then(
      (values) => batch.forEach((calls, key) => calls.forEach(({ resolve }) => resolve(values.get(key)))),
      (error: unknown) => batch.forEach((calls) => calls.forEach(({ reject }) => reject(error))),
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
      const call = { resolve: settled(resolve), reject: settled(reject) };
      if (next.size === 0) cancel = options.clock.after(options.windowMs, flush);
      next.set(key, [...(next.get(key) ?? []), call]);
      if (next.size >= options.most) flush();
    });
}

/** Delays each call until its turn, in their order. */
type RateLimit = (signal?: AbortSignal) => Promise<void>;

/** After a pause `burst` calls pass at once; then `perSecond`. */
export function createRateLimit({ perSecond, burst, clock }: { perSecond: number; burst: number; clock: Clock }): RateLimit {
  const gap = 1_000 / perSecond;
  let last = Number.NEGATIVE_INFINITY;
  return async (signal) => {
    const now = clock.monotonic();
    last = Math.max(last, now - burst * gap) + gap;
    if (last > now) await clock.sleep(last - now, signal);
  };
}
