import { errors, type JWTPayload, jwtVerify } from "jose";
import type { Clock } from "../clock.ts";
import { Fault } from "../fault.ts";
import type { Signers } from "./signers.ts";
import { trimTrailing } from "../trim-trailing.ts";

const LEEWAY_SECONDS = 60;

/** No token is longer; what is, costs nothing more than its length. */
export const LONGEST_TOKEN = 16_384;

/**
 * What a token says, where it is good for `audience`. The algorithm is ours to say, keys come from the key set alone: what a token says of
 * either, beyond the name of its key, is not looked at. Faults: TOKEN_INVALID; those of the keys and the issuer where neither is known and
 * nobody can be asked.
 */
export async function verifyToken(token: string, parts: Signers & { audience: string; clock: Clock }): Promise<JWTPayload> {
  const { keys, audience, clock } = parts;
  const expected = await parts.issuer();
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

function keyOf<Key>(found: Key | undefined): Key {
  if (found === undefined) throw new errors.JWKSNoMatchingKey();
  return found;
}

/** And without: people write both. */
function withSlash(issuer: string): string[] {
  const bare = trimTrailing(issuer, "/");
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
