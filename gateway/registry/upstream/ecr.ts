import type { Clock } from "../../../lib/clock.ts";
import { BoundedMap } from "../../../lib/bounded-map.ts";
import { Fault } from "../../../lib/fault.ts";
import type { Log } from "../../../lib/log.ts";
import { raceAbort } from "../../../lib/deadline.ts";
import { basicAuthorization } from "../../../lib/registry-client/registry-login.ts";
import type { EcrApi, EcrToken } from "./ecr-api.ts";
import { upstreamPlace, readRegistryAddress, type RegistryAddress } from "./registry-address.ts";
import { type RefreshCounts, openRefreshingToken, type RefreshingToken } from "../../../lib/refreshing-token.ts";
import type { TokenFile } from "./token-file.ts";
import type { Upstream } from "./upstream.ts";

const HOUR_MS = 3_600_000;
/** Tokens last 12 h; one is renewed after half of what is left of it, and in any case after this. */
const LONGEST_USE_MS = 6 * HOUR_MS;
/** A token that had run out when it came says that this machine's clock is wrong: it is good for a while all the same. */
const LEAST_LIFE_MS = 60_000;
const ASK_MS = 45_000;
const MOST_REMEMBERED = 10_000;
/** For so long after AWS failed to make a repository it is not asked again: a mended policy shall not need a new start. */
const DENIED_FOR_MS = 60_000;
const FAILED_FOR_MS = 5_000;

/** The one token that opens all repositories of the account in ECR, renewed also where nobody asks for it. */
export function openEcrToken(
  api: EcrApi,
  { file, counts, clock, log }: { file: TokenFile | undefined; counts?: RefreshCounts | undefined; clock: Clock; log: Log },
): RefreshingToken<EcrToken> {
  return openRefreshingToken({
    ask: async (signal) => {
      const token = await api.token(signal);
      const lifeMs = Math.max(token.expiresAt - clock.now(), LEAST_LIFE_MS);
      file?.keep("*", basicAuthorization(token), lifeMs);
      return { value: token, lifeMs: lifeMs * 0.99, renewMs: Math.min(lifeMs / 2, LONGEST_USE_MS) };
    },
    askMs: ASK_MS,
    overdue: () => new Fault("UPSTREAM_CREDENTIAL_FAILED", `AWS did not answer ecr:GetAuthorizationToken within ${ASK_MS / 1_000} s.`),
    clock,
    ahead: true,
    counts,
    onFailed: (error) => log.warn({ err: error }, "AWS gave no ECR token; the one at hand, where there is one, serves on while it lasts."),
  });
}

/**
 * Amazon ECR: at the address given, else at the one that AWS names, for which it is asked at once. Faults, then: UPSTREAM_CREDENTIAL_FAILED,
 * SETTINGS_INVALID.
 */
export async function ecrUpstream(parts: {
  address: RegistryAddress | undefined;
  api: EcrApi;
  file: TokenFile | undefined;
  counts?: RefreshCounts | undefined;
  clock: Clock;
  log: Log;
  signal: AbortSignal;
}): Promise<Upstream> {
  const { api, file, clock, signal } = parts;
  const token = openEcrToken(api, parts);
  const closeAll = async () => {
    token.close();
    api.close();
    await file?.close();
  };
  let address = parts.address;
  try {
    address ??= readRegistryAddress((await token.get(signal)).endpoint ?? "");
  } catch (error) {
    await closeAll();
    throw error;
  }

  // So that the token's file is there from the start.
  Promise.resolve(token.get(signal)).catch(() => {});

  const there = new BoundedMap<string, true>(MOST_REMEMBERED);
  const making = new Map<string, Promise<void>>();
  const unmade = new BoundedMap<string, { fault: Fault; until: number }>(MOST_REMEMBERED);
  const closing = new AbortController();

  /** Where it fails, the push goes on: it may be there all the same, or ECR makes it by itself where a creation template says so. */
  const make = async (repository: string) => {
    const made = await api.createRepository(repository, closing.signal).catch((error: unknown) => {
      if (!(error instanceof Fault)) throw error;
      return { kind: "failed" as const, fault: error };
    });
    if (made.kind === "denied" || made.kind === "failed") {
      // Of statuses from 500 on, docker shows nobody the sentence.
      const fault = new Fault("REPOSITORY_NOT_MADE", `There is no repository ${repository}, and it could not be made: ${made.fault.message}`, {
        cause: made.fault,
      });
      unmade.set(repository, { fault, until: clock.monotonic() + (made.kind === "denied" ? DENIED_FOR_MS : FAILED_FOR_MS) });
      return;
    }
    unmade.delete(repository);
    there.set(repository, true);
  };

  return {
    ...upstreamPlace(address),
    authorization: (_, asked) => {
      const held = token.get(asked);
      return held instanceof Promise ? held.then(basicAuthorization) : basicAuthorization(held);
    },
    refused: async (_, __, asked) => basicAuthorization(await token.renew(asked)),
    beforePush: async (repository, asked) => {
      if (there.has(repository) || clock.monotonic() < (unmade.get(repository)?.until ?? 0)) return;
      const made = making.get(repository) ?? make(repository).finally(() => making.delete(repository));
      making.set(repository, made);
      await raceAbort(made, asked);
    },
    missingRepositoryFault: (repository) => {
      // Somebody removed it behind our back: the next push makes it again.
      there.delete(repository);
      return unmade.get(repository)?.fault;
    },
    close: async () => {
      closing.abort(new Fault("UPSTREAM_CREDENTIAL_FAILED", "The registry proxy is stopping."));
      await closeAll();
    },
  };
}
