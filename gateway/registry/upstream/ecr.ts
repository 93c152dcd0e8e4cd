import type { Clock } from "../../../lib/clock.ts";
import { BoundedMap } from "../../../lib/bounded-map.ts";
import { Fault } from "../../../lib/fault.ts";
import type { Log } from "../../../lib/log.ts";
import { raceAbort, withTimeout } from "../../../lib/deadline.ts";
import { basicAuthorization } from "../../../lib/registry-client/registry-login.ts";
import type { EcrApi, EcrToken } from "./ecr-api.ts";
import { upstreamPlace, parseRegistryAddress, type RegistryAddress } from "./registry-address.ts";
import { type RefreshCounts, openRefreshingValue, type RefreshingValue } from "../../../lib/refreshing-value.ts";
import type { TokenFile } from "./token-file.ts";
import { NEW_CREDENTIAL_MS, stoppingFault, type Upstream } from "./upstream.ts";

const HOUR_MS = 3_600_000;
/** Tokens are valid for 12 h. One is renewed after half of its remaining time, at the latest after this. */
const LONGEST_USE_MS = 6 * HOUR_MS;
/** A token that is expired on arrival shows that this machine's clock is wrong: it is valid for a while nevertheless. */
const LEAST_LIFE_MS = 60_000;
const REQUEST_MS = 45_000;
const MOST_REMEMBERED = 10_000;
/** The time before berth repeats a failed creation of a repository: after the repair of a policy, no restart is necessary. */
const DENIED_FOR_MS = 60_000;
const FAILED_FOR_MS = 5_000;

/** The token for all repositories of the account in ECR. It is renewed also without requests. */
export function openEcrToken(
  api: EcrApi,
  { file, counts, clock, log }: { file: TokenFile | undefined; counts?: RefreshCounts | undefined; clock: Clock; log: Log },
): RefreshingValue<EcrToken> {
  const overdue = () => new Fault("UPSTREAM_CREDENTIAL_FAILED", `AWS did not answer ecr:GetAuthorizationToken within ${REQUEST_MS / 1_000} s.`);
  return openRefreshingValue({
    load: async (signal) => {
      const token = await withTimeout({ clock, ms: REQUEST_MS, overdue, signal }, api.token);
      const lifeMs = Math.max(token.expiresAt - clock.now(), LEAST_LIFE_MS);
      file?.keep("*", basicAuthorization(token), lifeMs);
      return { value: token, lifeMs: lifeMs * 0.99, freshMs: Math.min(lifeMs / 2, LONGEST_USE_MS) };
    },
    clock,
    ahead: true,
    counts,
    onFailed: (error) => log.warn({ err: error }, "renewing the ECR token failed; the current one serves until it expires"),
  });
}

/**
 * Amazon ECR: at the given address, else at the one that AWS names in a first call. Faults of that call: UPSTREAM_CREDENTIAL_FAILED, SETTINGS_INVALID.
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
    token.close(stoppingFault());
    api.close();
    await file?.close();
  };
  let address = parts.address;
  try {
    address ??= parseRegistryAddress((await token.get(signal)).endpoint ?? "");
  } catch (error) {
    await closeAll();
    throw error;
  }

  // Other programs read the token's file from the start.
  Promise.resolve(token.get(signal)).catch(() => {});

  const existing = new BoundedMap<string, true>(MOST_REMEMBERED);
  const creating = new Map<string, Promise<void>>();
  const failedCreations = new BoundedMap<string, { fault: Fault; until: number }>(MOST_REMEMBERED);
  const closing = new AbortController();

  /** If it fails, the push continues: the repository may exist, or ECR creates it by a creation template. */
  const create = async (repository: string) => {
    const made = await api.createRepository(repository, closing.signal).catch((error: unknown) => {
      if (!(error instanceof Fault)) throw error;
      return { kind: "failed" as const, fault: error };
    });
    if (made.kind === "denied" || made.kind === "failed") {
      // docker does not show the sentence of a status from 500 on.
      const fault = new Fault("REPOSITORY_NOT_MADE", `There is no repository ${repository}, and it could not be made: ${made.fault.message}`, {
        cause: made.fault,
      });
      failedCreations.set(repository, { fault, until: clock.monotonic() + (made.kind === "denied" ? DENIED_FOR_MS : FAILED_FOR_MS) });
      return;
    }
    failedCreations.delete(repository);
    existing.set(repository, true);
  };

  return {
    ...upstreamPlace(address),
    authorization: (_, requestSignal) => {
      const current = token.get(requestSignal);
      return current instanceof Promise ? current.then(basicAuthorization) : basicAuthorization(current);
    },
    refused: async (_, __, requestSignal) => basicAuthorization(await token.renew(NEW_CREDENTIAL_MS, requestSignal)),
    beforePush: async (repository, pushSignal) => {
      if (existing.has(repository) || clock.monotonic() < (failedCreations.get(repository)?.until ?? 0)) return;
      const made = creating.get(repository) ?? create(repository).finally(() => creating.delete(repository));
      creating.set(repository, made);
      await raceAbort(made, pushSignal);
    },
    missingRepositoryFault: (repository) => {
      // It was removed by other means: the next push creates it again.
      existing.delete(repository);
      return failedCreations.get(repository)?.fault;
    },
    close: async () => {
      closing.abort(stoppingFault());
      await closeAll();
    },
  };
}
