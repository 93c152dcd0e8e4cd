import { SignJWT } from "jose";
import { randomUUID } from "node:crypto";
import type { Clock } from "../../lib/clock.ts";
import { SIGNING_ALGORITHM, type SigningKeys } from "./signing-keys.ts";

/** Each call to a spawner has a token of its own; long enough for clocks that differ, and for a retry. */
const TOKEN_SECONDS = 300;
/** Marks it as good at a spawner and nowhere else, as `docker` marks one for registries. */
const LIMIT = "spawner";

/** Signs that it is this server which asks a spawner; nothing about it is kept. Faults: CREDENTIALS_UNREADABLE. */
export async function spawnerToken(
  parts: { signingKeys: Pick<SigningKeys, "signer">; clock: Clock },
  wish: { issuer: string; audience: string },
): Promise<string> {
  const { kid, key } = await parts.signingKeys.signer();
  const issuedAt = Math.floor(parts.clock.now() / 1_000);
  return new SignJWT({ lim: LIMIT })
    .setProtectedHeader({ alg: SIGNING_ALGORITHM, typ: "JWT", kid })
    .setIssuer(wish.issuer)
    .setAudience(wish.audience)
    .setSubject("berth")
    .setIssuedAt(issuedAt)
    .setNotBefore(issuedAt)
    .setExpirationTime(issuedAt + TOKEN_SECONDS)
    .setJti(randomUUID())
    .sign(key);
}
