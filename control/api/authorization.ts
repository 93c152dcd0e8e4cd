import type { FastifyRequest } from "fastify";
import { isSafe, pageOf } from "../../lib/browser-requests.ts";
import { cookieValues } from "../../lib/cookies.ts";
import { Fault } from "../../lib/fault.ts";
import { type HeaderOf, credentials, type Credential, isJobToken, notSignedIn } from "../../lib/sign-in.ts";
import { CLIENT_ADDRESS_HEADER, CONSOLE_HEADER, type CallerReply } from "../../gateway/contract.ts";
import type { SignInAttempts } from "../identity/attempts.ts";
import { type JobGrant, requirePublish } from "../identity/trusted-publishers.ts";
import type { User } from "../model/entities.ts";
import type { ApiDeps } from "./api-deps.ts";
import type { IncomingHttpHeaders } from "node:http";

export type Authorization = {
  /** For every request: refuses it unless its caller may use the route. Faults: TOKEN_MISSING, TOKEN_INVALID, ORIGIN_NOT_PERMITTED, NOT_PERMITTED. */
  authorize(request: FastifyRequest): Promise<void>;
  /** The caller of a request to a route for `session`, `account` or `admin`. */
  caller(request: FastifyRequest): ApiCaller;
  /** Whether the credential of the request would still be accepted. */
  isStillSignedIn(request: FastifyRequest): Promise<boolean>;
  /** The user who signed in by the request, although none of its credentials names the user; for the audit log. */
  recordSignIn(request: FastifyRequest, actor: Actor): void;
  /** The user who makes the request, as far as its credentials are known by now; for the audit log. */
  actor(request: FastifyRequest): Actor | undefined;
  /**
   * The user of a developer key: of `key`, which is from the path, or of the one in `Authorization: Dev`. Without a key, the user of the session; `admin` then
   * requires that the session has administration. Faults: DEV_KEY_INVALID, TOO_MANY_ATTEMPTS too.
   */
  developer(request: FastifyRequest, key: string | undefined): Promise<User>;
  /**
   * The user who publishes a package: that of a job's token for this package, else that of `developer`. `key`: from the path. Faults: NOT_PERMITTED, and those
   * of `developer`.
   */
  publisher(request: FastifyRequest, key: string | undefined, packageName: string): Promise<User>;
  /** What the token of a CI job allows; it is the actor of the request from now on. Faults: TOKEN_INVALID. */
  job(request: FastifyRequest, token: string): Promise<JobGrant>;
  /** Calls `use` with the developer key of a request. After too many wrong keys, a client waits. Faults: DEV_KEY_INVALID, TOO_MANY_ATTEMPTS. */
  withDevKey<R>(request: FastifyRequest, key: string | undefined, use: (key: string) => Promise<R>): Promise<R>;
};

/** `by`: the credential; `oidc`: the sign-in provider named the user; or the trusted publisher and its job. */
export type Actor = Pick<ApiCaller, "userId" | "login"> & { by: string };

type AuthorizationDeps = Pick<ApiDeps, "identity" | "store" | "settings"> & { attempts: SignInAttempts; pages: readonly string[] };

/**
 * Each request shows its own credential; what a proxy says about the caller is ignored. `pages` are the other origins whose pages may change something with a
 * cookie.
 */
export function createAuthorization({ identity, store, attempts, pages, settings }: AuthorizationDeps): Authorization {
  const consolePages = settings.console?.url === undefined ? [] : [new URL(settings.console.url).origin];
  const callers = new WeakMap<FastifyRequest, ApiCaller>();
  const byKey = new WeakMap<FastifyRequest, Actor>();

  const authorizeSession = async (request: FastifyRequest): Promise<ApiCaller> => {
    const key = parseDevKey(request.headers.authorization);
    if (key !== undefined) return authorizeKey(request, key);
    const header = headerOf(request.headers);
    const caller = await (isAtConsole(request) ? authorizeAtConsole(header) : authenticate(header, identity.who));
    const mutates = request.routeOptions.config.mutates ?? !isSafe(request.method);
    // A browser may send a GET without a header about its page, so a missing header proves nothing. And some GETs start and stop containers.
    const page = pageOf(header, isAtConsole(request) ? consolePages : pages);
    if (caller.by === "cookie" && mutates && page !== "own" && page !== "permitted")
      throw new Fault("ORIGIN_NOT_PERMITTED", "Neither a page of another origin nor a link outside of pages may do this with the browser's cookie.");
    callers.set(request, caller);
    return caller;
  };

  /** The console's cookie is valid for the console's own pages only. The edge's cookie is not valid there. */
  const authorizeAtConsole = async (header: HeaderOf): Promise<ApiCaller> => {
    const token = consoleToken(header);
    const caller = token === undefined ? undefined : await identity.who(token, "console");
    // Only a session of the console has no token for containers.
    if (token === undefined || caller === undefined || caller.derivedToken !== undefined)
      return authenticate((name) => (name === "cookie" ? undefined : header(name)), identity.who);
    if (!["own", "permitted", "none"].includes(pageOf(header, consolePages)))
      throw new Fault("ORIGIN_NOT_PERMITTED", "Only the console's own pages may use its cookie; BERTH_CONSOLE_URL names its public address.");
    return { ...caller, by: "cookie", token };
  };

  const job: Authorization["job"] = async (request, token) => {
    const grant = await identity.publishers.grantOf(token);
    if (!grant)
      throw new Fault(
        "TOKEN_INVALID",
        "The token of this CI job is not valid, or no longer: exchange the job's identity token, as berth login --ci does.",
      );
    const { user, publisher } = grant;
    byKey.set(request, { userId: user.id, login: user.login, by: `trusted publisher ${publisher.name}: ${grant.job}` });
    return grant;
  };

  /** A route for publishers takes a job's token too. Every other route refuses it, since it is neither a key nor a session. */
  const authorizePublisher = async (request: FastifyRequest): Promise<void> => {
    const token = jobTokenOf(request);
    if (token === undefined) return void (await authorizeSession(request));
    const grant = await job(request, token);
    callers.set(request, { userId: grant.user.id, login: grant.user.login, admin: false, by: "job", token: undefined, job: grant });
  };

  const authorizeKey = async (request: FastifyRequest, key: string): Promise<ApiCaller> => {
    const { id, login, admin } = await withDevKey(request, key, identity.userOfDevKey);
    const caller = { userId: id, login, admin, ref: identity.refOfDevKey(key), by: "devKey", token: undefined } as const;
    callers.set(request, caller);
    return caller;
  };

  /** Called before the route changes anything: a user may revoke the key of the request itself. */
  const holderOf = async (key: string): Promise<Actor | undefined> => {
    try {
      const { id, login } = await identity.userOfDevKey(key);
      return { userId: id, login, by: "devKey" };
    } catch (error) {
      // Some clients send the token of a session as a key.
      if (error instanceof Fault) return undefined;
      throw error;
    }
  };

  const withDevKey: Authorization["withDevKey"] = async (request, key, use) => {
    const peer = clientAddress(request);
    attempts.check(peer, key);
    try {
      if (key === undefined) throw new Fault("DEV_KEY_INVALID", "The developer key is missing: send Authorization: Dev <key>.");
      const actor = await holderOf(key);
      if (actor) byKey.set(request, actor);
      const result = await use(key);
      attempts.succeeded(peer, key);
      return result;
    } catch (error) {
      if (key !== undefined && error instanceof Fault && error.code === "DEV_KEY_INVALID") attempts.failed(peer);
      throw error;
    }
  };

  const authorizeAdmin = async (request: FastifyRequest): Promise<void> => {
    const { admin, userId } = await authorizeSession(request);
    if (admin) return;
    if ((await store.users.find(userId))?.admin !== true) throw new Fault("NOT_PERMITTED", "Only administrators may do this.");
    throw new Fault(
      "NOT_PERMITTED",
      "This session has no administration: show the developer key itself (Authorization: Dev <key>), or sign in with users/login/dev?administration=true.",
    );
  };

  const authorizeAccount = async (request: FastifyRequest): Promise<void> => {
    const { admin, by, derivedToken } = await authorizeSession(request);
    // Only a session of the console has no token for containers.
    if (admin || by === "devKey" || (isAtConsole(request) && derivedToken === undefined)) return;
    throw new Fault(
      "NOT_PERMITTED",
      "Pages and containers can use this session, so it cannot manage keys and sessions: use the console, or show the developer key itself (Authorization: Dev <key>).",
    );
  };

  const developer: Authorization["developer"] = async (request, key) => {
    const shown = key ?? parseDevKey(request.headers.authorization);
    if (shown !== undefined) return withDevKey(request, shown, identity.userOfDevKey);
    const { userId, admin } = await authorizeSession(request);
    const user = await store.users.find(userId);
    if (!user) throw new Fault("TOKEN_INVALID", "The user of this session no longer exists.");
    return { ...user, admin };
  };

  return {
    authorize: async (request) => {
      if (request.is404) return;
      const { authorize = "session" } = request.routeOptions.config;
      if (authorize === "session") await authorizeSession(request);
      if (authorize === "publisher") await authorizePublisher(request);
      if (authorize === "admin") await authorizeAdmin(request);
      if (authorize === "account") await authorizeAccount(request);
    },
    recordSignIn: (request, actor) => void byKey.set(request, actor),
    actor: (request) => byKey.get(request) ?? callers.get(request),
    caller: (request) => {
      const caller = callers.get(request);
      if (!caller) throw new Error(`${request.routeOptions.url} uses the caller, and does not authorize a session`);
      return caller;
    },
    isStillSignedIn: async (request) => {
      const { by, token } = callers.get(request) ?? {};
      if (by === "devKey") return (await holderOf(parseDevKey(request.headers.authorization) ?? "")) !== undefined;
      return token !== undefined && (await identity.who(token, isAtConsole(request) ? "console" : "edge")) !== undefined;
    },
    developer,
    publisher: async (request, key, packageName) => {
      const token = jobTokenOf(request, key);
      if (token === undefined) return developer(request, key);
      const grant = await job(request, token);
      requirePublish(grant, packageName);
      return grant.user;
    },
    job,
    withDevKey,
  };
}

/** The cookie of the console's session. Not `auth`: a browser sends a host's cookies to all its ports, and `auth` belongs to the edge. */
export const CONSOLE_COOKIE = "berth-console";

/** Whether the request came through the console's own listener, or its own host name. */
export function isAtConsole({ headers }: FastifyRequest): boolean {
  return headers[CONSOLE_HEADER] !== undefined;
}

/** Undefined: there is no such cookie, or more than one, since a page of another port may have added its own. */
function consoleToken(header: HeaderOf): string | undefined {
  const tokens = [...cookieValues(header("cookie"), CONSOLE_COOKIE)];
  return tokens.length === 1 ? tokens[0] : undefined;
}

/** The client's address, as the gateway reports it; undefined for a client of this user's own socket. */
export function clientAddress(request: FastifyRequest): string | undefined {
  return headerOf(request.headers)(CLIENT_ADDRESS_HEADER);
}

/**
 * A signed-in user and the kind of credential. `token` is that of the session; undefined for a developer key. `admin`: the credential has administration, which
 * a plain session of an administrator lacks. `job`: it is a CI job, which routes for publishers accept for what its publisher names.
 */
export type ApiCaller = CallerReply & { by: Credential["from"] | "devKey" | "job"; token: string | undefined; job?: JobGrant };

/** Reads headers for the rules that gateway and control share. */
export function headerOf(headers: IncomingHttpHeaders): HeaderOf {
  return (name) => {
    const value = headers[name];
    return Array.isArray(value) ? value.join(", ") : value;
  };
}

/** The first valid credential counts. Faults: TOKEN_MISSING, TOKEN_INVALID. */
export async function authenticate(header: HeaderOf, who: (token: string) => Promise<CallerReply | undefined>): Promise<ApiCaller> {
  for (const { from, token } of credentials(header)) {
    const caller = await who(token);
    if (caller) return { ...caller, by: from, token };
  }
  throw notSignedIn(header);
}

/** The token of a CI job, wherever clients send one: as a developer key, or as the bearer token that OAuth calls it. */
function jobTokenOf({ headers: { authorization } }: FastifyRequest, key?: string): string | undefined {
  const [, bearer] = /^bearer\s+(\S+)\s*$/i.exec(authorization ?? "") ?? [];
  return [key, parseDevKey(authorization), bearer].find((shown) => shown !== undefined && isJobToken(shown));
}

/** `Authorization: Dev <key>`. */
export function parseDevKey(authorization: string | undefined): string | undefined {
  return /^dev\s+(\S+)\s*$/i.exec(authorization ?? "")?.[1];
}
