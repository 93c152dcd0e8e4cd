import type { ECRClient } from "@aws-sdk/client-ecr";
import type { Clock } from "../../../lib/clock.ts";
import { Fault, type FaultCode } from "../../../lib/fault.ts";
import { withTimeout } from "../../../lib/deadline.ts";

/** Policies of existing installations allow the creation of repositories only with this tag. */
const REPOSITORY_TAGS = [{ Key: "builder", Value: "grok_spawner" }];
const CALL_MS = 30_000;
const CONNECT_MS = 5_000;
const ANSWER_MS = 15_000;
/** In the client's adaptive mode, which slows down when AWS throttles. */
const TRIES = 4;
const MOST_PAGES = 200;

export type EcrToken = { username: string; password: string; expiresAt: number; endpoint: string | undefined };

/** The calls to Amazon ECR. Each takes at most 30 s. Faults: UPSTREAM_CREDENTIAL_FAILED. */
export type EcrApi = {
  token(signal: AbortSignal): Promise<EcrToken>;
  /** `denied`: the role lacks the right that `fault` names. */
  createRepository(name: string, signal: AbortSignal): Promise<{ kind: "made" | "there" } | { kind: "denied"; fault: Fault }>;
  /** `version` is a tag or a digest. Undefined if it does not exist. `registryId` is the account, if it is not the role's own. */
  digestOf(name: string, version: string, signal: AbortSignal, registryId?: string): Promise<string | undefined>;
  close(): void;
};

/** Credentials come from the usual chain (variables, files, the task's or instance's role); `AWS_ENDPOINT_URL*` apply. Sends no request yet. */
export async function openEcrApi({ region, clock }: { region: string | undefined; clock: Clock }): Promise<EcrApi> {
  // Loaded here: it costs 100 ms and some megabytes.
  const aws = await import("@aws-sdk/client-ecr");
  const client: ECRClient = new aws.ECRClient({
    ...(region === undefined ? {} : { region }),
    maxAttempts: TRIES,
    retryMode: "adaptive",
    requestHandler: { connectionTimeout: CONNECT_MS, requestTimeout: ANSWER_MS },
  });

  /** The chain of credentials cannot be cancelled, so the time limit covers it. */
  const call = async <T>(action: string, signal: AbortSignal, ask: (options: { abortSignal: AbortSignal }) => Promise<T>): Promise<T> => {
    const overdue = () => new Fault("UPSTREAM_CREDENTIAL_FAILED", `AWS did not answer ${action} within ${CALL_MS / 1_000} s.`);
    return withTimeout({ clock, ms: CALL_MS, overdue, signal }, (abortSignal) => ask({ abortSignal }));
  };

  return {
    token: async (signal) => {
      const action = "ecr:GetAuthorizationToken";
      const answer = await call(action, signal, (options) => client.send(new aws.GetAuthorizationTokenCommand({}), options)).catch(
        (error: unknown) => {
          if (signal.aborted) throw signal.reason;
          throw awsFault(error, action);
        },
      );
      const [data] = answer.authorizationData ?? [];
      const [, username, password] = /^([^:]+):(.+)$/.exec(Buffer.from(data?.authorizationToken ?? "", "base64").toString()) ?? [];
      if (username === undefined || password === undefined || !data?.expiresAt) {
        throw new Fault("UPSTREAM_CREDENTIAL_FAILED", `AWS answered ${action} without a token.`);
      }
      return { username, password, expiresAt: data.expiresAt.getTime(), endpoint: data.proxyEndpoint };
    },

    createRepository: async (repositoryName, signal) => {
      const action = "ecr:CreateRepository";
      try {
        await call(action, signal, (options) => client.send(new aws.CreateRepositoryCommand({ repositoryName, tags: REPOSITORY_TAGS }), options));
        return { kind: "made" };
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        if (isNamed(error, "RepositoryAlreadyExistsException")) return { kind: "there" };
        if (isDenied(error)) return { kind: "denied", fault: awsFault(error, action) };
        throw awsFault(error, action);
      }
    },

    // ListImages, because roles of existing installations lack DescribeImages. It finds no single image, so all pages are read.
    digestOf: async (repositoryName, version, signal, registryId) => {
      const action = "ecr:ListImages";
      // No tag has a colon. An image requested by digest may have no tag.
      const [key, filter] = version.includes(":") ? (["imageDigest", undefined] as const) : (["imageTag", { tagStatus: "TAGGED" }] as const);
      let nextToken: string | undefined;
      try {
        for (let page = 0; page < MOST_PAGES; page++) {
          const input = { repositoryName, registryId, maxResults: 1_000, nextToken, filter };
          const output = await call(action, signal, (options) => client.send(new aws.ListImagesCommand(input), options));
          const match = output.imageIds?.find((image) => image[key] === version);
          if (match?.imageDigest !== undefined) return match.imageDigest;
          nextToken = output.nextToken;
          if (nextToken === undefined) return undefined;
        }
        return undefined;
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        if (isNamed(error, "RepositoryNotFoundException")) return undefined;
        throw awsFault(error, action);
      }
    },

    close: () => client.destroy(),
  };
}

type AwsFaultRow = { names: readonly string[]; sentence: (action: string, reason: string) => string };

/** Sentences for AWS errors, by name; the first row with the name counts. `action` is the IAM action. */
const ROWS: readonly AwsFaultRow[] = [
  {
    names: ["AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "NotAuthorized"],
    sentence: (action, reason) => `AWS denies ${action} to the role that berth runs with: allow it in the role's policy.${reason}`,
  },
  {
    names: ["CredentialsProviderError"],
    sentence: (action) => `No AWS credentials for ${action}: give the task or instance a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.`,
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
    sentence: (action) =>
      `AWS does not accept the credentials that ${action} was signed with: they are wrong or have expired, or the clock is wrong.`,
  },
  {
    names: ["ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "LimitExceededException"],
    sentence: (action) => `AWS limits the rate of ${action}, or a quota is reached.`,
  },
];

/** The fault of an error of Amazon's client; `action` such as `ecr:CreateRepository`. It has no secret: only the message of a denial is repeated. */
export function awsFault(error: unknown, action: string, code: FaultCode = "UPSTREAM_CREDENTIAL_FAILED"): Fault {
  if (error instanceof Fault) return error;
  const { name = "", message = "", code: system } = error as { name?: string; message?: string; code?: unknown };
  const row = ROWS.find(({ names }) => names.includes(name));
  const denied = row === ROWS[0] && message !== "" ? ` AWS answered: ${message.slice(0, 300)}` : "";
  const region = message === "Region is missing" ? "AWS_REGION is not set." : undefined;
  const sentence =
    row?.sentence(action, denied) ?? region ?? `AWS did not answer ${action} (${typeof system === "string" ? system : name || "no answer"}).`;
  return new Fault(code, sentence, { cause: error });
}

function isDenied(error: unknown): boolean {
  return ROWS[0]?.names.includes((error as { name?: string }).name ?? "") === true;
}

export function isNamed(error: unknown, ...names: string[]): boolean {
  return names.includes((error as { name?: string }).name ?? "");
}
