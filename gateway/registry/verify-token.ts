import { hash } from "node:crypto";
import { errors, jwtVerify } from "jose";
import NodeCache from "node-cache";
import type { Clock } from "../../clock.ts";
import { Fault } from "../../fault.ts";
import type { KeySet } from "./key-set.ts";

/** One entry of a token's `access`: what may be done with one thing. */
export type Access = { type: string; name: string; actions: readonly string[] };

/** A token that was found good. Without `access` it is good for everything. */
export type Granted = { subject: string; access: readonly Access[] | undefined };

/** Faults: TOKEN_INVALID; those of the keys and the issuer where neither is known and nobody can be asked. */
export type VerifyToken = (token: string) => Granted | Promise<Granted>;

export type VerifyParts = {
  keys: KeySet;
  /** Who signs tokens; asked for each one that is not remembered. Undefined: any. */
  issuer(): string | undefined | Promise<string>;
  /** For whom they must be. */
  audience: string;
  clock: Clock;
};

/** No token is longer; what is, costs nothing more than its length. */
const LONGEST_TOKEN = 16_384;
/** As every signed token looks. */
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/;
const LEEWAY_SECONDS = 60;
const MOST_REMEMBERED = 10_000;

type Remembered = { granted: Granted; version: number; until: number };

/**
 * Verifies tokens of `{identity}/docker/token`. The algorithm is ours to say, keys come from the key set alone: what a token says of either,
 * beyond the name of its key, is not looked at.
 */
export function openVerifyToken({ keys, issuer, audience, clock }: VerifyParts): { verify: VerifyToken; close(): void } {
  const remembered = new NodeCache({ useClones: false, stdTTL: 3_600, maxKeys: MOST_REMEMBERED });

  const judge = async (token: string, digest: string): Promise<Granted> => {
    // As it was before: a key that goes while this goes on is noticed by the next look.
    const version = await keys.version();
    const expected = await issuer();
    const { payload } = await jwtVerify(token, async ({ kid }) => keyOf(await keys.find(kid)), {
      algorithms: ["RS256"],
      ...(expected === undefined ? {} : { issuer: withSlash(expected) }),
      audience,
      requiredClaims: ["exp", "iss", "aud"],
      clockTolerance: LEEWAY_SECONDS,
      currentDate: new Date(clock.now()),
    }).catch((cause: unknown) => {
      throw cause instanceof errors.JOSEError ? new Fault("TOKEN_INVALID", sentenceOf(cause), { cause }) : cause;
    });
    if (payload["lim"] !== "docker") throw new Fault("TOKEN_INVALID", "The token is not for a registry");
    const granted: Granted = { subject: payload.sub ?? "", access: readAccess(payload["access"]) };
    if (remembered.getStats().keys >= MOST_REMEMBERED) remembered.flushAll();
    remembered.set(digest, { granted, version, until: (payload.exp ?? 0) * 1_000 } satisfies Remembered);
    return granted;
  };

  return {
    verify: (token) => {
      if (token.length > LONGEST_TOKEN) throw new Fault("TOKEN_INVALID", "The token is longer than any token is");
      // The one for who only reads, for instance: nobody has to be asked about it.
      if (!COMPACT.test(token)) throw new Fault("TOKEN_INVALID", "This token lets nobody do more than read; sign in first");
      const digest = hash("sha256", token);
      const found = remembered.get<Remembered>(digest);
      if (found === undefined) return judge(token, digest);
      const recall = (version: number) => (found.version === version && clock.now() < found.until ? found.granted : judge(token, digest));
      const version = keys.version();
      return typeof version === "number" ? recall(version) : version.then(recall);
    },
    close: () => remembered.close(),
  };
}

export function allows({ access }: Granted, repository: string, action: string): boolean {
  if (access === undefined) return true;
  return access.some((one) => one.type === "repository" && one.name === repository && (one.actions.includes(action) || one.actions.includes("*")));
}

function readAccess(access: unknown): readonly Access[] | undefined {
  if (access === undefined) return undefined;
  if (Array.isArray(access) && access.every(isAccess)) return access;
  throw new Fault("TOKEN_INVALID", "What the token allows cannot be read");
}

function isAccess(one: unknown): one is Access {
  if (typeof one !== "object" || one === null) return false;
  const { type, name, actions } = one as Partial<Access>;
  return typeof type === "string" && typeof name === "string" && Array.isArray(actions) && actions.every((action) => typeof action === "string");
}

function keyOf<Key>(found: Key | undefined): Key {
  if (found === undefined) throw new errors.JWKSNoMatchingKey();
  return found;
}

/** And without: people write both. */
function withSlash(issuer: string): string[] {
  const bare = issuer.replace(/\/+$/, "");
  return [bare, `${bare}/`];
}

/** By what is wrong with it; jose's own sentences are for programmers. */
const SENTENCES: Record<string, string> = {
  ERR_JWT_EXPIRED: "The token has expired; sign in again",
  ERR_JWKS_NO_MATCHING_KEY: "The token is signed with a key that nobody publishes",
  ERR_JWS_SIGNATURE_VERIFICATION_FAILED: "The token's signature is not valid",
};

function sentenceOf(error: errors.JOSEError): string {
  if (error instanceof errors.JWTClaimValidationFailed) return `The token's claim "${error.claim}" is not as it must be`;
  return SENTENCES[error.code] ?? "The token is not valid";
}
