import { createPublicKey, type KeyObject, type webcrypto } from "node:crypto";
import type { Clock } from "../clock.ts";
import { parseReply } from "../http-client.ts";
import { openRefreshingValue } from "../refreshing-value.ts";

/** The cached keys of tokens. */
export type KeySet = {
  /** The key with this id, or the only key if it has none. Undefined if there is none. Rejects if no keys were ever loaded. */
  find(kid: string | undefined): Promise<KeyObject | undefined>;
  /** Loads the keys if there are none. Rejects as `find`. */
  load(): Promise<void>;
  /** Changes with the keys: earlier verifications are no longer valid. Immediate while the keys are fresh, else after a refresh. */
  version(): number | Promise<number>;
};

/**
 * How values of a key server are refreshed. Frequent callers never wait, for they come within the grace time. After a longer time without calls, a caller waits
 * for the current value, but not for a server that hangs.
 */
export const REFRESH_HABITS = { waiting: { graceMs: 10_000, patienceMs: 2_000 }, retry: { firstMs: 500, longestMs: 30_000 } };

/** An unknown id may be a new key's, or an invented one: the shortest time between two refreshes for unknown ids. */
const UNKNOWN_ID_MS = 30_000;

type PublishedKeys = Map<string, { key: KeyObject; seenAt: number }>;

export type KeyHabits = {
  /** How long the keys count as fresh. */
  freshMs: number;
  /** How long a key is used after it was last published: tokens may outlast its publication. */
  keptMs: number;
};

/** `fetch` loads the published keys. While that fails, cached keys stay in use. */
export function createKeySet(deps: KeyHabits & { fetch(): Promise<Keys>; clock: Clock; onFailed(error: unknown): void }): KeySet {
  const { clock, freshMs, keptMs, onFailed } = deps;
  let version = 0;
  let refreshedAt = -Infinity;
  /** Shared by all lookups of unknown ids. */
  let refreshing: Promise<unknown> | undefined;

  const published = openRefreshingValue<PublishedKeys>({
    ...REFRESH_HABITS,
    load: async (_, before) => {
      const keys = await deps.fetch();
      const now = clock.monotonic();
      const kept: PublishedKeys = new Map();
      for (const [kid, one] of before ?? []) if (now - one.seenAt < keptMs && !keys.has(kid)) kept.set(kid, one);
      for (const [kid, key] of keys) kept.set(kid, { key, seenAt: now });
      if (!same(before, kept)) version++;
      return { value: kept, freshMs };
    },
    clock,
    onFailed,
  });

  const keyIn = (kept: PublishedKeys, kid: string | undefined): KeyObject | undefined => {
    if (kid !== undefined && kept.has(kid)) return kept.get(kid)?.key;
    // A token without an id, or a key without one, matches only if there is a single key.
    const [only] = kept;
    return kept.size === 1 && only !== undefined && (kid === undefined || only[0] === "") ? only[1].key : undefined;
  };

  return {
    load: async () => void (await published.get()),
    version: () => {
      // Also for cached tokens, the keys have to be refreshed now and then.
      const kept = published.get();
      if (!(kept instanceof Promise)) return version;
      const current = () => version;
      return kept.then(current, current);
    },
    find: async (kid) => {
      const key = keyIn(await published.get(), kid);
      if (key !== undefined) return key;
      const now = clock.monotonic();
      if (now - refreshedAt >= UNKNOWN_ID_MS) {
        refreshedAt = now;
        refreshing = published.renew(0).catch(() => {
          // After a failure, the pauses of the refresh limit how often ids are looked up.
          refreshedAt = -Infinity;
        });
      }
      await refreshing;
      return keyIn(await published.get(), kid);
    },
  };
}

function same(before: PublishedKeys | undefined, after: PublishedKeys): boolean {
  if (before?.size !== after.size) return false;
  for (const [kid, { key }] of after) if (before.get(kid)?.key.equals(key) !== true) return false;
  return true;
}

/** Public keys by id; the empty id for a key without one. */
export type Keys = ReadonlyMap<string, KeyObject>;

/** Shorter keys are not secure; NIST has forbidden them since 2014. */
const FEWEST_BITS = 2_048;
const MOST_KEYS = 100;
/** In a set of keys, each of which has some ten. */
const MOST_VALUES = 10_000;

/**
 * The RSA keys in a published JWKS, a single JWK, `{kid: pem}` or a PEM. Keys for other uses than RS256 signatures are skipped. Undefined for any other
 * text, so that an error page is not an empty set.
 */
export function parseKeys(text: string): Keys | undefined {
  const value = parse(text);
  if (typeof value === "string") return setOf([["", value]]);
  if (typeof value !== "object" || value === null) return undefined;
  if ("keys" in value && Array.isArray(value.keys)) return setOf(value.keys.filter(isObject).map((jwk) => [idOf(jwk), jwk]));
  if ("kty" in value) return setOf([[idOf(value), value]]);
  const named = Object.entries(value);
  return named.length > 0 && named.every(([, pem]) => isPem(pem)) ? setOf(named) : undefined;
}

function parse(text: string): unknown {
  const trimmed = text.trim();
  if (isPem(trimmed)) return trimmed;
  const value = parseReply(trimmed, MOST_VALUES);
  return typeof value === "string" && !isPem(value) ? undefined : value;
}

function setOf(given: [kid: string, key: unknown][]): Keys {
  const keys = new Map<string, KeyObject>();
  for (const [kid, one] of given.slice(0, MOST_KEYS)) {
    const key = keyOf(one);
    if (key !== undefined) keys.set(kid, key);
  }
  return keys;
}

function keyOf(one: unknown): KeyObject | undefined {
  try {
    const key =
      typeof one === "string"
        ? createPublicKey(one)
        : isForUs(one)
          ? createPublicKey({ key: one as webcrypto.JsonWebKey, format: "jwk" })
          : undefined;
    return key?.asymmetricKeyType === "rsa" && (key.asymmetricKeyDetails?.modulusLength ?? 0) >= FEWEST_BITS ? key : undefined;
  } catch {
    return undefined;
  }
}

/** False for a key with another use. */
function isForUs(jwk: unknown): boolean {
  if (!isObject(jwk)) return false;
  const { use = "sig", alg = "RS256" } = jwk as { use?: unknown; alg?: unknown };
  return use === "sig" && alg === "RS256";
}

function idOf(jwk: object): string {
  return "kid" in jwk && typeof jwk.kid === "string" ? jwk.kid : "";
}

function isPem(value: unknown): value is string {
  return typeof value === "string" && value.startsWith("-----BEGIN ");
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
