import type { IncomingHttpHeaders } from "node:http";
import { Fault } from "../../fault.ts";
import type { WhoAnswer } from "../../gateway/wire.ts";

export type CredentialKind = "key" | "authorization" | "cookie";
export type Credential = { kind: CredentialKind; token: string };
/** Someone who is signed in, and by which of the credentials. A browser sends a cookie by itself, so that kind proves less. */
export type SignedIn = WhoAnswer & { by: CredentialKind };

/** The credentials of a request, in the order in which they are tried. */
export function readCredentials(headers: IncomingHttpHeaders): Credential[] {
  const found: Credential[] = [];
  const key = headers["x-user-api-key"];
  if (typeof key === "string" && key !== "") found.push({ kind: "key", token: key });
  const authorization = headers.authorization?.replace(/^bearer\s+/i, "").trim();
  if (authorization) found.push({ kind: "authorization", token: authorization });
  const cookie = readAuthCookie(headers.cookie);
  if (cookie) found.push({ kind: "cookie", token: cookie });
  return found;
}

/** The first valid one counts. Faults: TOKEN_MISSING, TOKEN_INVALID. */
export function signIn(headers: IncomingHttpHeaders, who: (token: string) => WhoAnswer | undefined): SignedIn {
  const credentials = readCredentials(headers);
  for (const { kind, token } of credentials) {
    const caller = who(token);
    if (caller) return { ...caller, by: kind };
  }
  if (credentials.length === 0) throw new Fault("TOKEN_MISSING", "Sign in first: no token was sent.");
  throw new Fault("TOKEN_INVALID", "The session is not valid, or no longer. Sign in again.");
}

/** `Authorization: Dev <key>`. */
export function readDevKey(authorization: string | undefined): string | undefined {
  return /^dev\s+(\S+)\s*$/i.exec(authorization ?? "")?.[1];
}

function readAuthCookie(header: string | undefined): string | undefined {
  for (const pair of header?.split(";") ?? []) {
    const at = pair.indexOf("=");
    if (at < 0 || pair.slice(0, at).trim() !== "auth") continue;
    const value = pair
      .slice(at + 1)
      .trim()
      .replace(/^"(.*)"$/, "$1");
    try {
      return decodeURIComponent(value);
    } catch {
      return value;
    }
  }
  return undefined;
}
