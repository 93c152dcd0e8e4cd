import { credentials, firstCredential, hasMoreCredentials, notSignedIn, type Credential } from "../../lib/sign-in.ts";
import { Fault } from "../../lib/fault.ts";
import type { Head, HeaderEdits, HeaderLine } from "../decision.ts";
import type { Caller, Identity } from "../contract.ts";
import { mapCookies, unquotedCookie } from "../../lib/cookies.ts";

/** `others`: who holds the request's further credentials, which are sessions as well. `examined`: all of its credentials that were looked at. */
export type GatewayCaller = { caller: Caller; from: Credential["from"]; others: readonly Caller[]; examined: readonly string[] };

const NO_CALLERS: readonly Caller[] = [];
const NONE: readonly string[] = [];

/** Whether it may be the token of a session of berth's: 256 bits in base64url. */
export function isSessionShaped(token: string): boolean {
  return token.length === 43 && /^[\w-]+$/.test(token);
}

/** The caller of the first credential, where all that matters is cached; undefined: unknown. */
export function cachedCaller(identity: Identity, head: Head): GatewayCaller | undefined {
  const first = firstCredential(head.header);
  if (first === undefined) return undefined;
  const caller = identity.cached(first.token);
  if (caller === undefined) return undefined;
  if (caller.derivedToken === undefined || !hasMoreCredentials(head.header, first.from))
    return { caller, from: first.from, others: NO_CALLERS, examined: NONE };
  const others: Caller[] = [];
  const examined: string[] = [];
  for (const { token } of credentials(head.header)) {
    examined.push(token);
    if (token === first.token || !isSessionShaped(token)) continue;
    const other = identity.cached(token);
    if (other === undefined) return undefined;
    others.push(other);
  }
  return { caller, from: first.from, others, examined };
}

/**
 * The caller of the first valid credential; `client` is the sender's address. The callers of the others are looked up as well where they may be
 * sessions: no container is to have the token of one. Faults: TOKEN_MISSING, TOKEN_INVALID, TOO_MANY_ATTEMPTS, CONTROL_AWAY.
 */
export async function authenticate(identity: Identity, head: Head, signal: AbortSignal, client?: string): Promise<GatewayCaller> {
  let found: Pick<GatewayCaller, "caller" | "from"> | undefined;
  let away: unknown;
  let unjudged: unknown;
  const others: Caller[] = [];
  const examined: string[] = [];
  for (const { token, from } of credentials(head.header)) {
    examined.push(token);
    if (found !== undefined && !isSessionShaped(token)) continue;
    try {
      const caller = await identity.find(token, signal, client);
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
  return { ...found, others, examined };
}

/** Cookies of berth's own consoles. A browser sends a host's cookies to all of its ports; nothing behind the edge is to have them. */
export const CONSOLE_COOKIES: readonly string[] = ["berth-console", "berth-registry"];

/**
 * The edits by which a container gets derived tokens in place of sessions' own, wherever those stand: in `x-user-api-key`, `Authorization` and the cookies `auth`. The
 * first of them is added as `x-user-api-key` where the caller set none. What is no session's token stays as it is, but for the consoles' cookies. Without derived
 * tokens (in front of a Datagrok server) the caller's own token goes on.
 */
export function credentialEdits({ header }: Head, who: GatewayCaller): HeaderEdits {
  const { caller, others } = who;
  const key = header("x-user-api-key");
  const authorization = header("authorization");
  const cookie = header("cookie");
  const add: HeaderLine[] = [];
  let removed = 0;
  const authorizationToSend = authorization && withAllDerived(authorization, caller, others);
  if (authorization !== undefined && authorizationToSend !== authorization) {
    removed += REMOVED.authorization;
    add.push(["Authorization", authorizationToSend ?? ""]);
  }
  const kept = cookie && cookiesToSend(cookie, who);
  if (kept !== cookie) {
    removed += REMOVED.cookie;
    if (kept !== undefined && kept !== "") add.push(["Cookie", kept]);
  }
  const keyToSend = key === undefined ? (caller.derivedToken ?? caller.token) : withAllDerived(key, caller, others);
  if (keyToSend !== key) {
    if (key !== undefined) removed += REMOVED.key;
    add.push(["x-user-api-key", keyToSend]);
  }
  return { remove: REMOVED_NAMES[removed] ?? [], add };
}

const REMOVED = { authorization: 1, cookie: 2, key: 4 } as const;
/** By the sum of `REMOVED`. */
const REMOVED_NAMES: readonly (readonly string[])[] = Array.from({ length: 8 }, (_, sum) => [
  ...(sum & REMOVED.authorization ? ["authorization"] : []),
  ...(sum & REMOVED.cookie ? ["cookie"] : []),
  ...(sum & REMOVED.key ? ["x-user-api-key"] : []),
]);

/** The cookies without those of berth's consoles. */
export function withoutConsoleCookies(cookie: string): string {
  if (!CONSOLE_COOKIES.some((name) => cookie.includes(name))) return cookie;
  return mapCookies(cookie, (name, value) => (CONSOLE_COOKIES.includes(name) ? undefined : value));
}

function cookiesToSend(cookie: string, { caller, others, examined }: Pick<GatewayCaller, "caller" | "others" | "examined">): string {
  const own = withoutConsoleCookies(cookie);
  if (caller.derivedToken === undefined || !own.includes("auth")) return own;
  return mapCookies(own, (name, value) => {
    if (name !== "auth") return value;
    const token = unquotedCookie(value);
    const holder = token === caller.token ? caller : others.find((other) => other.token === token);
    if (holder !== undefined) return holder.derivedToken ?? value;
    // There are more than are looked at, and this may be a session's token: it was not looked up.
    return isSessionShaped(token) && !examined.includes(token) ? undefined : value;
  });
}

function withAllDerived(value: string, caller: Caller, others: readonly Caller[]): string {
  let changed = withDerived(value, caller);
  for (const other of others) changed = withDerived(changed, other);
  return changed;
}

function withDerived(value: string, { token, derivedToken }: Caller): string {
  const at = derivedToken === undefined ? -1 : value.indexOf(token);
  if (derivedToken === undefined || at === -1) return value;
  // Mostly the token is the end of the value.
  return at + token.length === value.length ? value.slice(0, at) + derivedToken : value.replaceAll(token, derivedToken);
}
