import type { Task } from "@aws-sdk/client-ecs";
import type { Fault } from "../../lib/fault.ts";
import type { Spec } from "../driver.ts";
import { advisedFault, type DriverFaultCode, crashFault } from "../faults.ts";
import { deniedAction } from "./faults.ts";
import { mainContainer } from "./observe.ts";

/** `todo`: more specific than the code's advice. */
type StopReasonRow = { text: RegExp; code: DriverFaultCode; is(reason: string): string; todo?(reason: string): string };

const EXEC_ROLE = "the role that tasks are started with (GROK_SPAWNER_DATAGROK_ECS__EXEC_ROLE)";
const NETWORK = "Check the subnets' route to AWS (NAT, or VPC endpoints for ECR, S3 and logs) and the security groups.";
/** ECS's sentences may hold whole stack traces. */
const MAX_QUOTED = 400;
const OUT_OF_MEMORY = /OutOfMemory/i;

/**
 * Why a task did not start, by its reasons; the first row that fits. From "Amazon ECS stopped tasks error messages" and the pages below it:
 * https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
 */
const ROWS: readonly StopReasonRow[] = [
  {
    text: /CannotPull.*(no space left on device)/i,
    code: "NO_CAPACITY",
    is: () => "the image does not fit on the disk",
    todo: () => "Request more `storage` in container.json.",
  },
  {
    text: /CannotPull.*(not authorized|access ?denied|denied|unauthorized|forbidden|no basic auth|authentication required|toomanyrequests|pull rate limit|\b40[13]\b)/i,
    code: "PULL_DENIED",
    is: () => `the registry refused the pull, for which tasks have only ${EXEC_ROLE}`,
    todo: (reason) => {
      const action = deniedAction(reason);
      return action === undefined ? "Keep private images in ECR, and allow that role to pull them." : `Allow ${action} to that role.`;
    },
  },
  {
    text: /CannotPull.*(not found|manifest unknown|does not exist|name unknown|no matching manifest|\b404\b)/i,
    code: "IMAGE_NOT_FOUND",
    is: () => "the registry does not have the image",
  },
  {
    text: /CannotPull.*(matching platform|no match for platform)/i,
    code: "IMAGE_NOT_FOUND",
    is: (reason) => `the image is not built for the processor of the task (${/linux\/\w+/.exec(reason)?.[0] ?? "see BERTH_ECS_ARCHITECTURE"})`,
    todo: () => "Build it for that platform, or set BERTH_ECS_ARCHITECTURE to the image's.",
  },
  {
    text: /CannotPull/i,
    code: "REGISTRY_UNREACHABLE",
    is: () => "the image's registry could not be reached from the task",
    todo: () => NETWORK,
  },
  {
    text: /ResourceInitializationError.*(not authorized to perform|AccessDenied)/i,
    code: "ENGINE_ACTION_DENIED",
    is: (reason) => `AWS denies ${deniedAction(reason) ?? actionBehind(reason)} to ${EXEC_ROLE}`,
    todo: () => "Allow it there.",
  },
  {
    text: /ResourceInitializationError.*(log group does not exist)/i,
    code: "ENGINE_FAILED",
    is: () => "the log group of GROK_SPAWNER_DATAGROK_ECS__LOG_GROUP does not exist",
    todo: () => "Create it.",
  },
  {
    text: /ResourceInitializationError.*(timeout|timed out|connection issue|i\/o|deadline|RequestCanceled|RequestError|dial tcp)/i,
    code: "ENGINE_FAILED",
    is: (reason) => `the task could not reach AWS for ${actionBehind(reason)}`,
    todo: () => NETWORK,
  },
  {
    text: /ResourceInitializationError/i,
    code: "ENGINE_ACTION_DENIED",
    is: () => "a resource of the task is unavailable",
    todo: (reason) => `Allow ${actionBehind(reason)} to ${EXEC_ROLE}.`,
  },
  {
    text: /unable to assume/i,
    code: "ENGINE_ACTION_DENIED",
    is: () => `ECS may not assume ${EXEC_ROLE} (sts:AssumeRole)`,
    todo: () => "Let its trust policy name ecs-tasks.amazonaws.com.",
  },
  {
    text: /capacity is unavailable|insufficient capacity|limit on the number of vCPUs/i,
    code: "NO_CAPACITY",
    is: () => "AWS has no capacity for it now",
    todo: () => "Try again later, or ask AWS to raise the account's limit.",
  },
  {
    // Of the instance that comes closest.
    text: /has insufficient |RESOURCE:|already using a port/i,
    code: "NO_CAPACITY",
    is: () => "no EC2 instance of the cluster has capacity for it",
    todo: () => "Stop other containers, add an instance, request less in container.json, or set LAUNCH_TYPE=FARGATE.",
  },
  {
    text: /no container instance met|no container instances were found/i,
    code: "CONTAINER_UNSCHEDULABLE",
    is: () => "the cluster has no EC2 instance that fits it",
    todo: () => "Add one that fits, or set LAUNCH_TYPE=FARGATE.",
  },
  {
    text: /spot interruption|host ec2 .*terminated|TerminationNotice/i,
    code: "NO_CAPACITY",
    is: () => "AWS has removed its machine",
    todo: () => "Start it again.",
  },
];

const MAX_MATCHED = 4_096;

/** The fault of a sentence of ECS, which its message quotes; undefined if no row fits. */
export function faultOf(service: string, reason: string, logs?: string[]): Fault | undefined {
  // ECS cuts its reasons at some hundred characters. The patterns take quadratic time.
  const beginning = reason.slice(0, MAX_MATCHED);
  const row = ROWS.find(({ text }) => text.test(beginning));
  if (!row) return undefined;
  const sentence = `${service} did not start: ${row.is(reason)}. ECS reports: ${reason.slice(0, MAX_QUOTED)}`;
  return advisedFault(row.code, sentence, { todo: row.todo?.(reason), logs });
}

/** All reasons of a task's end, in one line. */
function reasonsOf(task: Task): string {
  return [task.stoppedReason, ...(task.containers ?? []).map(({ reason }) => reason)]
    .filter((one) => one !== undefined && one !== "")
    .join("; ")
    .replace(/\s+/g, " ");
}

/** Why a task ended before it was ready. Returns the fault, does not throw it. */
export function stoppedFault(spec: Pick<Spec, "service" | "memoryMb">, task: Task, logs: string[]): Fault {
  const reason = reasonsOf(task);
  const code = mainContainer(task, spec.service)?.exitCode;
  // `outOfMemory` is unknown below: a reason need not name the memory.
  if (OUT_OF_MEMORY.test(reason)) return crashFault(spec, { code, outOfMemory: true }, logs);
  return faultOf(spec.service, reason, logs) ?? crashFault(spec, { code, outOfMemory: undefined, reason: reason.slice(0, MAX_QUOTED) }, logs);
}

/** The action of a sentence that names none. */
function actionBehind(reason: string): string {
  if (/registry auth|ecr/i.test(reason)) return "ecr:GetAuthorizationToken";
  if (/log ?stream|logger|cloudwatch/i.test(reason)) return "logs:CreateLogStream";
  if (/secret/i.test(reason)) return "secretsmanager:GetSecretValue";
  return "what AmazonECSTaskExecutionRolePolicy holds";
}
