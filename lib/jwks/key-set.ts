import { type KeyObject, createPublicKey, type webcrypto } from "node:crypto";
import type { Clock } from "../clock.ts";
import { createRevalidatingValue } from "../revalidating-value.ts";
import { parseReply } from "../parse-reply.ts";

/** The keys that tokens are signed with, as far as they are known. */
export type KeySet = {
  /** The key with this id; of a set whose only key has none, that one. Undefined: nobody's. Rejects where no keys were ever had. */
  find(kid: string | undefined): Promise<KeyObject | undefined>;
  /** Another one after any change: what was verified before counts no more. At once while the keys are fresh; else they are looked at anew first. */
  version(): number | Promise<number>;
};

/** An id that nobody knows may be a new key's, or an invented one: so often they are looked at again. */
const LOOK_AGAIN_MS = 30_000;

type PublishedKeys = Map<string, { key: KeyObject; seenAt: number }>;

export type KeyHabits = {
  /** How long the keys count as fresh. */
  freshMs: number;
  /** How long a key is used after it was last published: where that ends sooner than what it has signed. */
  keptMs: number;
};

/** `fetch` gets the keys that are published now. While that fails, what is known is used on. */
export function openKeySet(parts: KeyHabits & { fetch(): Promise<Keys>; clock: Clock; onFailure(error: unknown): void }): KeySet {
  const { clock, keptMs } = parts;
  let version = 0;
  let lookedAt = -Infinity;
  /** Shared by all who ask for ids that nobody knows. */
  let looking: Promise<void> | undefined;

  const published = createRevalidatingValue<PublishedKeys>({
    ...parts,
    fetch: async (before) => {
      const keys = await parts.fetch();
      const now = clock.monotonic();
      const kept: PublishedKeys = new Map();
      for (const [kid, one] of before ?? []) if (now - one.seenAt < keptMs && !keys.has(kid)) kept.set(kid, one);
      for (const [kid, key] of keys) kept.set(kid, { key, seenAt: now });
      if (!same(before, kept)) version++;
      return kept;
    },
  });

  const keyIn = (kept: PublishedKeys, kid: string | undefined): KeyObject | undefined => {
    if (kid !== undefined && kept.has(kid)) return kept.get(kid)?.key;
    // Without an id it can only be the only key; and a key that was published without one may be anybody's.
    const [only] = kept;
    return kept.size === 1 && only !== undefined && (kid === undefined || only[0] === "") ? only[1].key : undefined;
  };

  return {
    version: () => {
      // Also where every token is remembered, somebody has to look now and then whether its key still counts.
      const kept = published.get();
      if (!(kept instanceof Promise)) return version;
      const current = () => version;
      return kept.then(current, current);
    },
    find: async (kid) => {
      const found = keyIn(await published.get(), kid);
      if (found !== undefined) return found;
      const now = clock.monotonic();
      if (now - lookedAt >= LOOK_AGAIN_MS) {
        lookedAt = now;
        looking = published.refresh();
      }
      await looking;
      return keyIn(await published.get(), kid);
    },
  };
}

function same(before: PublishedKeys | undefined, after: PublishedKeys): boolean {
  if (before?.size !== after.size) return false;
  for (const [kid, { key }] of after) if (before.get(kid)?.key.equals(key) !== true) return false;
  return true;
}

/** Public keys by their ids; under the empty id those that came without one. */
export type Keys = ReadonlyMap<string, KeyObject>;

/** Shorter ones can be broken; NIST has forbidden them since 2014. */
const FEWEST_BITS = 2_048;
const MOST_KEYS = 100;
/** In a set of keys, each of which has some ten. */
const MOST_VALUES = 10_000;

/**
 * The RSA keys in what a server publishes: a JWKS, a single JWK, `{kid: pem}` or a bare PEM. What is no key for verifying RS256 is passed
 * over. Undefined where the text is none of these, so that a server's error page is not taken for a set without keys.
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

/** Not a key that is published for something else. */
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
