import { createLocalJWKSet, errors, type JWTVerifyGetKey } from "jose";
import { isIP } from "node:net";
import { BoundedMap } from "../../lib/bounded-map.ts";
import { trimTrailing } from "../../lib/character-classes.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { openHttpClient, parseReply } from "../../lib/http-client.ts";
import { openRefreshingValue, type RefreshingValue } from "../../lib/refreshing-value.ts";

/** The keys of issuers of identity tokens, as the issuers publish them. */
export type IssuerKeys = {
  /** Finds the key of a token of this issuer. Rejects with errors of jose; faults: ISSUER_UNUSABLE if no keys can be loaded. */
  of(issuer: string): JWTVerifyGetKey;
};

/** Asymmetric ones alone: keys of issuers are public. */
export const ISSUER_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"];
const CONNECT_MS = 5_000;
/** For each of the two documents. */
const TIMEOUT_MS = 10_000;
/** The largest published sets have some ten keys of 2 KB. */
const MAX_BYTES = 262_144;
const MOST_VALUES = 10_000;
const MOST_KEYS = 100;
const FRESH_MS = 10 * 60_000;
/** So long keys stay in use while their issuer cannot be reached. */
const LIFE_MS = 3_600_000;
/** An unknown key id may be a new key's, or an invented one: the shortest time between two loads for unknown ids. */
const UNKNOWN_ID_MS = 30_000;
/** So long a sign-in waits for keys that are no longer fresh, before it uses them. */
const PATIENCE_MS = 3_000;
const RETRY = { firstMs: 1_000, longestMs: 60_000 };
/** Issuers that are no longer trusted leave it by their age. */
const MOST_ISSUERS = 500;

/**
 * Loads and caches keys. It requests no other address than the issuer's own, and follows no redirects: the answers are of others.
 *
 * jose's own set chooses the key of a token, and not `lib/jwks/key-set.ts`: issuers of others sign by several algorithms, which their keys name, while tokens of
 * berth have one, and keys that outlast their publication. Both refresh by `openRefreshingValue`.
 */
export function createIssuerKeys({ clock, httpIssuers = false }: { clock: Clock; httpIssuers?: boolean | undefined }): IssuerKeys {
  const sets = new BoundedMap<string, RefreshingValue<JWTVerifyGetKey>>(MOST_ISSUERS);
  const client = openHttpClient({
    clock,
    maxBytes: MAX_BYTES,
    timeoutMs: TIMEOUT_MS,
    connectTimeoutMs: CONNECT_MS,
    toFault: ({ kind, url, why, cause }) =>
      unusable(url.origin, kind === "oversized" ? `${url.pathname} is larger than ${MAX_BYTES} bytes` : `${url.pathname}: ${why}`, cause),
  });

  const load = async (url: URL, signal: AbortSignal): Promise<Record<string, unknown>> => {
    const reply = await client.request({ url, headers: { accept: "application/json" }, signal });
    if (reply.status !== 200) throw unusable(url.origin, `${url.pathname} answers ${reply.status}`);
    const value = parseReply(reply.text(), MOST_VALUES);
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
    throw unusable(url.origin, `${url.pathname} is no JSON object`);
  };
  const loadKeys = async (issuer: string, signal: AbortSignal): Promise<JWTVerifyGetKey> => {
    const base = requireIssuerUrl(issuer, httpIssuers);
    const document = await load(new URL(`${trimTrailing(base.href, "/")}/.well-known/openid-configuration`), signal);
    if (document["issuer"] !== issuer) throw unusable(issuer, `its discovery document names the issuer ${quoted(document["issuer"])}`);
    const address = document["jwks_uri"];
    // Another host would be one that no administrator has entered.
    if (typeof address !== "string" || !URL.canParse(address) || new URL(address).origin !== base.origin)
      throw unusable(issuer, `its jwks_uri ${quoted(address)} is not at ${base.origin}`);
    const { keys } = await load(new URL(address), signal);
    if (!Array.isArray(keys) || !keys.every((key) => typeof key === "object" && key !== null)) throw unusable(issuer, "its jwks_uri has no keys");
    if (keys.length > MOST_KEYS) throw unusable(issuer, `it publishes ${keys.length} keys, more than ${MOST_KEYS}`);
    return createLocalJWKSet({ keys });
  };
  const setOf = (issuer: string) => {
    const set =
      sets.get(issuer) ??
      openRefreshingValue({
        load: async (signal) => ({ value: await loadKeys(issuer, signal), freshMs: FRESH_MS, lifeMs: LIFE_MS }),
        // A withdrawn key must not count for longer because no job signed in meanwhile.
        waiting: { graceMs: 0, patienceMs: PATIENCE_MS },
        retry: RETRY,
        clock,
      });
    sets.set(issuer, set);
    return set;
  };

  return {
    of: (issuer) => async (header, token) => {
      const set = setOf(issuer);
      const keys = await set.get();
      try {
        return await keys(header, token);
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
        return (await set.renew(UNKNOWN_ID_MS))(header, token);
      }
    },
  };
}

/** https, or with the setting http on a loopback address. Faults: REQUEST_INVALID. */
export function requireIssuerUrl(issuer: string, httpIssuers: boolean): URL {
  const url = URL.canParse(issuer) ? new URL(issuer) : undefined;
  const isUsable = url !== undefined && url.search === "" && url.hash === "" && url.username === "" && url.password === "";
  if (isUsable && (url.protocol === "https:" || (httpIssuers && url.protocol === "http:" && isLoopback(url.hostname)))) return url;
  throw new Fault(
    "REQUEST_INVALID",
    `The issuer ${quoted(issuer)} is not valid: it must be an https URL without a query. BERTH_PUBLISHER_HTTP_ISSUERS allows http on loopback addresses.`,
  );
}

function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || (isIP(hostname) === 4 && hostname.startsWith("127."));
}

function unusable(issuer: string, why: string, cause?: unknown): Fault {
  return new Fault("ISSUER_UNUSABLE", `The keys of the issuer ${issuer} cannot be loaded: ${why}.`, { cause, retryAfterMs: RETRY.firstMs });
}

function quoted(value: unknown): string {
  return (JSON.stringify(value) ?? "undefined").slice(0, 200);
}
