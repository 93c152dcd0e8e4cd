import { SignJWT } from "jose";
import { randomUUID } from "node:crypto";
import type { Clock } from "../../lib/clock.ts";
import { SIGNING_ALGORITHM, type SigningKeys } from "./signing-keys.ts";

type SignerDeps = { signingKeys: Pick<SigningKeys, "signer">; clock: Clock };
type ServiceTokenClaims = { issuer: string | undefined; audience: string };

/** Each call to a spawner has its own token: long enough for clock differences and a retry. */
const SPAWNER_TOKEN_SECONDS = 300;

/** Signs that this server calls a spawner. Nothing is stored. Faults: CREDENTIALS_UNREADABLE. */
export function spawnerToken(deps: SignerDeps, claims: ServiceTokenClaims): Promise<string> {
  return sign(deps, { ...claims, limit: "spawner", subject: "berth", seconds: SPAWNER_TOKEN_SECONDS });
}

/** What RabbitMQ grants to a token: everything in every virtual host, but no administration. It ignores a scope that does not begin with its own id, the audience. */
const QUEUE_RIGHTS = ["configure", "read", "write"];

/** For a container that connects to the queue: the token is its password, and `service`, the subject, its user name there. Faults: CREDENTIALS_UNREADABLE. */
export function queueToken(deps: SignerDeps, claims: ServiceTokenClaims & { service: string; seconds: number }): Promise<string> {
  const { service, ...others } = claims;
  const scope = QUEUE_RIGHTS.map((right) => `${claims.audience}.${right}:*/*`).join(" ");
  return sign(deps, { ...others, limit: "queue", subject: service, scope });
}

/** For a container that connects to the pipe: the token is its key there. Faults: CREDENTIALS_UNREADABLE. */
export function pipeToken(deps: SignerDeps, claims: ServiceTokenClaims & { service: string; seconds: number }): Promise<string> {
  const { service, ...others } = claims;
  return sign(deps, { ...others, limit: "pipe", subject: service });
}

/** `limit` marks the one service at which a token is valid, so that another that trusts the same keys refuses it. */
async function sign(
  { signingKeys, clock }: SignerDeps,
  claims: ServiceTokenClaims & { limit: string; subject: string; seconds: number; scope?: string },
): Promise<string> {
  const { kid, key } = await signingKeys.signer();
  const issuedAt = Math.floor(clock.now() / 1_000);
  const unsigned = new SignJWT({ lim: claims.limit, ...(claims.scope === undefined ? {} : { scope: claims.scope }) })
    .setProtectedHeader({ alg: SIGNING_ALGORITHM, typ: "JWT", kid })
    .setAudience(claims.audience)
    .setSubject(claims.subject)
    .setIssuedAt(issuedAt)
    .setNotBefore(issuedAt)
    .setExpirationTime(issuedAt + claims.seconds)
    .setJti(randomUUID());
  if (claims.issuer !== undefined) unsigned.setIssuer(claims.issuer);
  return unsigned.sign(key);
}
