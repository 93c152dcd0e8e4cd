import { hash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import type { Clock } from "../../../lib/clock.ts";
import { Fault } from "../../../lib/fault.ts";
import { verifyToken, LONGEST_TOKEN } from "../../../lib/jwks/verify-token.ts";
import type { Signers } from "../../../lib/jwks/signers.ts";

/** Who may call: whoever shows the key, or a token that a Datagrok server has made for spawners. Faults: TOKEN_MISSING, TOKEN_INVALID, TOKEN_KEYS_UNKNOWN. */
export type Callers = { admit(headers: IncomingHttpHeaders): Promise<void> };

/** What marks a token of a server's own as one for spawners. Those for registries, which any user gets and names the audience of, are marked too. */
const LIMIT = "spawner";

/** `signers` is undefined where no server is set up whose tokens could be verified. */
export function openCallers(parts: { key: string; audience: string; signers: Signers | undefined; clock: Clock }): Callers {
  const { signers, audience, clock } = parts;
  const expected = hash("sha256", parts.key, "buffer");
  return {
    admit: async (headers) => {
      const shown = headers["x-api-key"];
      // Of hashes, which are of one length: what is compared then takes as long for any key.
      if (typeof shown === "string" && timingSafeEqual(hash("sha256", shown, "buffer"), expected)) return;
      const token = /^bearer\s+(\S+)\s*$/i.exec(headers.authorization ?? "")?.[1];
      if (token !== undefined) return admitToken(token);
      if (shown !== undefined) throw new Fault("TOKEN_INVALID", "The X-Api-Key is not this spawner's; see X_API_KEY.");
      throw new Fault("TOKEN_MISSING", "X-Api-Key is missing, or Authorization: Bearer with a token for this spawner.");
    },
  };

  async function admitToken(token: string): Promise<void> {
    if (!signers) throw new Fault("TOKEN_INVALID", "This spawner knows no server whose tokens it could verify: set DATAGROK_URL, or show X-Api-Key.");
    if (token.length > LONGEST_TOKEN) throw new Fault("TOKEN_INVALID", "The token is longer than any token is.");
    const { lim = LIMIT } = await verifyToken(token, { ...signers, audience, clock });
    if (lim !== LIMIT) throw new Fault("TOKEN_INVALID", "The token is for something else than a spawner.");
  }
}
