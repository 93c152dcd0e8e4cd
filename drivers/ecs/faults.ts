import { Fault } from "../../lib/fault.ts";
import { advisedFault, type DriverFaultCode, unansweredFault } from "../faults.ts";

/** The first row that fits names the fault; one without `names`, `text` or `of` does not ask for it. `todo`: where the code alone does not say. */
type AwsFaultRow = {
  names?: readonly string[];
  text?: RegExp;
  of?: RegExp;
  code: DriverFaultCode;
  is(action: string, said: string): string;
  todo?: string;
};

/** What changes something, and so may be refused for what a container's settings say. */
const MAKING = /:(RegisterTaskDefinition|CreateService)$/;

/** Errors of AWS's clients by their names: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/CommonErrors.html and each action's own page. */
const ROWS: readonly AwsFaultRow[] = [
  {
    names: ["AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "NotAuthorized"],
    code: "ENGINE_ACTION_DENIED",
    is: (action, said) => `AWS denies ${deniedAction(said) ?? action} to the role that berth runs with: ${said}`,
    todo: "Allow it there, as conf/ecs/policy.json does.",
  },
  {
    text: /unable to assume/i,
    code: "ENGINE_ACTION_DENIED",
    is: (_, said) => `ECS may not take the role that tasks are started with (sts:AssumeRole): ${said}`,
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
    todo: "See whether they are wrong or have expired, and that this machine's clock is right.",
  },
  {
    names: ["ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"],
    code: "ENGINE_FAILED",
    is: (action) => `AWS limits how often ${action} may be asked, and still did after several tries`,
    todo: "Look what else in this account asks ECS.",
  },
  {
    names: ["ClusterNotFoundException"],
    code: "ENGINE_FAILED",
    is: (action) => `${action}: there is no such ECS cluster in this region`,
    todo: "Look at GROK_SPAWNER_CVM_ECS__CLUSTER and …__CLUSTER_REGION.",
  },
  {
    names: ["LimitExceededException", "ServiceQuotaExceededException"],
    code: "NO_CAPACITY",
    is: (action, said) => `${action}: a limit of the AWS account is reached: ${said}`,
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
    is: (action, said) => `ECS refused ${action}: ${said}`,
  },
  {
    text: /^Region is missing/,
    code: "ENGINE_FAILED",
    is: () => "The cluster's region is not known",
    todo: "Set GROK_SPAWNER_CVM_ECS__CLUSTER_REGION.",
  },
];

const UNREACHABLE = "Look at the network, VPC endpoints and AWS_ENDPOINT_URL.";
/** There is no log of ECS's own that could be read. */
const FAILED = "berth tries again by itself; where it stays so, look at the cluster in AWS's console.";

/** An error of one of AWS's clients, in the house's words; `action` such as `ecs:CreateService`. Its cause is that error. */
export function awsFault(error: unknown, action: string): Fault {
  if (error instanceof Fault) return error;
  const { name = "", code: system, $metadata } = error as { name?: string; code?: unknown; $metadata?: { httpStatusCode?: number } };
  const said = saidBy(error);
  const row = ROWS.find(
    ({ names, text, of }) =>
      (names === undefined || names.includes(name)) && (text === undefined || text.test(said)) && (of === undefined || of.test(action)),
  );
  if (row) return advisedFault(row.code, row.is(action, said), { todo: row.todo, cause: error });
  if ($metadata?.httpStatusCode === undefined && typeof system === "string") return unreachable(action, system, error);
  if ($metadata?.httpStatusCode === undefined && name === "TimeoutError") return unanswered(action, "no answer in time", error);
  return advisedFault("ENGINE_FAILED", `${action} failed: ${said === "" ? name || "no reason given" : said}`, { todo: FAILED, cause: error });
}

function unreachable(action: string, why: string, cause: unknown): Fault {
  return advisedFault("ENGINE_UNREACHABLE", `AWS cannot be reached for ${action} (${why})`, { todo: UNREACHABLE, cause });
}

/** AWS may have received the call and may still answer it. */
export function unanswered(action: string, why: string, cause?: unknown): Fault {
  return unansweredFault(`AWS cannot be reached for ${action} (${why})`, { todo: UNREACHABLE, cause });
}

/** True where AWS answered with an error of one of these names, whether or not it was translated since. */
export function isNamed(error: unknown, ...names: string[]): boolean {
  const from = error instanceof Fault ? error.cause : error;
  return names.includes((from as { name?: string } | undefined)?.name ?? "");
}

/** True where AWS may have done what it was asked, or may do it when asked again: nothing is wrong with what was asked. */
export function isTrouble(error: unknown): boolean {
  return error instanceof Fault && (error.code === "ENGINE_UNREACHABLE" || error.code === "ENGINE_FAILED");
}

/** What AWS said, as far as a sentence goes. */
export function saidBy(error: unknown): string {
  const from = error instanceof Fault && error.cause !== undefined ? error.cause : error;
  return ((from as { message?: string }).message ?? "").replace(/\s+/g, " ").trim().slice(0, 400);
}

/** The IAM action in AWS's own sentence, which may be another than the one asked for: `iam:PassRole` of a CreateService. */
export function deniedAction(said: string): string | undefined {
  return /not authorized to perform:? ([a-z0-9-]+:[A-Za-z0-9*]+)/.exec(said)?.[1];
}
