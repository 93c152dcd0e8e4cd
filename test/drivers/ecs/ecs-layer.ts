// What moto says of ECS wrongly or not at all. It refuses what the API reference says is refused: names that are taken or still draining, definitions
// that are inactive or none of Fargate's, more than one call may ask about.
import { failure, type EcsResponse, type EcsBody, type ForwardToMoto } from "./answer.ts";
import { refusal } from "./fargate-rules.ts";
import type { openScheduler, Scheduled } from "./scheduler.ts";
import type { TaskProcess } from "./task-process.ts";

export const REGION = "eu-west-1";
export const CLUSTER = "berth";

type Kept = Scheduled & { status: "ACTIVE" | "DRAINING" | "INACTIVE"; tags: { key: string; value: string }[]; token: string; sent: string };

/** A task definition, as DescribeTaskDefinition answers. */
export type EcsTaskDefinition = {
  requiresCompatibilities: string[];
  taskRoleArn?: string;
  runtimePlatform?: { cpuArchitecture?: string };
  containerDefinitions: {
    name: string;
    image: string;
    memory: number;
    stopTimeout?: number;
    environment: { name: string; value: string }[];
    logConfiguration?: { options: Record<string, string> };
  }[];
};

/** "Up to 255 letters (uppercase and lowercase), numbers, underscores, and hyphens", of services and families. */
const NAME = /^[\w-]{1,255}$/;

export function nameOf(service: unknown): string {
  return String(service).split("/").at(-1) ?? "";
}

/** https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html: for one task it is three by default. */
function thresholdOf(body: EcsBody): number {
  const { deploymentCircuitBreaker: breaker } = (body["deploymentConfiguration"] ?? {}) as {
    deploymentCircuitBreaker?: { enable: boolean; thresholdConfiguration?: { type: string; value: number } };
  };
  if (!breaker?.enable) return Number.POSITIVE_INFINITY;
  return breaker.thresholdConfiguration?.type === "COUNT" ? breaker.thresholdConfiguration.value : 3;
}

/** The answers of ECS that moto has wrongly or not at all, by action; each is what the API reference says of that action. */
export function openEcsLayer(
  scheduler: ReturnType<typeof openScheduler>,
  definitionOf: (arn: string) => Promise<EcsTaskDefinition>,
  startExec: (command: string, process: TaskProcess) => EcsBody,
) {
  const services = new Map<string, Kept>();
  const former: Kept[] = [];
  const unseen = new Map<string, number>();
  const inactive = new Set<string>();

  const inForce = (kept: Kept | undefined) => {
    if (kept?.status === "DRAINING" && scheduler.isDrained(kept)) kept.status = "INACTIVE";
    return kept !== undefined && kept.status !== "INACTIVE" ? kept : undefined;
  };
  const page = (key: string, items: string[], body: EcsBody): EcsResponse => {
    const from = Number(body["nextToken"] ?? 0);
    const size = Math.min(Number(body["maxResults"] ?? 100), layer.pageSize);
    const nextToken = from + size < items.length ? { nextToken: String(from + size) } : {};
    return { status: 200, body: { [key]: items.slice(from, from + size), ...nextToken } };
  };

  let creating: Promise<unknown> = Promise.resolve();
  async function create(body: EcsBody, pass: ForwardToMoto): Promise<EcsResponse> {
    const name = String(body["serviceName"]);
    if (!NAME.test(name)) return failure("InvalidParameterException", "Invalid service name.");
    const sent = JSON.stringify(body);
    const held = inForce(services.get(name));
    if (held?.status === "DRAINING") return failure("InvalidParameterException", "Unable to Start a service that is still Draining.");
    if (held && (held.token !== body["clientToken"] || held.sent !== sent))
      return failure("InvalidParameterException", "Creation of service was not idempotent.");
    const arn = String(body["taskDefinition"]);
    if (inactive.has(arn)) return failure("ClientException", "TaskDefinition is inactive");
    if (body["networkConfiguration"] === undefined)
      return failure("InvalidParameterException", "Network Configuration must be provided when networkMode 'awsvpc' is specified.");
    const definitions = await definitionOf(arn);
    const strategy = body["capacityProviderStrategy"] as { capacityProvider: string }[] | undefined;
    if (strategy && body["launchType"] !== undefined)
      return failure("InvalidParameterException", "Specifying both a launch type and capacity provider strategy is not supported.");
    const launchType = strategy
      ? strategy.every((one) => one.capacityProvider.startsWith("FARGATE"))
        ? "FARGATE"
        : "EC2"
      : String(body["launchType"]);
    if (body["enableExecuteCommand"] === true && definitions.taskRoleArn === undefined)
      return failure(
        "InvalidParameterException",
        "The service couldn't be created because a valid taskRoleArn is not being used. Specify a valid task role in your task definition and try again.",
      );
    if (!definitions.requiresCompatibilities.includes(launchType))
      return failure("InvalidParameterException", `Task definition does not support launch_type ${launchType}.`);
    const answer = await pass();
    if (answer.status !== 200 || held) return answer;
    const [container] = definitions.containerDefinitions;
    const log = container?.logConfiguration?.options;
    const kept: Kept = {
      name,
      clusterArn: `arn:aws:ecs:${REGION}:123456789012:cluster/${CLUSTER}`,
      definition: {
        arn,
        environment: container?.environment ?? [],
        container: container?.name ?? "",
        image: container?.image ?? "",
        memoryMb: container?.memory ?? 0,
        architecture: definitions.runtimePlatform?.cpuArchitecture,
        stopTimeout: container?.stopTimeout ?? 30,
        log: log && { group: log["awslogs-group"] ?? "", prefix: log["awslogs-stream-prefix"] ?? "" },
      },
      deployment: `ecs-svc/${String(Math.floor(Math.random() * 1e18))}`,
      launchType,
      execs: body["enableExecuteCommand"] === true,
      createdAt: Date.now() / 1_000,
      events: [],
      rolloutState: "IN_PROGRESS",
      rolloutStateReason: "ECS deployment in progress.",
      failedTasks: 0,
      desired: 1,
      threshold: thresholdOf(body),
      status: "ACTIVE",
      tags: body["tags"] as Kept["tags"],
      token: String(body["clientToken"]),
      sent,
    };
    former.push(...[services.get(name)].filter((one) => one !== undefined));
    services.set(name, kept);
    scheduler.start(kept);
    return answer;
  }

  const answers: Record<string, (body: EcsBody, pass: ForwardToMoto) => Promise<EcsResponse> | EcsResponse> = {
    "ecs:RegisterTaskDefinition": (body, pass) => {
      if (!NAME.test(String(body["family"]))) return failure("ClientException", "Invalid family name.");
      const refused = refusal(body as Parameters<typeof refusal>[0]);
      return refused === undefined ? pass() : failure("ClientException", refused);
    },
    "ecs:DeregisterTaskDefinition": async (body, pass) => {
      const answer = await pass();
      if (answer.status === 200) inactive.add(String(body["taskDefinition"]));
      return answer;
    },
    "ecs:ListTaskDefinitions": async (body, pass) => {
      const all = ((await pass()).body["taskDefinitionArns"] as string[]).filter(
        (arn) => (body["status"] ?? "ACTIVE") !== "ACTIVE" || !inactive.has(arn),
      );
      return page("taskDefinitionArns", all, body);
    },
    // One after the other: of two at once, one is the first.
    "ecs:CreateService": (body, pass) => {
      const created = creating.catch(() => {}).then(async () => create(body, pass));
      creating = created;
      return created;
    },
    "ecs:DeleteService": async (body, pass) => {
      const held = inForce(services.get(nameOf(body["service"])));
      if (!held) return failure("ServiceNotFoundException", "Service not found.");
      const answer = await pass();
      if (answer.status !== 200) return answer;
      held.status = "DRAINING";
      scheduler.end(held);
      const { serviceArn, serviceName, clusterArn } = answer.body["service"] as EcsBody;
      return {
        status: 200,
        body: { service: { serviceArn, serviceName, clusterArn, status: held.status, desiredCount: 0, createdAt: held.createdAt } },
      };
    },
    "ecs:ListServices": async (body, pass) => {
      const all = ((await pass()).body["serviceArns"] as string[]).filter((arn) => inForce(services.get(nameOf(arn))));
      return page("serviceArns", all, body);
    },
    "ecs:DescribeServices": async (body, pass) => {
      if ((body["services"] as string[]).length > 10) return failure("InvalidParameterException", "Services cannot be more than 10.");
      const answer = await pass();
      const described: EcsBody[] = [];
      const failures = answer.body["failures"] as EcsBody[];
      for (const one of (answer.body["services"] ?? []) as EcsBody[]) {
        const kept = services.get(String(one["serviceName"]));
        const left = unseen.get(kept?.name ?? "") ?? 0;
        if (!kept || left > 0) {
          if (kept) unseen.set(kept.name, left - 1);
          failures.push({ arn: one["serviceArn"], reason: "MISSING" });
          continue;
        }
        inForce(kept);
        const tasks = scheduler.tasks().filter(({ startedBy }) => startedBy === kept.deployment);
        const count = (status: string) => tasks.filter(({ lastStatus }) => lastStatus === status).length;
        const deployment = {
          id: kept.deployment,
          status: "PRIMARY",
          taskDefinition: kept.definition.arn,
          desiredCount: kept.desired,
          pendingCount: count("PENDING"),
          runningCount: count("RUNNING"),
          failedTasks: kept.failedTasks,
          createdAt: kept.createdAt,
          launchType: kept.launchType,
          rolloutState: kept.rolloutState,
          rolloutStateReason: kept.rolloutStateReason,
        };
        // Only of moto's what the API has, too.
        const { serviceArn, serviceName, clusterArn, taskDefinition, tags } = one;
        described.push({
          serviceArn,
          serviceName,
          clusterArn,
          taskDefinition,
          status: kept.status,
          desiredCount: kept.desired,
          createdAt: kept.createdAt,
          // With a service, its tags go.
          ...(tags === undefined || kept.status === "INACTIVE" ? {} : { tags }),
          deployments: kept.status === "INACTIVE" ? [] : [deployment],
          events: kept.events,
        });
      }
      return { status: 200, body: { services: described, failures } };
    },
    "ecs:ListTasks": (body) => {
      const of = body["serviceName"];
      if (of !== undefined && !inForce(services.get(nameOf(of)))) return failure("ServiceNotFoundException", "Service not found.");
      const wanted = body["desiredStatus"] ?? "RUNNING";
      const matching = scheduler
        .tasks()
        .filter((task) => task.desiredStatus === wanted && (of === undefined || task.group === `service:${nameOf(of)}`));
      return page(
        "taskArns",
        matching.map(({ taskArn }) => taskArn),
        body,
      );
    },
    "ecs:DescribeTasks": (body) => {
      const wanted = body["tasks"] as string[];
      if (wanted.length === 0 || wanted.length > 100) return failure("InvalidParameterException", "Tasks must be 1 to 100.");
      const matching = scheduler.tasks().filter(({ taskArn }) => wanted.includes(taskArn));
      const failures = wanted.filter((arn) => !matching.some(({ taskArn }) => taskArn === arn)).map((arn) => ({ arn, reason: "MISSING" }));
      return { status: 200, body: { tasks: matching, failures } };
    },
    "ecs:ExecuteCommand": (body) => {
      // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ExecuteCommand.html: "you must specify true".
      if (body["interactive"] !== true) return failure("InvalidParameterException", "Interactive is the only mode supported currently.");
      const { task, process } = scheduler.find(String(body["task"])) ?? {};
      if (!task || task.lastStatus === "STOPPED")
        return failure("InvalidParameterException", "The specified task is invalid or the task is not running. Try again with a running task.");
      const container = task.containers.find(({ name }) => name === body["container"]);
      if (!container) return failure("InvalidParameterException", "The specified container is invalid or is not running.");
      const [agent] = (container.managedAgents ?? []) as { lastStatus?: string }[];
      if (task.enableExecuteCommand !== true || agent?.lastStatus !== "RUNNING" || !process)
        return failure(
          "InvalidParameterException",
          "The execute command failed because execute command was not enabled when the task was run or the execute command agent isn’t running. Wait and try again or run a new task with execute command enabled and try again.",
        );
      const session = startExec(String(body["command"]), process);
      const { taskArn, clusterArn } = task;
      return { status: 200, body: { clusterArn, taskArn, containerName: container.name, interactive: true, session } };
    },
    "ecs:DescribeContainerInstances": async (_, pass) => {
      const answer = await pass();
      // The agent of an instance sets them, which moto has none of.
      for (const one of (answer.body["containerInstances"] ?? []) as { attributes: EcsBody[] }[])
        one.attributes.push({ name: "ecs.capability.task-eni" }, { name: "ecs.cpu-architecture", value: "x86_64" });
      return answer;
    },
  };

  const layer = {
    answers,
    services,
    /** Those of names that others have now. */
    former,
    /** How many looks do not see a service yet. */
    unseen,
    /** How many a page of a list holds. */
    pageSize: 100,
  };
  return layer;
}
