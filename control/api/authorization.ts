import type { FastifyRequest } from "fastify";
import { isSafe, pageOf } from "../../lib/browser-requests.ts";
import { mapCookies, unquotedCookie } from "../../lib/cookies.ts";
import { Fault } from "../../lib/fault.ts";
import { type HeaderOf, credentials, type Credential, notSignedIn } from "../../lib/sign-in.ts";
import { CLIENT_ADDRESS_HEADER, CONSOLE_HEADER, type WhoAnswer } from "../../gateway/contract.ts";
import type { SignInAttempts } from "../identity/attempts.ts";
import type { User } from "../model/entities.ts";
import type { ApiDeps } from "./api-deps.ts";
import type { IncomingHttpHeaders } from "node:http";

declare module "fastify" {
  interface FastifyContextConfig {
    /**
     * Who comes in: `session` (the default of a route) is any user who is signed in, or shows a developer key; `admin` an administrator, by a developer key or a
     * session with administration; of `itself` the handler takes care.
     */
    admits?: "anyone" | "session" | "admin" | "itself";
    /** A GET that changes something all the same. */
    mutates?: boolean;
  }
}

export type Authorization = {
  /** For every request: refuses who may not come in. Faults: TOKEN_MISSING, TOKEN_INVALID, ORIGIN_NOT_PERMITTED, NOT_PERMITTED. */
  authorize(request: FastifyRequest): void;
  /** Who makes a request that was admitted. */
  caller(request: FastifyRequest): AuthenticatedCaller;
  /** Whether what the request showed would still be admitted. */
  isStillSignedIn(request: FastifyRequest): boolean;
  /** Who it was that did something, as far as the request has shown it until now; for the audit log. */
  actor(request: FastifyRequest): Actor | undefined;
  /**
   * The user of a developer key, `key` from the address or the one in `Authorization: Dev`; without one, a session does, and `admin` requires that it has
   * administration. Faults: DEV_KEY_INVALID, TOO_MANY_ATTEMPTS too.
   */
  developer(request: FastifyRequest, key: string | undefined): User;
  /** `use` with the developer key that a request shows; who keeps showing wrong ones is not listened to for a while. Faults: DEV_KEY_INVALID, TOO_MANY_ATTEMPTS. */
  withDevKey<R>(request: FastifyRequest, key: string | undefined, use: (key: string) => R): R;
};

export type Actor = Pick<AuthenticatedCaller, "userId" | "login" | "by">;

type AuthorizationDeps = Pick<ApiDeps, "identity" | "store" | "settings"> & { attempts: SignInAttempts; pages: readonly string[] };

/**
 * Nothing that a proxy in front says about the caller is believed; each request shows its own credential. `pages` are the origins beside
 * its own whose pages may change something with a cookie.
 */
export function createAuthorization({ identity, store, attempts, pages, settings }: AuthorizationDeps): Authorization {
  const consolePages = settings.console?.url === undefined ? [] : [new URL(settings.console.url).origin];
  const callers = new WeakMap<FastifyRequest, AuthenticatedCaller>();
  const byKey = new WeakMap<FastifyRequest, Actor>();

  const admitSession = (request: FastifyRequest): AuthenticatedCaller => {
    const key = parseDevKey(request.headers.authorization);
    if (key !== undefined) return admitKey(request, key);
    const header = headerOf(request.headers);
    const caller = isAtConsole(request) ? admitAtConsole(header) : authenticate(header, identity.who);
    const mutates = request.routeOptions.config.mutates ?? !isSafe(request.method);
    // A browser may leave a GET without any word about the page, so here silence is no proof.
    if (!isAtConsole(request) && caller.by === "cookie" && mutates && !["own", "permitted"].includes(pageOf(header, pages))) {
      throw new Fault("ORIGIN_NOT_PERMITTED", "A page of another origin may not do this with the browser's cookie.");
    }
    callers.set(request, caller);
    return caller;
  };

  /** There a cookie is good for pages of the console's own alone, whatever they ask; the edge's cookie is not. */
  const admitAtConsole = (header: HeaderOf): AuthenticatedCaller => {
    const token = consoleToken(header);
    const caller = token === undefined ? undefined : identity.who(token, "console");
    // Only a session of the console's is given no token for containers.
    if (token === undefined || caller === undefined || caller.derivedToken !== undefined)
      return authenticate((name) => (name === "cookie" ? undefined : header(name)), identity.who);
    if (!["own", "permitted"].includes(pageOf(header, consolePages)))
      throw new Fault("ORIGIN_NOT_PERMITTED", "Only the console's own pages may use its cookie; BERTH_CONSOLE_URL names its public address.");
    return { ...caller, by: "cookie", token };
  };

  const admitKey = (request: FastifyRequest, key: string): AuthenticatedCaller => {
    const { id, login, admin } = withKey(request, key, identity.userOfDevKey);
    const caller = { userId: id, login, admin, ref: identity.refOfDevKey(key), by: "devKey", token: undefined } as const;
    callers.set(request, caller);
    return caller;
  };

  /** Before anything is done: who revokes the very key that is shown was its holder. */
  const holderOf = (key: string): Actor | undefined => {
    try {
      const { id, login } = identity.userOfDevKey(key);
      return { userId: id, login, by: "devKey" };
    } catch (error) {
      // Some take the token of a session in a key's place.
      if (error instanceof Fault) return undefined;
      throw error;
    }
  };

  const withKey: Authorization["withDevKey"] = (request, key, use) => {
    const peer = peerOf(request);
    attempts.check(peer, key);
    try {
      if (key === undefined) throw new Fault("DEV_KEY_INVALID", "A developer key is needed: Authorization: Dev <key>.");
      const result = use(key);
      attempts.succeeded(peer, key);
      const actor = holderOf(key);
      if (actor) byKey.set(request, actor);
      return result;
    } catch (error) {
      if (key !== undefined && error instanceof Fault && error.code === "DEV_KEY_INVALID") attempts.failed(peer);
      throw error;
    }
  };

  const admitAdmin = (request: FastifyRequest): void => {
    const { admin, userId } = callers.get(request) ?? admitSession(request);
    if (admin) return;
    if (store.users.find(userId)?.admin !== true) throw new Fault("NOT_PERMITTED", "Only administrators may do this.");
    throw new Fault(
      "NOT_PERMITTED",
      "This session has no administration: show the developer key itself (Authorization: Dev <key>), or sign in with users/login/dev?administration=true.",
    );
  };

  return {
    authorize: (request) => {
      if (request.is404) return;
      const admits = request.routeOptions.config.admits ?? "session";
      if (admits === "session") admitSession(request);
      if (admits === "admin") admitAdmin(request);
    },
    actor: (request) => byKey.get(request) ?? callers.get(request),
    caller: (request) => callers.get(request) ?? admitSession(request),
    isStillSignedIn: (request) => {
      const { by, token } = callers.get(request) ?? {};
      if (by === "devKey") return holderOf(parseDevKey(request.headers.authorization) ?? "") !== undefined;
      return token !== undefined && identity.who(token, isAtConsole(request) ? "console" : "edge") !== undefined;
    },
    developer: (request, key) => {
      const shown = key ?? parseDevKey(request.headers.authorization);
      if (shown !== undefined) return withKey(request, shown, identity.userOfDevKey);
      const { userId, admin } = admitSession(request);
      const user = store.users.find(userId);
      if (!user) throw new Fault("TOKEN_INVALID", "The session's user is gone.");
      return { ...user, admin };
    },
    withDevKey: withKey,
  };
}

/** The cookie of the console's session. Not `auth`: a browser sends a host's cookies to all of its ports, and that one is the edge's. */
export const CONSOLE_COOKIE = "berth-console";

/** Whether it came in at the console's own listener, or under its own host name. */
export function isAtConsole({ headers }: FastifyRequest): boolean {
  return headers[CONSOLE_HEADER] !== undefined;
}

/** Undefined where there is none, or more than one: another port's page may have added its own. */
function consoleToken(header: HeaderOf): string | undefined {
  const found: string[] = [];
  mapCookies(header("cookie") ?? "", (name, value) => {
    if (name === CONSOLE_COOKIE) found.push(unquotedCookie(value));
    return value;
  });
  return found.length === 1 ? found[0] : undefined;
}

/** The client's address, as the gateway tells it; undefined for who came without one, through the socket of this user. */
function peerOf(request: FastifyRequest): string | undefined {
  return headerOf(request.headers)(CLIENT_ADDRESS_HEADER);
}

/**
 * Someone who is signed in, and by which credential; `token` is that of the session, and undefined for a bare developer key. `admin`: whether this credential
 * has administration, which a plain session of an administrator has not.
 */
export type AuthenticatedCaller = WhoAnswer & { by: Credential["from"] | "devKey"; token: string | undefined };

/** The headers as the rules that the gateway shares read them. */
export function headerOf(headers: IncomingHttpHeaders): HeaderOf {
  return (name) => {
    const value = headers[name];
    return Array.isArray(value) ? value.join(", ") : value;
  };
}

/** The first valid one counts. Faults: TOKEN_MISSING, TOKEN_INVALID. */
export function authenticate(header: HeaderOf, who: (token: string) => WhoAnswer | undefined): AuthenticatedCaller {
  for (const { from, token } of credentials(header)) {
    const caller = who(token);
    if (caller) return { ...caller, by: from, token };
  }
  throw notSignedIn(header);
}

/** `Authorization: Dev <key>`. */
export function parseDevKey(authorization: string | undefined): string | undefined {
  return /^dev\s+(\S+)\s*$/i.exec(authorization ?? "")?.[1];
}
