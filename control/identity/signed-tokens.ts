import { SignJWT } from "jose";
import { randomUUID } from "node:crypto";
import type { Clock } from "../../lib/clock.ts";
import type { DockerScope } from "./docker-scopes.ts";
import { SIGNING_ALGORITHM, type SigningKeys, TOKEN_SECONDS } from "./signing-keys.ts";

/** A token as docker reads it; the two names are of two generations of clients. */
export type DockerToken = { token: string; access_token: string; expires_in: number; issued_at: string };

export type DockerTokenClaims = {
  issuer: string;
  /** The registry's name for itself, as its challenge said it; undefined where the client told none. */
  audience: string | undefined;
  login: string;
  access: DockerScope[];
};

/** Marks a token that is good at the registry and nowhere else. */
const LIMIT = "docker";
/** For clients that insist on a token where none is needed. It is no JWT, and grants nothing. */
const ANONYMOUS = "anonymous";

/** Signs what a user may do at the registry; nothing about it is kept. Faults: CREDENTIALS_UNREADABLE. */
export async function dockerToken(parts: { signingKeys: Pick<SigningKeys, "signer">; clock: Clock }, wish: DockerTokenClaims): Promise<DockerToken> {
  const { kid, key } = await parts.signingKeys.signer();
  const issuedAt = Math.floor(parts.clock.now() / 1_000);
  const unsigned = new SignJWT({ lim: LIMIT, access: wish.access })
    .setProtectedHeader({ alg: SIGNING_ALGORITHM, typ: "JWT", kid })
    .setIssuer(wish.issuer)
    .setSubject(wish.login)
    .setIssuedAt(issuedAt)
    .setNotBefore(issuedAt)
    .setExpirationTime(issuedAt + TOKEN_SECONDS)
    .setJti(randomUUID());
  if (wish.audience !== undefined) unsigned.setAudience(wish.audience);
  return answer(await unsigned.sign(key), issuedAt);
}

export function anonymousToken(clock: Clock): DockerToken {
  return answer(ANONYMOUS, Math.floor(clock.now() / 1_000));
}

function answer(token: string, issuedAt: number): DockerToken {
  return { token, access_token: token, expires_in: TOKEN_SECONDS, issued_at: new Date(issuedAt * 1_000).toISOString() };
}
