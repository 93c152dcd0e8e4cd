import type { IncomingHttpHeaders } from "node:http";
import { credentials, type Credential, type HeaderOf, notSignedIn } from "../../lib/sign-in.ts";
import type { WhoAnswer } from "../../gateway/contract.ts";

/**
 * Someone who is signed in, and by which credential; `token` is that of the session, and undefined for a bare developer key. `admin`: whether this credential
 * has administration, which a plain session of an administrator has not.
 */
export type SignedIn = WhoAnswer & { by: Credential["from"] | "devKey"; token: string | undefined };

/** The headers as the rules that the gateway shares read them. */
export function headerOf(headers: IncomingHttpHeaders): HeaderOf {
  return (name) => {
    const value = headers[name];
    return Array.isArray(value) ? value.join(", ") : value;
  };
}

/** The first valid one counts. Faults: TOKEN_MISSING, TOKEN_INVALID. */
export function signIn(header: HeaderOf, who: (token: string) => WhoAnswer | undefined): SignedIn {
  for (const { from, token } of credentials(header)) {
    const caller = who(token);
    if (caller) return { ...caller, by: from, token };
  }
  throw notSignedIn(header);
}

/** `Authorization: Dev <key>`. */
export function readDevKey(authorization: string | undefined): string | undefined {
  return /^dev\s+(\S+)\s*$/i.exec(authorization ?? "")?.[1];
}
