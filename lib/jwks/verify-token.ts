import { errors, type JWTPayload, jwtVerify } from "jose";
import type { Clock } from "../clock.ts";
import { Fault } from "../fault.ts";
import type { Signers } from "./signers.ts";
import { trimTrailing } from "../trim-trailing.ts";

const LEEWAY_SECONDS = 60;

/** Longer tokens are refused without verification. */
export const LONGEST_TOKEN = 16_384;

/**
 * The payload of a valid token for `audience`. The algorithm is fixed, and keys come from the key set: of the token's header only the key id counts.
 * Faults: TOKEN_INVALID; those of the keys and the issuer if they are neither cached nor available.
 */
export async function verifyToken(token: string, deps: Signers & { audience: string; clock: Clock }): Promise<JWTPayload> {
  const { keys, audience, clock } = deps;
  const expected = await deps.issuer();
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
  return payload;
}

function keyOf<Key>(key: Key | undefined): Key {
  if (key === undefined) throw new errors.JWKSNoMatchingKey();
  return key;
}

/** With and without a slash: both are in use. */
function withSlash(issuer: string): string[] {
  const bare = trimTrailing(issuer, "/");
  return [bare, `${bare}/`];
}

/** By jose's code; its own messages are for programmers. */
const SENTENCES: Record<string, string> = {
  ERR_JWT_EXPIRED: "The token has expired; sign in again",
  ERR_JWKS_NO_MATCHING_KEY: "The token is signed with a key that is not published",
  ERR_JWS_SIGNATURE_VERIFICATION_FAILED: "The token's signature is not valid",
};

function sentenceOf(error: errors.JOSEError): string {
  if (error instanceof errors.JWTClaimValidationFailed) return `The token's claim "${error.claim}" is not as it must be`;
  return SENTENCES[error.code] ?? "The token is not valid";
}
