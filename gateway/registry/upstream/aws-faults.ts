import { Fault, type FaultCode } from "../../../lib/fault.ts";

type Row = { names: readonly string[]; says: (doing: string, said: string) => string };

/** What AWS answers, by the error's name, in the house's words; the first row that has the name. `doing` is the IAM action. */
const ROWS: readonly Row[] = [
  {
    names: ["AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "NotAuthorized"],
    says: (doing, said) => `AWS denies ${doing} to the role that berth runs with: allow it in the role's policy.${said}`,
  },
  {
    names: ["CredentialsProviderError"],
    says: (doing) => `No AWS credentials for ${doing}: give the task or instance a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.`,
  },
  {
    names: [
      "ExpiredTokenException",
      "ExpiredToken",
      "UnrecognizedClientException",
      "InvalidClientTokenId",
      "InvalidSignatureException",
      "SignatureDoesNotMatch",
    ],
    says: (doing) => `AWS does not take the credentials that ${doing} was signed with: they are wrong or have expired, or the clock is wrong.`,
  },
  {
    names: ["ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "LimitExceededException"],
    says: (doing) => `AWS limits how often ${doing} may be asked, or how much there may be.`,
  },
];

/** An error of Amazon's client; `action` such as `ecr:CreateRepository`. Never holds a secret: of what AWS said, only a denial is repeated. */
export function awsFault(error: unknown, action: string, code: FaultCode = "UPSTREAM_CREDENTIAL_FAILED"): Fault {
  if (error instanceof Fault) return error;
  const { name = "", message = "", code: system } = error as { name?: string; message?: string; code?: unknown };
  const row = ROWS.find(({ names }) => names.includes(name));
  const denied = row === ROWS[0] && message !== "" ? ` AWS said: ${message.slice(0, 300)}` : "";
  const region = message === "Region is missing" ? "AWS_REGION is not set." : undefined;
  const sentence =
    row?.says(action, denied) ?? region ?? `AWS could not be asked for ${action} (${typeof system === "string" ? system : name || "no answer"}).`;
  return new Fault(code, sentence, { cause: error });
}

export function isDenied(error: unknown): boolean {
  return ROWS[0]?.names.includes((error as { name?: string }).name ?? "") === true;
}

export function isNamed(error: unknown, ...names: string[]): boolean {
  return names.includes((error as { name?: string }).name ?? "");
}
