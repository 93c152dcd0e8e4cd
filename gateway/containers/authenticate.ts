import { credentials, notSignedIn, type Credential } from "../../sign-in.ts";
import { Fault } from "../../fault.ts";
import type { Head } from "../decision.ts";
import type { Caller, Identity } from "../identity.ts";

/** The caller whom the first valid credential names. Faults: TOKEN_MISSING, TOKEN_INVALID, CONTROL_AWAY. */
export async function authenticate(identity: Identity, head: Head, signal: AbortSignal): Promise<{ caller: Caller; from: Credential["from"] }> {
  let away: unknown;
  for (const { token, from } of credentials(head.header)) {
    try {
      const caller = await identity.who(token, signal);
      if (caller !== undefined) return { caller, from };
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      away = error;
    }
  }
  throw away ?? notSignedIn(head.header);
}
