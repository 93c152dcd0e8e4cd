import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { openSigners } from "../../lib/jwks/open-signers.ts";
import type { IdentityServer } from "./identity-server.ts";
import { openVerifyToken, type VerifyToken } from "./verify-token.ts";

/** Verification with the keys and the issuer that the identity server has; neither is asked for before the first token comes. */
export function openVerification(parts: {
  identity: Pick<IdentityServer, "get" | "keys" | "anyIssuer">;
  /** Where unset, it is the identity server's own `webRoot`, or any where that has no other tokens. */
  issuer: string | undefined;
  audience: string;
  clock: Clock;
  log: Log;
}): { verify: VerifyToken; close(): void } {
  return openVerifyToken({ ...parts, ...openSigners({ ...parts, server: parts.identity }) });
}
