import { unquotedCookie } from "./cookies.ts";
import { Fault } from "./fault.ts";

/** What says who is calling. A browser sends a cookie unasked, whoever wrote the page, so that kind alone proves less. */
export type Credential = { token: string; from: "key" | "authorization" | "cookie" };

/** The value of a request's header by its lower-case name; repeated ones joined with `, `. */
export type HeaderOf = (name: string) => string | undefined;

/** Longer than any token, shorter than what would make hashing it worth an attack. */
const LONGEST_TOKEN = 4_096;

/** So many are tried of one request: each may be a question to the control plane, and 64 KiB of cookies hold thousands. */
const MOST_CREDENTIALS = 4;

/**
 * The credentials of a request in the order in which they are tried: `x-user-api-key`, `Authorization`, then each cookie `auth`; four
 * different ones at most. The first one that somebody holds counts; the others are not ours to judge, and travel on. One rule for the
 * gateway and the API, so that a request has the same caller at both.
 */
export function* credentials(header: HeaderOf): Generator<Credential, undefined> {
  const tried: string[] = [];
  const isNew = (token: string | undefined): token is string => isToken(token) && !tried.includes(token) && tried.push(token) > 0;
  const key = header("x-user-api-key")?.trim();
  if (isNew(key)) yield { token: key, from: "key" };
  const authorization = rawToken(header("authorization"));
  if (isNew(authorization)) yield { token: authorization, from: "authorization" };
  for (const token of authCookies(header("cookie"))) {
    if (tried.length === MOST_CREDENTIALS) return;
    if (isNew(token)) yield { token, from: "cookie" };
  }
}

/** Whether there is, or may be, another credential than the one that `firstCredential` found in `from`. */
export function hasMoreCredentials(header: HeaderOf, from: Credential["from"]): boolean {
  const cookie = header("cookie");
  const first = cookie === undefined ? -1 : cookie.indexOf("auth=");
  if (from === "cookie") return cookie !== undefined && cookie.indexOf("auth=", first + 1) !== -1;
  return first !== -1 || (from === "key" && header("authorization") !== undefined);
}

/** The first of them alone: for most requests that is all there is to look at. */
export function firstCredential(header: HeaderOf): Credential | undefined {
  const key = header("x-user-api-key")?.trim();
  if (isToken(key)) return { token: key, from: "key" };
  const authorization = rawToken(header("authorization"));
  if (isToken(authorization)) return { token: authorization, from: "authorization" };
  return credentials(header).next().value;
}

function isToken(token: string | undefined): token is string {
  return token !== undefined && token !== "" && token.length <= LONGEST_TOKEN;
}

/** Why a request of which no credential is valid is refused: it showed none at all, or none that anybody holds. */
export function notSignedIn(header: HeaderOf): Fault {
  const shown = [header("x-user-api-key"), header("authorization")].some(Boolean) || authCookies(header("cookie")).some(Boolean);
  return shown
    ? new Fault("TOKEN_INVALID", "The session token is not valid, or no longer: sign in again")
    : new Fault("TOKEN_MISSING", "Sign in, or send a session token in Authorization or x-user-api-key");
}

/** A token may stand bare or after `Bearer`; any other scheme is for the container. */
function rawToken(value: string | undefined): string | undefined {
  const token = value?.trim();
  return token === undefined || !/\s/.test(token) ? token : /^bearer\s+(\S+)$/i.exec(token)?.[1];
}

/** So many cookies `auth` are read, empty ones and the same ones too; a browser has one for each path and domain. */
const MOST_COOKIES = 16;

/** The values of the cookies `auth`, in order. Read one after another: a caller that has enough of them does not read the rest. */
function* authCookies(header: string | undefined): Generator<string, undefined> {
  if (header === undefined) return;
  for (let at = 0, read = 0; at < header.length && read < MOST_COOKIES;) {
    const semicolon = header.indexOf(";", at);
    const end = semicolon === -1 ? header.length : semicolon;
    const pair = header.slice(at, end).trim();
    if (pair.startsWith("auth=")) {
      read++;
      yield unquotedCookie(pair.slice("auth=".length));
    }
    at = end + 1;
  }
}
