import { hash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import type { Clock } from "../../../lib/clock.ts";
import { Fault } from "../../../lib/fault.ts";
import type { Signers } from "../../../lib/jwks/signers.ts";
import { verifyToken, LONGEST_TOKEN } from "../../../lib/jwks/verify-token.ts";

/** Authenticates callers: by the key, or by a token that a Datagrok server has made for spawners. Faults: TOKEN_MISSING, TOKEN_INVALID, TOKEN_KEYS_UNKNOWN. */
export type Callers = { admit(headers: IncomingHttpHeaders): Promise<void> };

/** Marks a token as one for spawners. A token for registries has another mark: any user gets one and chooses its audience. */
const LIMIT = "spawner";

type CallerDeps = { key: string; audience: string; signers: Signers | undefined; clock: Clock };

/** `signers` is undefined if no server is configured whose tokens could be verified. */
export function openCallers({ key, audience, signers, clock }: CallerDeps): Callers {
  const expected = hash("sha256", key, "buffer");
  return {
    admit: async (headers) => {
      const shown = headers["x-api-key"];
      // Hashes have one length, so that the comparison takes the same time for any key.
      if (typeof shown === "string" && timingSafeEqual(hash("sha256", shown, "buffer"), expected)) return;
      const token = /^bearer\s+(\S+)\s*$/i.exec(headers.authorization ?? "")?.[1];
      if (token !== undefined) return admitToken(token);
      if (shown !== undefined) throw new Fault("TOKEN_INVALID", "The X-Api-Key is not this spawner's; see X_API_KEY.");
      throw new Fault("TOKEN_MISSING", "X-Api-Key is missing, or Authorization: Bearer with a token for this spawner.");
    },
  };

  async function admitToken(token: string): Promise<void> {
    if (!signers) throw new Fault("TOKEN_INVALID", "This spawner has no server whose tokens it could verify: set DATAGROK_URL, or send X-Api-Key.");
    if (token.length > LONGEST_TOKEN) throw new Fault("TOKEN_INVALID", "The token is longer than any token is.");
    const { lim = LIMIT } = await verifyToken(token, { ...signers, audience, clock });
    if (lim !== LIMIT) throw new Fault("TOKEN_INVALID", "The token is not for a spawner.");
  }
}
