import { CLASS, consistsOf, startsIgnoringCase } from "./character-classes.ts";
import { cookieValues } from "./cookies.ts";
import { Fault } from "./fault.ts";

/** A credential of the caller. A browser sends a cookie with the requests of any page, so a cookie alone proves less. */
export type Credential = { token: string; from: "key" | "authorization" | "cookie" };

/** The value of a request's header by its lower-case name; repeated ones joined with `, `. */
export type HeaderOf = (name: string) => string | undefined;

/** Longer than any token, and short enough to hash. */
const LONGEST_TOKEN = 4_096;

/** The most credentials of one request: each may cost a lookup at control, and 64 KiB of cookies have thousands. */
const MOST_CREDENTIALS = 4;

/**
 * The credentials of a request in the order in which they are tried: `x-user-api-key`, `Authorization`, then each cookie `auth`; four different ones at
 * most. The first valid one counts; the others are forwarded. The gateway and the API share this rule, so that a request has the same caller at both.
 */
export function* credentials(header: HeaderOf): Generator<Credential, undefined> {
  const tried: string[] = [];
  const isNew = (token: string | undefined): token is string => isToken(token) && !tried.includes(token) && tried.push(token) > 0;
  const key = trimmed(header("x-user-api-key"));
  if (isNew(key)) yield { token: key, from: "key" };
  const authorization = rawToken(header("authorization"));
  if (isNew(authorization)) yield { token: authorization, from: "authorization" };
  for (const token of cookieValues(header("cookie"), "auth")) {
    if (tried.length === MOST_CREDENTIALS) return;
    if (isNew(token)) yield { token, from: "cookie" };
  }
}

/** The headers of a request that may have credentials, read once. */
export class CredentialHeaders {
  readonly key: string | undefined;
  readonly authorization: string | undefined;
  readonly cookie: string | undefined;
  /** Of the first credential: most requests need no more. Undefined without one. */
  readonly token: string | undefined;
  /** Where `token` is. */
  readonly from: Credential["from"];

  constructor(head: { header: HeaderOf }) {
    this.key = head.header("x-user-api-key");
    this.authorization = head.header("authorization");
    this.cookie = head.header("cookie");
    let token = trimmed(this.key);
    let from: Credential["from"] = "key";
    if (!isToken(token)) {
      token = rawToken(this.authorization);
      from = "authorization";
    }
    if (!isToken(token)) {
      token = firstAuthCookie(this.cookie);
      from = "cookie";
    }
    this.token = token;
    this.from = from;
  }

  /** Whether there is, or may be, another credential than `token`. */
  get hasMore(): boolean {
    const { cookie, from } = this;
    const first = cookie === undefined ? -1 : cookie.indexOf("auth=");
    if (from === "cookie") return cookie !== undefined && cookie.indexOf("auth=", first + 1) !== -1;
    return first !== -1 || (from === "key" && this.authorization !== undefined);
  }
}

function isToken(token: string | undefined): token is string {
  return token !== undefined && token !== "" && token.length <= LONGEST_TOKEN;
}

/** 32 random bytes in base64url are 43 characters. Later kinds of tokens may be longer. */
const SESSION_TOKEN_LENGTH = 43;
const MAX_SESSION_TOKEN_LENGTH = 512;

/** Whether a text can be the token of a session of berth's own: what cannot is no token, without a look into the store. */
export function isSessionToken(text: string): boolean {
  return text.length >= SESSION_TOKEN_LENGTH && text.length <= MAX_SESSION_TOKEN_LENGTH && consistsOf(text, CLASS.token);
}

/** Whether a text has the form of the session tokens that this version issues: 256 bits in base64url. */
export function isOwnSessionToken(text: string): boolean {
  return text.length === SESSION_TOKEN_LENGTH && consistsOf(text, CLASS.base64url);
}

/** Begins each token that a CI job received for its identity token: scanners for leaked secrets find it by this. */
export const JOB_TOKEN_PREFIX = "berth_job_";

export function isJobToken(text: string): boolean {
  return text.startsWith(JOB_TOKEN_PREFIX) && isOwnSessionToken(text.slice(JOB_TOKEN_PREFIX.length));
}

/** The fault of a request without a valid credential: it has none, or none that is valid. */
export function notSignedIn(header: HeaderOf): Fault {
  const hasCredential = [header("x-user-api-key"), header("authorization")].some(Boolean) || cookieValues(header("cookie"), "auth").some(Boolean);
  return hasCredential
    ? new Fault("TOKEN_INVALID", "The session token is not valid, or no longer: sign in again")
    : new Fault("TOKEN_MISSING", "Sign in, or send a session token in Authorization or x-user-api-key");
}

const BEARER = "bearer ";

/** A token alone or after `Bearer`; any other scheme is for the container. */
function rawToken(value: string | undefined): string | undefined {
  if (value === undefined || consistsOf(value, CLASS.visible)) return value;
  if (startsIgnoringCase(value, BEARER) && value.length > BEARER.length && consistsOf(value, CLASS.visible, BEARER.length))
    return value.slice(BEARER.length);
  // More spaces, or bytes beyond ASCII.
  const token = value.trim();
  return /\s/.test(token) ? /^bearer\s+(\S+)$/i.exec(token)?.[1] : token;
}

/** Without spaces around it, of which there are usually none. */
function trimmed(value: string | undefined): string | undefined {
  if (value === undefined || (consistsOf(value, CLASS.visible, 0, 1) && consistsOf(value, CLASS.visible, value.length - 1))) return value;
  return value.trim();
}

/** The first cookie `auth` that may be a token. */
function firstAuthCookie(header: string | undefined): string | undefined {
  // Most requests without another credential have no cookie, or none that could be `auth`.
  if (header === undefined || !header.includes("auth=")) return undefined;
  for (const token of cookieValues(header, "auth")) if (isToken(token)) return token;
  return undefined;
}
