import { Fault } from "./fault.ts";

/** What says who is calling. A browser sends a cookie unasked, whoever wrote the page, so that kind alone proves less. */
export type Credential = { token: string; from: "key" | "authorization" | "cookie" };

/** The value of a request's header by its lower-case name; repeated ones joined with `, `. */
export type HeaderOf = (name: string) => string | undefined;

/** Longer than any token, shorter than what would make hashing it worth an attack. */
const LONGEST_TOKEN = 4_096;

/**
 * The credentials of a request in the order in which they are tried: `x-user-api-key`, `Authorization`, cookie. The first one
 * that somebody holds counts; the others are not ours to judge, and travel on. One rule for the gateway and the API, so that
 * nobody is somebody else there than here.
 */
export function* credentials(header: HeaderOf): Generator<Credential, undefined> {
  const key = header("x-user-api-key")?.trim();
  if (isToken(key)) yield { token: key, from: "key" };
  const authorization = rawToken(header("authorization"));
  if (isToken(authorization) && authorization !== key) yield { token: authorization, from: "authorization" };
  for (const token of new Set(authCookies(header("cookie")))) {
    if (isToken(token) && token !== key && token !== authorization) yield { token, from: "cookie" };
  }
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
  const shown = [header("x-user-api-key"), header("authorization"), ...authCookies(header("cookie"))].some(Boolean);
  return shown
    ? new Fault("TOKEN_INVALID", "The session token is not valid, or no longer: sign in again")
    : new Fault("TOKEN_MISSING", "Sign in, or send a session token in Authorization or x-user-api-key");
}

/** A token may stand bare or after `Bearer`; any other scheme is for the container. */
function rawToken(value: string | undefined): string | undefined {
  const token = value?.trim();
  return token === undefined || !/\s/.test(token) ? token : /^bearer\s+(\S+)$/i.exec(token)?.[1];
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
