import { SignJWT } from "jose";
import { randomUUID } from "node:crypto";
import type { Clock } from "../../lib/clock.ts";
import type { DockerScope } from "./docker-scopes.ts";
import { SIGNING_ALGORITHM, type SigningKeys, TOKEN_SECONDS } from "./signing-keys.ts";

/** A token as docker reads it; the two names are of two generations of clients. */
export type DockerToken = { token: string; access_token: string; expires_in: number; issued_at: string };

export type DockerTokenClaims = {
  issuer: string;
  /** The registry, as its challenge names it; undefined: the client sent none. */
  audience: string | undefined;
  login: string;
  access: DockerScope[];
};

/** Marks a token that is valid at the registry only. */
const DOCKER_LIMIT = "docker";
/** For clients that require a token although none is needed. It is not a JWT, and grants nothing. */
const ANONYMOUS = "anonymous";

/** Signs the rights of a user at the registry. Nothing is stored. Faults: CREDENTIALS_UNREADABLE. */
export async function dockerToken(
  parts: { signingKeys: Pick<SigningKeys, "signer">; clock: Clock },
  claims: DockerTokenClaims,
): Promise<DockerToken> {
  const { kid, key } = await parts.signingKeys.signer();
  const issuedAt = Math.floor(parts.clock.now() / 1_000);
  const unsigned = new SignJWT({ lim: DOCKER_LIMIT, access: claims.access })
    .setProtectedHeader({ alg: SIGNING_ALGORITHM, typ: "JWT", kid })
    .setIssuer(claims.issuer)
    .setSubject(claims.login)
    .setIssuedAt(issuedAt)
    .setNotBefore(issuedAt)
    .setExpirationTime(issuedAt + TOKEN_SECONDS)
    .setJti(randomUUID());
  if (claims.audience !== undefined) unsigned.setAudience(claims.audience);
  return tokenResponse(await unsigned.sign(key), issuedAt);
}

export function anonymousToken(clock: Clock): DockerToken {
  return tokenResponse(ANONYMOUS, Math.floor(clock.now() / 1_000));
}

function tokenResponse(token: string, issuedAt: number): DockerToken {
  return { token, access_token: token, expires_in: TOKEN_SECONDS, issued_at: new Date(issuedAt * 1_000).toISOString() };
}

/** Each call to a spawner has its own token: long enough for clock differences and a retry. */
const SPAWNER_TOKEN_SECONDS = 300;
/** Marks a token that is valid at a spawner only. */
const SPAWNER_LIMIT = "spawner";

/** Signs that this server calls a spawner. Nothing is stored. Faults: CREDENTIALS_UNREADABLE. */
export async function spawnerToken(
  parts: { signingKeys: Pick<SigningKeys, "signer">; clock: Clock },
  claims: { issuer: string; audience: string },
): Promise<string> {
  const { kid, key } = await parts.signingKeys.signer();
  const issuedAt = Math.floor(parts.clock.now() / 1_000);
  return new SignJWT({ lim: SPAWNER_LIMIT })
    .setProtectedHeader({ alg: SIGNING_ALGORITHM, typ: "JWT", kid })
    .setIssuer(claims.issuer)
    .setAudience(claims.audience)
    .setSubject("berth")
    .setIssuedAt(issuedAt)
    .setNotBefore(issuedAt)
    .setExpirationTime(issuedAt + SPAWNER_TOKEN_SECONDS)
    .setJti(randomUUID())
    .sign(key);
}
