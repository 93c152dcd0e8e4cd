import { Fault } from "../../lib/fault.ts";
import { advisedFault, type DriverFaultCode, unansweredFault } from "../faults.ts";

/** The first row that fits names the fault. `names`, `text` and `of` are conditions if present. `todo`: more specific than the code's advice. */
type AwsFaultRow = {
  names?: readonly string[];
  text?: RegExp;
  of?: RegExp;
  code: DriverFaultCode;
  is(action: string, message: string): string;
  todo?: string;
};

/** Calls that may be refused because of a container's settings. */
const MAKING = /:(RegisterTaskDefinition|CreateService)$/;

/** AWS did not execute the call: there were too many in a short time. */
const THROTTLING: readonly string[] = ["ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"];

/** The second one is ECS's before the agent runs: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec-troubleshooting.html */
const NOT_CONNECTED: readonly string[] = ["TargetNotConnectedException", "InvalidParameterException"];

/** Errors of AWS's clients by their names: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/CommonErrors.html and each action's own page. */
const ROWS: readonly AwsFaultRow[] = [
  {
    names: ["AccessDeniedException", "AccessDenied"],
    of: /:ExecuteCommand$/,
    code: "ENGINE_ACTION_DENIED",
    is: (action, message) => `AWS denies ${deniedAction(message) ?? action} to the role that berth runs with: ${message}`,
    todo: "Allow it there, as conf/ecs/policy-shell.json does.",
  },
  {
    names: NOT_CONNECTED,
    of: /:ExecuteCommand$/,
    code: "EXEC_UNAVAILABLE",
    is: (_, message) => `AWS's agent for shells is not connected in this task: ${message}`,
    todo: "Try again in a minute. If it stays so, the role of BERTH_ECS_SHELL_ROLE lacks what conf/ecs/shell-role.json allows, or the task's subnet has no way to ssmmessages.<region>.amazonaws.com.",
  },
  {
    names: ["AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "NotAuthorized"],
    code: "ENGINE_ACTION_DENIED",
    is: (action, message) => `AWS denies ${deniedAction(message) ?? action} to the role that berth runs with: ${message}`,
    todo: "Allow it there, as conf/ecs/policy.json does.",
  },
  {
    text: /unable to assume/i,
    code: "ENGINE_ACTION_DENIED",
    is: (_, message) => `ECS may not assume the role that tasks are started with (sts:AssumeRole): ${message}`,
    todo: "Let its trust policy name ecs-tasks.amazonaws.com.",
  },
  {
    names: ["CredentialsProviderError"],
    code: "ENGINE_FAILED",
    is: (action) => `There are no AWS credentials for ${action}`,
    todo: "Give berth's task or instance a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
  },
  {
    names: ["ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException"],
    code: "ENGINE_FAILED",
    is: (action) => `AWS does not take the credentials that ${action} was signed with`,
    todo: "Check whether they are wrong or have expired, and that this machine's clock is right.",
  },
  {
    names: THROTTLING,
    code: "ENGINE_FAILED",
    is: (action) => `AWS throttles ${action}, after several attempts too`,
    todo: "Check what else in this account calls ECS.",
  },
  {
    names: ["ClusterNotFoundException"],
    code: "ENGINE_FAILED",
    is: (action) => `${action}: there is no such ECS cluster in this region`,
    todo: "Check GROK_SPAWNER_CVM_ECS__CLUSTER and …__CLUSTER_REGION.",
  },
  {
    names: ["LimitExceededException", "ServiceQuotaExceededException"],
    code: "NO_CAPACITY",
    is: (action, message) => `${action}: a limit of the AWS account is reached: ${message}`,
    todo: "Have AWS raise it, or stop other containers.",
  },
  {
    names: [
      "ClientException",
      "InvalidParameterException",
      "PlatformTaskDefinitionIncompatibilityException",
      "PlatformUnknownException",
      "UnsupportedFeatureException",
    ],
    of: MAKING,
    code: "SPEC_REFUSED",
    is: (action, message) => `ECS refused ${action}: ${message}`,
  },
  {
    text: /^Region is missing/,
    code: "ENGINE_FAILED",
    is: () => "The cluster's region is not known",
    todo: "Set GROK_SPAWNER_CVM_ECS__CLUSTER_REGION.",
  },
];

const UNREACHABLE = "Check the network, VPC endpoints and AWS_ENDPOINT_URL.";
/** ECS has no log of its own. */
const FAILED = "berth retries; if it stays so, look at the cluster in AWS's console.";

/** The fault of an error of one of AWS's clients, which is its cause; `action` such as `ecs:CreateService`. */
export function awsFault(error: unknown, action: string): Fault {
  if (error instanceof Fault) return error;
  const { name = "", code: system, $metadata } = error as { name?: string; code?: unknown; $metadata?: { httpStatusCode?: number } };
  const message = messageOf(error);
  const row = ROWS.find(
    ({ names, text, of }) =>
      (names === undefined || names.includes(name)) && (text === undefined || text.test(message)) && (of === undefined || of.test(action)),
  );
  if (row) return advisedFault(row.code, row.is(action, message), { todo: row.todo, cause: error });
  if ($metadata?.httpStatusCode === undefined && typeof system === "string") return unreachable(action, system, error);
  if ($metadata?.httpStatusCode === undefined && name === "TimeoutError") return unanswered(action, "no answer in time", error);
  return advisedFault("ENGINE_FAILED", `${action} failed: ${message === "" ? name || "no reason given" : message}`, { todo: FAILED, cause: error });
}

function unreachable(action: string, why: string, cause: unknown): Fault {
  return advisedFault("ENGINE_UNREACHABLE", `AWS cannot be reached for ${action} (${why})`, { todo: UNREACHABLE, cause });
}

/** AWS may have received the call and may still answer it. */
export function unanswered(action: string, why: string, cause?: unknown): Fault {
  return unansweredFault(`AWS cannot be reached for ${action} (${why})`, { todo: UNREACHABLE, cause });
}

export function isThrottling(error: unknown): boolean {
  return isNamed(error, ...THROTTLING);
}

/** True for an ExecuteCommand whose task has no agent, or none yet. */
export function isNotConnected(error: unknown): boolean {
  return error instanceof Fault && error.code === "EXEC_UNAVAILABLE" && isNamed(error, ...NOT_CONNECTED);
}

/** True if AWS answered with an error of one of these names, also as the cause of a fault. */
export function isNamed(error: unknown, ...names: string[]): boolean {
  const from = error instanceof Fault ? error.cause : error;
  return names.includes((from as { name?: string } | undefined)?.name ?? "");
}

/** True if AWS may have completed the call, or may complete a retry: the request itself is right. */
export function isTrouble(error: unknown): boolean {
  return error instanceof Fault && (error.code === "ENGINE_UNREACHABLE" || error.code === "ENGINE_FAILED");
}

/** The message of AWS, cut to the length of a sentence. */
export function messageOf(error: unknown): string {
  const from = error instanceof Fault && error.cause !== undefined ? error.cause : error;
  return ((from as { message?: string }).message ?? "").replace(/\s+/g, " ").trim().slice(0, 400);
}

/** The IAM action in AWS's own sentence, which may differ from the call: `iam:PassRole` of a CreateService. */
export function deniedAction(message: string): string | undefined {
  return /not authorized to perform:? ([a-z0-9-]+:[A-Za-z0-9*]+)/.exec(message)?.[1];
}
