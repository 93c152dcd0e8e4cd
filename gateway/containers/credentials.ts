import { credentials, firstCredential, hasMoreCredentials, notSignedIn, type Credential } from "../../lib/sign-in.ts";
import { Fault } from "../../lib/fault.ts";
import type { Head, HeaderEdits, HeaderLine } from "../decision.ts";
import type { Caller, Identity } from "../contract.ts";
import { mapCookies, unquotedCookie } from "../../lib/cookies.ts";

/** `others`: the callers of further credentials that are sessions. `examined`: all credentials that were looked up. */
export type GatewayCaller = { caller: Caller; from: Credential["from"]; others: readonly Caller[]; examined: readonly string[] };

const NO_CALLERS: readonly Caller[] = [];
const NONE: readonly string[] = [];

/** Has the form of berth's session tokens: 256 bits in base64url. */
function isSessionShaped(token: string): boolean {
  return token.length === 43 && /^[\w-]+$/.test(token);
}

/** The caller of the first credential, if all relevant callers are cached; undefined: look them up. */
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
 * The caller of the first valid credential. Other credentials that may be sessions are looked up as well, because no container may receive the token of a
 * session. `client` is the sender's address. Faults: TOKEN_MISSING, TOKEN_INVALID, TOO_MANY_ATTEMPTS, CONTROL_AWAY.
 */
export async function authenticate(identity: Identity, head: Head, signal: AbortSignal, client?: string): Promise<GatewayCaller> {
  let first: Pick<GatewayCaller, "caller" | "from"> | undefined;
  let lastFault: Fault | undefined;
  let sessionFault: Fault | undefined;
  const others: Caller[] = [];
  const examined: string[] = [];
  for (const { token, from } of credentials(head.header)) {
    examined.push(token);
    if (first !== undefined && !isSessionShaped(token)) continue;
    try {
      const caller = await identity.find(token, signal, client);
      if (caller === undefined) continue;
      if (first !== undefined) others.push(caller);
      else first = { caller, from };
      // Tokens of a Datagrok server are forwarded unchanged.
      if (caller.derivedToken === undefined) break;
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      lastFault = error;
      if (isSessionShaped(token)) sessionFault = error;
    }
  }
  if (first === undefined) throw lastFault ?? notSignedIn(head.header);
  if (sessionFault !== undefined && first.caller.derivedToken !== undefined) throw sessionFault;
  return { ...first, others, examined };
}

/** Cookies of berth's consoles. A browser sends a host's cookies to all its ports; nothing behind the edge may receive them. */
export const CONSOLE_COOKIES: readonly string[] = ["berth-console", "berth-registry"];

/**
 * Replaces session tokens by derived tokens in `x-user-api-key`, `Authorization` and the cookies `auth`. Adds `x-user-api-key` if the client sent none.
 * Other credentials stay, except the cookies of consoles. Without derived tokens (in front of a Datagrok server) the caller's token is forwarded.
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
/** Index: a sum of `REMOVED`. */
const REMOVED_NAMES: readonly (readonly string[])[] = Array.from({ length: 8 }, (_, sum) => [
  ...(sum & REMOVED.authorization ? ["authorization"] : []),
  ...(sum & REMOVED.cookie ? ["cookie"] : []),
  ...(sum & REMOVED.key ? ["x-user-api-key"] : []),
]);

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
    // A request may have more credentials than are looked up: this one may be a session.
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
  // Usually the value ends with the token.
  return at + token.length === value.length ? value.slice(0, at) + derivedToken : value.replaceAll(token, derivedToken);
}
