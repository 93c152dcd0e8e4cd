import { credentials, firstCredential, notSignedIn, type Credential } from "../../sign-in.ts";
import { Fault } from "../../fault.ts";
import type { Head } from "../decision.ts";
import type { Caller, Identity } from "../identity.ts";

export type SignedIn = { caller: Caller; from: Credential["from"] };

/** The caller whom the first credential names, where that is known without asking; undefined says nothing. */
export function knownCaller(identity: Identity, head: Head): SignedIn | undefined {
  const first = firstCredential(head.header);
  if (first === undefined) return undefined;
  const caller = identity.known(first.token);
  return caller && { caller, from: first.from };
}

/** The caller whom the first valid credential names; `client` is the address of who sent the request. Faults: TOKEN_MISSING, TOKEN_INVALID, CONTROL_AWAY. */
export async function authenticate(identity: Identity, head: Head, signal: AbortSignal, client?: string): Promise<SignedIn> {
  let away: unknown;
  for (const { token, from } of credentials(head.header)) {
    try {
      const caller = await identity.who(token, signal, client);
      if (caller !== undefined) return { caller, from };
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      away = error;
    }
  }
  throw away ?? notSignedIn(head.header);
}
