import type { Task } from "@aws-sdk/client-ecs";
import { Fault, type FaultCode } from "../../fault.ts";
import { deniedAction } from "./faults.ts";
import { mainContainer } from "./observe.ts";

type Row = { text: RegExp; code: FaultCode; says(said: string): string };

const EXEC_ROLE = "the role that tasks are started with (GROK_SPAWNER_DATAGROK_ECS__EXEC_ROLE)";
const NETWORK = "look at the subnets' way out (NAT, or VPC endpoints for ECR, S3 and logs) and at the security groups";

/**
 * Why a task did not come up, by its reasons; the first row that fits. After "Amazon ECS stopped tasks error messages" and the pages below it:
 * https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
 */
const ROWS: readonly Row[] = [
  {
    text: /CannotPull.*(no space left on device)/i,
    code: "NO_CAPACITY",
    says: () => "the image does not fit on the disk; ask for more `storage` in container.json",
  },
  {
    text: /CannotPull.*(not authorized|access ?denied|denied|unauthorized|forbidden|no basic auth|authentication required|toomanyrequests|pull rate limit|\b40[13]\b)/i,
    code: "PULL_DENIED",
    says: (said) =>
      deniedAction(said) === undefined
        ? "the registry refused the pull; private images must be in ECR, where the role that tasks are started with may pull them"
        : `the image may not be pulled: allow ${deniedAction(said)} to ${EXEC_ROLE}`,
  },
  {
    text: /CannotPull.*(not found|manifest unknown|does not exist|name unknown|no matching manifest|\b404\b)/i,
    code: "IMAGE_NOT_FOUND",
    says: () => "the registry does not have the image; publish it again",
  },
  { text: /CannotPull/i, code: "REGISTRY_UNREACHABLE", says: () => `the image's registry could not be reached from the task; ${NETWORK}` },
  {
    text: /ResourceInitializationError.*(not authorized to perform|AccessDenied)/i,
    code: "ENGINE_ACTION_DENIED",
    says: (said) => `AWS denies ${deniedAction(said) ?? actionBehind(said)} to ${EXEC_ROLE}; allow it there`,
  },
  {
    text: /ResourceInitializationError.*(log group does not exist)/i,
    code: "ENGINE_FAILED",
    says: () => "the log group of GROK_SPAWNER_DATAGROK_ECS__LOG_GROUP does not exist; make it",
  },
  {
    text: /ResourceInitializationError.*(timeout|timed out|connection issue|i\/o|deadline|RequestCanceled|RequestError|dial tcp)/i,
    code: "ENGINE_FAILED",
    says: (said) => `the task could not reach AWS for ${actionBehind(said)}; ${NETWORK}`,
  },
  {
    text: /ResourceInitializationError/i,
    code: "ENGINE_ACTION_DENIED",
    says: (said) => `what the task needs could not be had; ${EXEC_ROLE} must allow ${actionBehind(said)}`,
  },
  {
    text: /OutOfMemory/i,
    code: "CONTAINER_OUT_OF_MEMORY",
    says: () => "it used more memory than it may and was ended; raise `memory` in container.json",
  },
  {
    text: /unable to assume/i,
    code: "ENGINE_ACTION_DENIED",
    says: () => `ECS may not take ${EXEC_ROLE} (sts:AssumeRole); its trust policy must name ecs-tasks.amazonaws.com`,
  },
  {
    text: /capacity is unavailable|insufficient capacity|limit on the number of vCPUs|RESOURCE:/i,
    code: "NO_CAPACITY",
    says: () => "AWS has no room for it now; try again later, or raise the account's limit",
  },
  {
    text: /no container instance met|no container instances were found/i,
    code: "CONTAINER_UNSCHEDULABLE",
    says: () => "no EC2 instance of the cluster has room for it; add one, ask for less in container.json, or set LAUNCH_TYPE=FARGATE",
  },
  {
    text: /spot interruption|host ec2 .*terminated|TerminationNotice/i,
    code: "NO_CAPACITY",
    says: () => "AWS took away the machine that it ran on; start it again",
  },
];

/** What is wrong, from a sentence of ECS; undefined where no row knows it. The message ends with that sentence. */
export function faultOf(service: string, said: string, logs?: string[]): Fault | undefined {
  const row = ROWS.find(({ text }) => text.test(said));
  return row && new Fault(row.code, `${service} did not start: ${row.says(said)}. ECS said: ${said.slice(0, 400)}`, logs ? { logs } : {});
}

/** All that ECS says of why a task ended, in one line. */
export function saidOf(task: Task): string {
  return [task.stoppedReason, ...(task.containers ?? []).map(({ reason }) => reason)]
    .filter((one) => one !== undefined && one !== "")
    .join("; ")
    .replace(/\s+/g, " ");
}

/** Why a task that ended before it was ready did. Faults are returned, not thrown. */
export function stoppedFault(service: string, task: Task, logs: string[]): Fault {
  const said = saidOf(task);
  const known = faultOf(service, said, logs);
  if (known) return known;
  const code = mainContainer(task, service)?.exitCode;
  if (code !== undefined) {
    return new Fault("CONTAINER_CRASHED", `${service} ended before it was ready, exit code ${code}. ECS said: ${said.slice(0, 400) || "nothing"}`, {
      logs,
    });
  }
  return new Fault("CONTAINER_CRASHED", `${service} was stopped before it was ready. ECS said: ${said.slice(0, 400) || "nothing"}`, { logs });
}

/** Where the sentence names no action, what was being done does. */
function actionBehind(said: string): string {
  if (/registry auth|ecr/i.test(said)) return "ecr:GetAuthorizationToken";
  if (/log ?stream|logger|cloudwatch/i.test(said)) return "logs:CreateLogStream";
  if (/secret/i.test(said)) return "secretsmanager:GetSecretValue";
  return "what AmazonECSTaskExecutionRolePolicy holds";
}
