import type { Task } from "@aws-sdk/client-ecs";
import type { Fault } from "../../lib/fault.ts";
import { advisedFault, type DriverFaultCode, crashFault } from "../faults.ts";
import type { Spec } from "../driver.ts";
import { deniedAction } from "./faults.ts";
import { mainContainer } from "./observe.ts";

/** `todo`: where the code alone does not say. */
type StopReasonRow = { text: RegExp; code: DriverFaultCode; is(said: string): string; todo?(said: string): string };

const EXEC_ROLE = "the role that tasks are started with (GROK_SPAWNER_DATAGROK_ECS__EXEC_ROLE)";
const NETWORK = "Look at the subnets' way out (NAT, or VPC endpoints for ECR, S3 and logs) and at the security groups.";
/** Of ECS's sentences, which may hold whole stacks. */
const MOST_SAID = 400;
const OUT_OF_MEMORY = /OutOfMemory/i;

/**
 * Why a task did not come up, by its reasons; the first row that fits. After "Amazon ECS stopped tasks error messages" and the pages below it:
 * https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
 */
const ROWS: readonly StopReasonRow[] = [
  {
    text: /CannotPull.*(no space left on device)/i,
    code: "NO_CAPACITY",
    is: () => "the image does not fit on the disk",
    todo: () => "Ask for more `storage` in container.json.",
  },
  {
    text: /CannotPull.*(not authorized|access ?denied|denied|unauthorized|forbidden|no basic auth|authentication required|toomanyrequests|pull rate limit|\b40[13]\b)/i,
    code: "PULL_DENIED",
    is: () => `the registry refused the pull, for which tasks have ${EXEC_ROLE} alone`,
    todo: (said) => {
      const action = deniedAction(said);
      return action === undefined ? "Have private images in ECR, where that role may pull them." : `Allow ${action} to that role.`;
    },
  },
  {
    text: /CannotPull.*(not found|manifest unknown|does not exist|name unknown|no matching manifest|\b404\b)/i,
    code: "IMAGE_NOT_FOUND",
    is: () => "the registry does not have the image",
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
    is: (said) => `AWS denies ${deniedAction(said) ?? actionBehind(said)} to ${EXEC_ROLE}`,
    todo: () => "Allow it there.",
  },
  {
    text: /ResourceInitializationError.*(log group does not exist)/i,
    code: "ENGINE_FAILED",
    is: () => "the log group of GROK_SPAWNER_DATAGROK_ECS__LOG_GROUP does not exist",
    todo: () => "Make it.",
  },
  {
    text: /ResourceInitializationError.*(timeout|timed out|connection issue|i\/o|deadline|RequestCanceled|RequestError|dial tcp)/i,
    code: "ENGINE_FAILED",
    is: (said) => `the task could not reach AWS for ${actionBehind(said)}`,
    todo: () => NETWORK,
  },
  {
    text: /ResourceInitializationError/i,
    code: "ENGINE_ACTION_DENIED",
    is: () => "what the task needs could not be had",
    todo: (said) => `Allow ${actionBehind(said)} to ${EXEC_ROLE}.`,
  },
  {
    text: /unable to assume/i,
    code: "ENGINE_ACTION_DENIED",
    is: () => `ECS may not take ${EXEC_ROLE} (sts:AssumeRole)`,
    todo: () => "Let its trust policy name ecs-tasks.amazonaws.com.",
  },
  {
    text: /capacity is unavailable|insufficient capacity|limit on the number of vCPUs|RESOURCE:/i,
    code: "NO_CAPACITY",
    is: () => "AWS has no room for it now",
    todo: () => "Try again later, or have AWS raise the account's limit.",
  },
  {
    text: /no container instance met|no container instances were found/i,
    code: "CONTAINER_UNSCHEDULABLE",
    is: () => "no EC2 instance of the cluster has room for it",
    todo: () => "Add one, ask for less in container.json, or set LAUNCH_TYPE=FARGATE.",
  },
  {
    text: /spot interruption|host ec2 .*terminated|TerminationNotice/i,
    code: "NO_CAPACITY",
    is: () => "AWS took away the machine that it ran on",
    todo: () => "Start it again.",
  },
];

const MAX_MATCHED = 4_096;

/** What is wrong, from a sentence of ECS, which the message holds; undefined where no row knows it. */
export function faultOf(service: string, said: string, logs?: string[]): Fault | undefined {
  // ECS cuts its reasons at some hundred characters; on far longer ones the patterns would take quadratic time.
  const beginning = said.slice(0, MAX_MATCHED);
  const row = ROWS.find(({ text }) => text.test(beginning));
  if (!row) return undefined;
  const sentence = `${service} did not start: ${row.is(said)}. ECS said: ${said.slice(0, MOST_SAID)}`;
  return advisedFault(row.code, sentence, { todo: row.todo?.(said), logs });
}

/** All that ECS says of why a task ended, in one line. */
function saidOf(task: Task): string {
  return [task.stoppedReason, ...(task.containers ?? []).map(({ reason }) => reason)]
    .filter((one) => one !== undefined && one !== "")
    .join("; ")
    .replace(/\s+/g, " ");
}

/** Why a task that ended before it was ready did. Faults are returned, not thrown. */
export function stoppedFault(spec: Pick<Spec, "service" | "memoryMb">, task: Task, logs: string[]): Fault {
  const said = saidOf(task);
  const code = mainContainer(task, spec.service)?.exitCode;
  // That no reason names the memory does not tell that it was not that.
  if (OUT_OF_MEMORY.test(said)) return crashFault(spec, { code, outOfMemory: true }, logs);
  return faultOf(spec.service, said, logs) ?? crashFault(spec, { code, outOfMemory: undefined, said: said.slice(0, MOST_SAID) }, logs);
}

/** Where the sentence names no action, what was being done does. */
function actionBehind(said: string): string {
  if (/registry auth|ecr/i.test(said)) return "ecr:GetAuthorizationToken";
  if (/log ?stream|logger|cloudwatch/i.test(said)) return "logs:CreateLogStream";
  if (/secret/i.test(said)) return "secretsmanager:GetSecretValue";
  return "what AmazonECSTaskExecutionRolePolicy holds";
}
