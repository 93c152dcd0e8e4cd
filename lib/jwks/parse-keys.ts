import { parseReply } from "../parse-reply.ts";
import { createPublicKey, type KeyObject, type webcrypto } from "node:crypto";

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
