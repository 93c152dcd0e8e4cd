import { CredentialHeaders, credentials, isOwnSessionToken, notSignedIn, type Credential } from "../../lib/sign-in.ts";
import { Fault } from "../../lib/fault.ts";
import type { Head, HeaderLine, HeadSpans } from "../decision.ts";
import type { Caller, Identity } from "../contract.ts";
import { mapCookies, unquotedCookie } from "../../lib/cookies.ts";
import { isReplicaCookie } from "./replicas.ts";
import { type CredentialEdits, keyLine, REMOVED_CREDENTIALS } from "../caller-edits.ts";

export type GatewayCaller = {
  caller: Caller;
  from: Credential["from"];
  edits: CredentialEdits;
};

/** All credentials of a request. `others`: the callers of further ones that are sessions. `examined`: those that were looked up. */
type CredentialContext = { headers: CredentialHeaders; others: readonly Caller[]; examined: readonly string[] };

const NO_CALLERS: readonly Caller[] = [];
const NONE: readonly string[] = [];
const BEARER = "Bearer ";

/** The caller of the first credential, if all relevant callers are cached; undefined: look them up. */
export function cachedCaller(identity: Identity, head: Head): GatewayCaller | undefined {
  return (head.spans && callerInBytes(identity, head.spans)) ?? callerInText(identity, head);
}

/** The caller of the only credential, in a usual form. */
function callerInBytes(identity: Identity, spans: HeadSpans): GatewayCaller | undefined {
  if (identity.cachedBytes === undefined || spans.hasHeader("cookie")) return undefined;
  const hasAuthorization = spans.hasHeader("authorization");
  const key = spans.headerSpan("x-user-api-key");
  if (key !== undefined) {
    if (hasAuthorization) return undefined;
    const caller = identity.cachedBytes(key.bytes, key.start, key.end);
    return caller?.edits && { caller, from: "key", edits: caller.edits.key };
  }
  if (!hasAuthorization || spans.hasHeader("x-user-api-key")) return undefined;
  const authorization = spans.headerSpan("authorization");
  if (authorization === undefined) return undefined;
  const { bytes, start, end } = authorization;
  const isBearer = isBearerAt(bytes, start);
  const caller = identity.cachedBytes(bytes, isBearer ? start + BEARER.length : start, end);
  return caller?.edits && { caller, from: "authorization", edits: isBearer ? caller.edits.bearer : caller.edits.authorization };
}

function isBearerAt(bytes: Uint8Array, start: number): boolean {
  for (let at = 0; at < BEARER.length; at++) if (bytes[start + at] !== BEARER.charCodeAt(at)) return false;
  return true;
}

function callerInText(identity: Identity, head: Head): GatewayCaller | undefined {
  const headers = new CredentialHeaders(head);
  const { token, from } = headers;
  if (token === undefined) return undefined;
  const caller = identity.cached(token);
  if (caller === undefined) return undefined;
  // Tokens of a Datagrok server are forwarded unchanged.
  if (caller.derivedToken !== undefined && headers.hasMore) return callerAmongOthers(identity, head, headers, caller);
  return { caller, from, edits: credentialEdits(caller, from, { headers, others: NO_CALLERS, examined: NONE }) };
}

function callerAmongOthers(identity: Identity, head: Head, headers: CredentialHeaders, caller: Caller): GatewayCaller | undefined {
  const others: Caller[] = [];
  const examined: string[] = [];
  for (const { token } of credentials((name) => head.header(name))) {
    examined.push(token);
    if (token === headers.token || !isOwnSessionToken(token)) continue;
    const other = identity.cached(token);
    if (other === undefined) return undefined;
    others.push(other);
  }
  return { caller, from: headers.from, edits: credentialEdits(caller, headers.from, { headers, others, examined }) };
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
  const header = (name: string) => head.header(name);
  for (const { token, from } of credentials(header)) {
    examined.push(token);
    if (first !== undefined && !isOwnSessionToken(token)) continue;
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
      if (isOwnSessionToken(token)) sessionFault = error;
    }
  }
  if (first === undefined) throw lastFault ?? notSignedIn(header);
  if (sessionFault !== undefined && first.caller.derivedToken !== undefined) throw sessionFault;
  return { ...first, edits: credentialEdits(first.caller, first.from, { headers: new CredentialHeaders(head), others, examined }) };
}

/** Cookies of berth's consoles. A browser sends a host's cookies to all its ports; nothing behind the edge may receive them. */
export const CONSOLE_COOKIES: readonly string[] = ["berth-console", "berth-registry"];
const CONSOLE_COOKIE_PREFIX = "berth-";

/**
 * Replaces session tokens by derived tokens in `x-user-api-key`, `Authorization` and the cookies `auth`. Adds `x-user-api-key` if the client sent none.
 * Other credentials stay, except the cookies of consoles. Without derived tokens (in front of a Datagrok server) the caller's token is forwarded.
 */
export function credentialEdits(caller: Caller, from: Credential["from"], { headers, others, examined }: CredentialContext): CredentialEdits {
  const { token, key, authorization, cookie } = headers;
  const { edits } = caller;
  if (edits !== undefined && cookie === undefined) {
    if (from === "key" && token === key && authorization === undefined) return edits.key;
    if (from === "authorization" && key === undefined && authorization !== undefined && token !== undefined) {
      if (token === authorization) return edits.authorization;
      if (authorization.length === BEARER.length + token.length && authorization.startsWith(BEARER)) return edits.bearer;
    }
  }
  const add: HeaderLine[] = [];
  let removed = 0;
  const authorizationToSend = authorization && withAllDerived(authorization, caller, others);
  if (authorization !== undefined && authorizationToSend !== authorization) {
    removed += REMOVED_CREDENTIALS.authorization;
    add.push(["Authorization", authorizationToSend ?? ""]);
  }
  const kept = cookie && cookiesToSend(cookie, caller, others, examined);
  if (kept !== cookie) {
    removed += REMOVED_CREDENTIALS.cookie;
    if (kept !== undefined && kept !== "") add.push(["Cookie", kept]);
  }
  if (key === undefined) add.push(keyLine(caller.derivedToken ?? caller.token));
  else {
    const keyToSend = withAllDerived(key, caller, others);
    if (keyToSend !== key) {
      removed += REMOVED_CREDENTIALS.key;
      add.push(["x-user-api-key", keyToSend]);
    }
  }
  return { removed, add };
}

export function withoutConsoleCookies(cookie: string): string {
  if (!cookie.includes(CONSOLE_COOKIE_PREFIX)) return cookie;
  return mapCookies(cookie, (name, value) => (CONSOLE_COOKIES.includes(name) || isReplicaCookie(name) ? undefined : value));
}

function cookiesToSend(cookie: string, caller: Caller, others: readonly Caller[], examined: readonly string[]): string {
  const own = withoutConsoleCookies(cookie);
  if (caller.derivedToken === undefined || !own.includes("auth")) return own;
  return mapCookies(own, (name, value) => {
    if (name !== "auth") return value;
    const token = unquotedCookie(value);
    const holder = token === caller.token ? caller : others.find((other) => other.token === token);
    if (holder !== undefined) return holder.derivedToken ?? value;
    // A request may have more credentials than are looked up: this one may be a session.
    return isOwnSessionToken(token) && !examined.includes(token) ? undefined : value;
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
