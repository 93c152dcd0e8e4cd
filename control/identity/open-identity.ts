import { randomBytes, randomUUID } from "node:crypto";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { SessionRef, CallerReply } from "../../gateway/contract.ts";
import type { Session, SessionKind, User } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import { type SignInAttempts, createSignInAttempts } from "./attempts.ts";
import { derivedDigest, derivedToken, endKey, endSession, isContainerTokenValid, keyId, tokenDigest } from "./sessions.ts";
import { ADMIN_LOGIN, createUserAccounts, type UserAccounts } from "./open-users.ts";
import { createPublisherAccounts, type PublisherAccounts } from "./trusted-publishers.ts";
import { createTokenRevocations, type TokenRevocations } from "./revoked-tokens.ts";
import { createUserSessions, type UserSessions } from "./user-sessions.ts";

/** Users' developer keys and sessions, as the store has them now: a revoked one is unknown to the next call. */
export type ControlIdentity = {
  /** Makes the first user where there is none, and this key its only one that comes from the settings; keys that were made stay. */
  ensureAdmin(key: string): Promise<User>;
  /** Who holds a developer key. Faults: DEV_KEY_INVALID. */
  userOfDevKey(key: string): Promise<User>;
  /** A developer key as `SessionRef` has it. */
  refOfDevKey(key: string): SessionRef;
  /** The token of a new session for the holder of a developer key, with which it ends. `address`: the client's. Faults: DEV_KEY_INVALID. */
  signIn(key: string, kind?: SessionKind, address?: string): Promise<string>;
  /** A new session's token; only its digest is kept. `address`: the client's. */
  openSession(userId: string, lifetimeMs?: number, kind?: SessionKind, address?: string): Promise<string>;
  /** A plain session's token for the holder of another session, with which it ends. Faults: TOKEN_INVALID. */
  openSessionFrom(token: string): Promise<string>;
  /** Calls `listener` after sessions ended before their time, until the returned function is called. */
  watchSignOuts(listener: () => void): () => void;
  /** Ends it, with what came from it; an unknown one is success. */
  endSession(token: string): Promise<void>;
  /** Undefined for a token that is not valid any more. A token of the console is valid only `at` the console. */
  who(token: string, at?: "edge" | "console"): Promise<CallerReply | undefined>;
  /** Whether this session was opened for a command line or the console, which keep its token to themselves: containers receive tokens of other sessions. */
  isOfTool(token: string, at?: "edge" | "console"): Promise<boolean>;
  /** The container that was given this token, where one was. */
  containerOf(token: string): Promise<string | undefined>;
  revokedTokens: Pick<TokenRevocations, "all" | "retryMs">;
  users: UserAccounts;
  sessions: UserSessions;
  /** CI jobs that publish without a stored key. */
  publishers: PublisherAccounts;
  /** For who lets keys be shown: how often they were wrong. */
  attempts: SignInAttempts;
};

const SESSION_MS = 30 * 24 * 3_600_000;
/**
 * That one key, or one user without a key, has open, in the console and elsewhere: a script that signs in before each of its calls ends its own oldest ones,
 * rather than filling the store for a month.
 */
export const MOST_SESSIONS_OF_KEY = 1_000;
/** How exactly the last use of a key is kept: each is a write. */
const KEY_USE_MS = 3_600_000;
/** No key or token of ours is near as long; what is longer is not worth a digest. */
const LONGEST_SECRET = 4_096;
const LONGEST_ADDRESS = 300;

/** `sessionMs` is how long a session lasts, 30 days where unset. `httpIssuers`: issuers of CI jobs may have loopback addresses without TLS. */
export function createIdentity(deps: { store: Store; clock: Clock; sessionMs?: number; httpIssuers?: boolean }): ControlIdentity {
  const { store, clock, sessionMs = SESSION_MS, httpIssuers = false } = deps;
  const ensureAdmin: ControlIdentity["ensureAdmin"] = (key) =>
    store.transaction(async () => {
      const existing = await store.users.byLogin(ADMIN_LOGIN);
      const admin =
        existing ?? (await store.users.insert({ id: randomUUID(), login: ADMIN_LOGIN, friendlyName: "Admin", admin: true, createdOn: clock.now() }));
      const wanted = tokenDigest(key);
      // The setting is how the key is changed, so one that leaked must end with it.
      for (const held of await store.devKeys.byUser(admin.id)) if (held.fromSetting && held.digest !== wanted) await endKey(store, held);
      if ((await store.devKeys.byDigest(wanted))?.userId !== admin.id) {
        await store.devKeys.remove(wanted);
        await store.devKeys.insert({ digest: wanted, userId: admin.id, id: keyId(), label: "", createdOn: clock.now(), fromSetting: true });
      }
      return admin;
    });

  const holder = async (key: string) => {
    const held = key.length > LONGEST_SECRET ? undefined : await store.devKeys.byDigest(tokenDigest(key));
    const user = held && (await store.users.find(held.userId));
    if (!user) throw new Fault("DEV_KEY_INVALID", "The developer key is not valid on this server. Ask an administrator for a new one.");
    if (user.blockedOn !== undefined) throw blocked(user);
    // Without it nothing is lost: a full disk does not refuse a valid key.
    if (clock.now() - (held.lastUsedOn ?? 0) >= KEY_USE_MS) await store.devKeys.recordUse(held.digest, clock.now()).catch(() => undefined);
    return { user, keyDigest: held.digest };
  };

  const open = async ({ lifetimeMs, ...session }: Omit<Session, "digest" | "createdOn" | "expiresOn"> & { lifetimeMs: number }): Promise<string> => {
    const token = randomBytes(32).toString("base64url");
    // Nothing of a session of the console goes to containers.
    const derived = session.kind === "console" ? undefined : derivedDigest(token);
    await store.transaction(async () => {
      await store.sessions.removeExpired(clock.now());
      const times = { createdOn: clock.now(), expiresOn: clock.now() + lifetimeMs };
      await store.sessions.insert({ ...session, ...times, digest: tokenDigest(token), derivedDigest: derived });
      await store.sessions.removeOldest(session, MOST_SESSIONS_OF_KEY);
    });
    return token;
  };

  /** The session of a token, or of one that was derived from it, where it still counts. */
  const sessionOf = async (token: string): Promise<{ session: Session; isDerived: boolean } | undefined> => {
    if (token.length > LONGEST_SECRET) return undefined;
    const shown = tokenDigest(token);
    const own = await store.sessions.byDigest(shown);
    const session = own ?? (await store.sessions.byDerived(shown));
    if (!session || session.expiresOn <= clock.now()) return undefined;
    if (session.containerId !== undefined && !isContainerTokenValid(await store.containers.find(session.containerId))) return undefined;
    return { session, isDerived: own === undefined };
  };

  /** Of a session that began before such were kept, its digest is kept now. */
  const derivedOf = async (token: string, session: Session): Promise<string> => {
    if (session.derivedDigest === undefined) await store.sessions.updateDerived(session.digest, derivedDigest(token));
    return derivedToken(token);
  };

  const refOf = ({ digest: session, keyDigest, containerId, parent }: Session): SessionRef => {
    // What a container starts ends with the session that started the container: its own ends whenever it is stopped.
    const root = containerId === undefined ? session : parent;
    return {
      ...(root === session ? {} : { own: session }),
      ...(root === undefined ? {} : { session: root }),
      ...(keyDigest === undefined ? {} : { key: keyDigest }),
    };
  };

  const listeners = new Set<() => void>();
  const revokedTokens = createTokenRevocations({ store, clock });
  /** `login`: of a user whose rights are fewer now. */
  const signedOut = (login?: string) => {
    if (login !== undefined) revokedTokens.add(login);
    for (const listener of listeners) listener();
  };

  return {
    watchSignOuts: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    revokedTokens,
    users: createUserAccounts({ store, clock, signedOut }),
    sessions: createUserSessions({ store, clock, signedOut }),
    publishers: createPublisherAccounts({ store, clock, httpIssuers, signedOut }),
    attempts: createSignInAttempts({ clock }),
    ensureAdmin,
    userOfDevKey: async (key) => (await holder(key)).user,
    refOfDevKey: (key) => ({ key: tokenDigest(key) }),
    signIn: (key, kind = "plain", address?: string) =>
      store.transaction(async () => {
        const { user, keyDigest } = await holder(key);
        return open({ userId: user.id, lifetimeMs: sessionMs, keyDigest, kind, address: address?.slice(0, LONGEST_ADDRESS) });
      }),
    openSession: (userId, lifetimeMs = sessionMs, kind = "plain", address?: string) =>
      open({ userId, lifetimeMs, keyDigest: undefined, kind, address: address?.slice(0, LONGEST_ADDRESS) }),
    openSessionFrom: (token) =>
      // In one transaction, so that the session does not outlive the one that it comes from.
      store.transaction(async () => {
        const { session } = (await sessionOf(token)) ?? {};
        if (!session) throw new Fault("TOKEN_INVALID", "The session is over: sign in again.");
        const { userId, keyDigest, expiresOn, digest: parent, address } = session;
        return open({ userId, lifetimeMs: expiresOn - clock.now(), keyDigest, kind: "plain", parent, address });
      }),
    endSession: async (token) => {
      await endSession(store, tokenDigest(token));
      signedOut();
    },
    isOfTool: async (token, at = "edge") => {
      const { session, isDerived } = (await sessionOf(token)) ?? {};
      if (session === undefined || isDerived) return false;
      return session.kind === "administration" || (session.kind === "console" && at === "console");
    },
    containerOf: async (token) => (token.length > LONGEST_SECRET ? undefined : (await store.sessions.byDigest(tokenDigest(token)))?.containerId),
    who: async (token, at = "edge") => {
      const { session, isDerived } = (await sessionOf(token)) ?? {};
      if (session === undefined || (session.kind === "console" && at !== "console")) return undefined;
      const user = await store.users.find(session.userId);
      if (!user || user.blockedOn !== undefined) return undefined;
      const admin = user.admin && !isDerived && (session.kind === "administration" || session.kind === "console");
      const derived = session.kind === "console" ? {} : { derivedToken: isDerived ? token : await derivedOf(token, session) };
      return { userId: user.id, login: user.login, admin, ref: refOf(session), ...derived };
    },
  };
}

export function blocked({ login }: Pick<User, "login">): Fault {
  return new Fault("USER_BLOCKED", `An administrator blocked ${login} on this server: ask an administrator.`);
}
