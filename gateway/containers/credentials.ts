import { Fault } from "../../fault.ts";
import type { Head } from "../decision.ts";
import type { Caller, Identity } from "../identity.ts";

/** What says who is calling. A cookie is sent by browsers unasked, so it alone calls for a look at `Origin`. */
export type Credential = { token: string; from: "key" | "authorization" | "cookie" };

/** Longer than any token, shorter than what would make hashing it worth an attack. */
const LONGEST_TOKEN = 4_096;

/** The credentials of a head in the order in which they count. */
export function credentials(head: Head): Credential[] {
  const found: Credential[] = [];
  const offer = (token: string | undefined, from: Credential["from"]) => {
    const known = token === undefined || token === "" || token.length > LONGEST_TOKEN || found.some((one) => one.token === token);
    if (!known) found.push({ token, from });
  };
  offer(head.header("x-user-api-key")?.trim(), "key");
  offer(rawToken(head.header("authorization")), "authorization");
  for (const token of authCookies(head.header("cookie"))) offer(token, "cookie");
  return found;
}

/** The caller whom the first valid credential names. Faults: TOKEN_MISSING, TOKEN_INVALID, CONTROL_AWAY. */
export async function authenticate(identity: Identity, head: Head, signal: AbortSignal): Promise<{ caller: Caller; from: Credential["from"] }> {
  let away: unknown;
  const offered = credentials(head);
  for (const { token, from } of offered) {
    try {
      const caller = await identity.who(token, signal);
      if (caller !== undefined) return { caller, from };
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      away = error;
    }
  }
  if (away !== undefined) throw away;
  if (offered.length === 0 && head.header("authorization") === undefined) {
    throw new Fault("TOKEN_MISSING", "Sign in, or send a session token in Authorization or x-user-api-key");
  }
  throw new Fault("TOKEN_INVALID", "The session token is not valid or has expired");
}

/** A token may stand bare or after `Bearer`; any other scheme is for the container. */
function rawToken(value: string | undefined): string | undefined {
  const token = value?.trim().replace(/^bearer\s+/i, "");
  return token === undefined || /\s/.test(token) ? undefined : token;
}

function authCookies(header: string | undefined): string[] {
  if (header === undefined) return [];
  return header
    .split(";")
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith("auth="))
    .map((pair) => decoded(pair.slice("auth=".length).replace(/^"(.*)"$/, "$1")));
}

function decoded(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
