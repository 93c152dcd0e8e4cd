import type { FastifyReply, FastifyRequest } from "fastify";
import { isSafe, pageOf } from "../../../lib/browser-requests.ts";
import { cookieValues } from "../../../lib/cookies.ts";
import type { Clock } from "../../../lib/clock.ts";
import { Fault } from "../../../lib/fault.ts";
import type { CallerReply } from "../../../gateway/contract.ts";
import { clientAbortSignal } from "../../api/api-error.ts";
import { headerOf } from "../../api/authorization.ts";
import { type SignInAttempts, createSignInAttempts } from "../../identity/attempts.ts";
import { randomBytes } from "node:crypto";
import { tokenDigest } from "../../identity/sessions.ts";

/** The server that knows the users. Faults of both: DATAGROK_AWAY, DATAGROK_BROKE_OFF. */
export type UserServer = {
  /** A session's token there, for a developer key. Faults: DEV_KEY_INVALID. */
  signIn(key: string, signal: AbortSignal): Promise<string>;
  /** The holder of a token now; undefined: it is no longer valid. */
  who(token: string, signal: AbortSignal): Promise<CallerReply | undefined>;
};

/** Not `auth`: a browser sends a host's cookies to all of its ports, and that name is the Datagrok server's beside this. */
export const COOKIE = "berth-registry";

/** A wrong key counts only after the server refused it, so concurrent guesses have a limit. */
const MOST_AT_ONCE = 8;
const RETRY_MS = 1_000;

export type RegistrySignInDeps = {
  users: UserServer;
  /** The client's own address, where a load balancer in front may say it. */
  addressOf(request: FastifyRequest): string;
  attempts?: SignInAttempts;
  limits?: RegistrySessionLimits;
  clock: Clock;
};

/** Who uses the registry's console: developer keys are proven at the server of the users, and what follows is a session of this process. */
export function createRegistrySignIn({
  users,
  addressOf,
  clock,
  limits = SESSION_LIMITS,
  attempts = createSignInAttempts({ clock }),
}: RegistrySignInDeps) {
  const sessions = createRegistrySessions({ clock, limits });
  const callers = new WeakMap<FastifyRequest, CallerReply>();
  let asking = 0;

  const proven = async (key: string, signal: AbortSignal): Promise<string> => {
    const token = await users.signIn(key, signal);
    const user = await users.who(token, signal);
    if (user === undefined) throw new Fault("DEV_KEY_INVALID", "The Datagrok server took the developer key, and does not say whose it is.");
    return sessions.begin({ user, token });
  };

  /** Rights may have changed since the session began. Actions without an undo verify them again. */
  const stillAdmin = async (secret: string, token: string, signal: AbortSignal): Promise<void> => {
    const user = await users.who(token, signal);
    if (user === undefined) {
      sessions.end(secret);
      throw new Fault("TOKEN_INVALID", "Your session at the Datagrok server is over: sign in again.");
    }
    if (!user.admin) throw new Fault("NOT_PERMITTED", "Only administrators may do this.");
  };

  return {
    sessionMs: limits.lifeMs,
    /** For every request. Faults: TOKEN_MISSING, TOKEN_INVALID, ORIGIN_NOT_PERMITTED, NOT_PERMITTED; those of the server of the users. */
    authorize: async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
      const { authorize = "session" } = request.routeOptions.config;
      if (request.is404 || authorize === "anyone") return;
      const secret = secretOf(request);
      if (secret === undefined) throw new Fault("TOKEN_MISSING", "Sign in first.");
      const session = sessions.find(secret);
      if (!session) throw new Fault("TOKEN_INVALID", "The session is over: sign in again.");
      if (!isSafe(request.method) && pageOf(headerOf(request.headers), []) !== "own")
        throw new Fault("ORIGIN_NOT_PERMITTED", "A page of another origin may not do this with the browser's cookie.");
      if (authorize === "admin") await stillAdmin(secret, session.token, clientAbortSignal(reply));
      callers.set(request, session.user);
    },
    caller: (request: FastifyRequest): CallerReply | undefined => callers.get(request),
    /** The secret of a new session. Faults: DEV_KEY_INVALID, TOO_MANY_ATTEMPTS, those of the server of the users. */
    signIn: async (request: FastifyRequest, key: string | undefined, reply: FastifyReply): Promise<string> => {
      const address = addressOf(request);
      attempts.check(address, key);
      if (key === undefined) throw new Fault("DEV_KEY_INVALID", "A developer key is needed: Authorization: Dev <key>.");
      if (asking >= MOST_AT_ONCE)
        throw new Fault("TOO_MANY_ATTEMPTS", "Too many are signing in at this moment; try again.", { retryAfterMs: RETRY_MS });
      asking++;
      try {
        const secret = await proven(key, clientAbortSignal(reply));
        attempts.succeeded(address, key);
        return secret;
      } catch (error) {
        if (error instanceof Fault && error.code === "DEV_KEY_INVALID") attempts.failed(address);
        throw error;
      } finally {
        asking--;
      }
    },
    signOut: (request: FastifyRequest): void => {
      const secret = secretOf(request);
      if (secret !== undefined) sessions.end(secret);
    },
  };
}

function secretOf(request: FastifyRequest): string | undefined {
  return cookieValues(headerOf(request.headers)("cookie"), COOKIE).next().value;
}

/** A user who signed in with a key that the Datagrok server accepted. `token` is that server's, and never leaves this process. */
export type ConsoleSession = { user: CallerReply; token: string };

export type RegistrySessions = {
  /** The secret by which the session is found from now on: 256 random bits. */
  begin(session: ConsoleSession): string;
  find(secret: string): ConsoleSession | undefined;
  end(secret: string): void;
};

export type RegistrySessionLimits = {
  lifeMs: number;
  /** With more, the oldest ends: first of the same user, so one user cannot sign others out. */
  most: number;
  mostOfAUser: number;
};

/** A working day. */
const SESSION_LIMITS: RegistrySessionLimits = { lifeMs: 12 * 3_600_000, most: 2_000, mostOfAUser: 20 };

/** In memory: after a restart, users sign in again. */
export function createRegistrySessions({ clock, limits = SESSION_LIMITS }: { clock: Clock; limits?: RegistrySessionLimits }): RegistrySessions {
  /** By the digest of the secret, the oldest first. */
  const sessions = new Map<string, ConsoleSession & { until: number }>();

  const endOldest = (userId: string) => {
    const own = [...sessions].filter(([, { user }]) => user.userId === userId);
    const [oldest] = own.length >= limits.mostOfAUser ? own.map(([key]) => key) : sessions.size >= limits.most ? sessions.keys() : [];
    if (oldest !== undefined) sessions.delete(oldest);
  };

  return {
    begin: (session) => {
      endOldest(session.user.userId);
      const secret = randomBytes(32).toString("base64url");
      sessions.set(tokenDigest(secret), { ...session, until: clock.monotonic() + limits.lifeMs });
      return secret;
    },
    find: (secret) => {
      const key = tokenDigest(secret);
      const session = sessions.get(key);
      if (session === undefined || clock.monotonic() < session.until) return session;
      sessions.delete(key);
      return undefined;
    },
    end: (secret) => void sessions.delete(tokenDigest(secret)),
  };
}
