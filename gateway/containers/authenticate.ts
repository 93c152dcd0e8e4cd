import { credentials, firstCredential, hasMoreCredentials, notSignedIn, type Credential } from "../../lib/sign-in.ts";
import { Fault } from "../../lib/fault.ts";
import type { Head } from "../decision.ts";
import type { Caller, Identity } from "../contract.ts";

/** `others`: who holds the request's further credentials, which are sessions as well. `judged`: all of its credentials that were looked at. */
export type SignedIn = { caller: Caller; from: Credential["from"]; others: readonly Caller[]; judged: readonly string[] };

const NO_CALLERS: readonly Caller[] = [];
const NONE: readonly string[] = [];

/** Whether it may be the token of a session of berth's: 256 bits in base64url. */
export function isSessionShaped(token: string): boolean {
  return token.length === 43 && /^[\w-]+$/.test(token);
}

/** The caller of the first credential, where all that matters is cached; undefined: unknown. */
export function knownCaller(identity: Identity, head: Head): SignedIn | undefined {
  const first = firstCredential(head.header);
  if (first === undefined) return undefined;
  const caller = identity.known(first.token);
  if (caller === undefined) return undefined;
  if (caller.derivedToken === undefined || !hasMoreCredentials(head.header, first.from))
    return { caller, from: first.from, others: NO_CALLERS, judged: NONE };
  const others: Caller[] = [];
  const judged: string[] = [];
  for (const { token } of credentials(head.header)) {
    judged.push(token);
    if (token === first.token || !isSessionShaped(token)) continue;
    const other = identity.known(token);
    if (other === undefined) return undefined;
    others.push(other);
  }
  return { caller, from: first.from, others, judged };
}

/**
 * The caller of the first valid credential; `client` is the sender's address. The callers of the others are looked up as well where they may be
 * sessions: no container is to have the token of one. Faults: TOKEN_MISSING, TOKEN_INVALID, TOO_MANY_ATTEMPTS, CONTROL_AWAY.
 */
export async function authenticate(identity: Identity, head: Head, signal: AbortSignal, client?: string): Promise<SignedIn> {
  let found: Pick<SignedIn, "caller" | "from"> | undefined;
  let away: unknown;
  let unjudged: unknown;
  const others: Caller[] = [];
  const judged: string[] = [];
  for (const { token, from } of credentials(head.header)) {
    judged.push(token);
    if (found !== undefined && !isSessionShaped(token)) continue;
    try {
      const caller = await identity.who(token, signal, client);
      if (caller === undefined) continue;
      if (found !== undefined) others.push(caller);
      else found = { caller, from };
      // A Datagrok server's tokens go on as they are.
      if (caller.derivedToken === undefined) break;
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      away = error;
      if (isSessionShaped(token)) unjudged = error;
    }
  }
  if (found === undefined) throw away ?? notSignedIn(head.header);
  if (unjudged !== undefined && found.caller.derivedToken !== undefined) throw unjudged;
  return { ...found, others, judged };
}
