import { randomBytes, randomUUID } from "node:crypto";
import type { Clock } from "../../clock.ts";
import { Fault } from "../../fault.ts";
import type { WhoAnswer } from "../../gateway/wire.ts";
import type { User } from "../store/entities.ts";
import type { Store } from "../store/open-store.ts";
import { type Attempts, openAttempts } from "./attempts.ts";
import { containerSpeaks } from "./container-session.ts";
import { digest } from "./digest.ts";
import { keyId } from "./key-id.ts";
import { ADMIN_LOGIN, openPeople, type People } from "./open-people.ts";

/** Users' developer keys and sessions, as the store has them now: a revoked one is unknown to the next call. */
export type ControlIdentity = {
  /** Makes the first user where there is none, and this key its only one that comes from the settings; keys that were made stay. */
  ensureAdmin(key: string): User;
  /** Who holds a developer key. Faults: DEV_KEY_INVALID. */
  userOfDevKey(key: string): User;
  /** A new session's token, for whoever holds the developer key; it ends with the key. Faults: DEV_KEY_INVALID. */
  signIn(key: string): string;
  /** A new session's token; only its digest is kept. */
  openSession(userId: string, lifetimeMs?: number): string;
  /** Calls `listener` after sessions ended before their time, until the returned function is called. */
  watchSignOuts(listener: () => void): () => void;
  /** Ends it; an unknown one is success. */
  endSession(token: string): void;
  /** Undefined for a token that nobody holds any more. */
  who(token: string): WhoAnswer | undefined;
  /** The container that was given this token, where one was. */
  containerOf(token: string): string | undefined;
  people: People;
  /** For who lets keys be shown: how often they were wrong. */
  attempts: Attempts;
};

const SESSION_MS = 30 * 24 * 3_600_000;
/** That one key has open: a script that signs in before each of its calls ends its own oldest ones, rather than filling the store for a month. */
export const MOST_SESSIONS_OF_KEY = 1_000;
/** No key or token of ours is near as long; what is longer is not worth a digest. */
const LONGEST_SECRET = 4_096;

/** `sessionMs` is how long a session lasts, 30 days where unset. */
export function openIdentity({ store, clock, sessionMs = SESSION_MS }: { store: Store; clock: Clock; sessionMs?: number }): ControlIdentity {
  const ensureAdmin: ControlIdentity["ensureAdmin"] = (key) =>
    store.transaction(() => {
      const known = store.users.byLogin(ADMIN_LOGIN);
      const admin = known ?? store.users.insert({ id: randomUUID(), login: ADMIN_LOGIN, friendlyName: "Admin", admin: true, createdOn: clock.now() });
      const wanted = digest(key);
      // The setting is how the key is changed, so one that leaked must end with it.
      for (const held of store.devKeys.byUser(admin.id)) if (held.fromSetting && held.digest !== wanted) store.devKeys.remove(held.digest);
      if (store.devKeys.byDigest(wanted)?.userId !== admin.id) {
        store.devKeys.remove(wanted);
        store.devKeys.insert({ digest: wanted, userId: admin.id, id: keyId(), label: "", createdOn: clock.now(), fromSetting: true });
      }
      return admin;
    });

  const holder = (key: string) => {
    const held = key.length > LONGEST_SECRET ? undefined : store.devKeys.byDigest(digest(key));
    const user = held && store.users.find(held.userId);
    if (!user) throw new Fault("DEV_KEY_INVALID", "The developer key is not valid. Check the key for this server in your configuration.");
    return { user, keyDigest: held.digest };
  };

  const open = (userId: string, lifetimeMs: number, keyDigest: string | undefined): string => {
    const token = randomBytes(32).toString("base64url");
    store.transaction(() => {
      store.sessions.removeExpired(clock.now());
      store.sessions.insert({ digest: digest(token), userId, expiresOn: clock.now() + lifetimeMs, keyDigest });
      if (keyDigest !== undefined) store.sessions.removeOldest(keyDigest, MOST_SESSIONS_OF_KEY);
    });
    return token;
  };

  const listeners = new Set<() => void>();
  const signedOut = () => {
    for (const listener of listeners) listener();
  };

  return {
    watchSignOuts: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    people: openPeople({ store, clock, signedOut }),
    attempts: openAttempts({ clock }),
    ensureAdmin,
    userOfDevKey: (key) => holder(key).user,
    signIn: (key) => {
      const { user, keyDigest } = holder(key);
      return open(user.id, sessionMs, keyDigest);
    },
    openSession: (userId, lifetimeMs = sessionMs) => open(userId, lifetimeMs, undefined),
    endSession: (token) => {
      store.sessions.remove(digest(token));
      signedOut();
    },
    containerOf: (token) => (token.length > LONGEST_SECRET ? undefined : store.sessions.byDigest(digest(token))?.containerId),
    who: (token) => {
      if (token.length > LONGEST_SECRET) return undefined;
      const session = store.sessions.byDigest(digest(token));
      if (!session || session.expiresOn <= clock.now()) return undefined;
      if (session.containerId !== undefined && !containerSpeaks(store.containers.find(session.containerId))) return undefined;
      const user = store.users.find(session.userId);
      return user && { userId: user.id, login: user.login, admin: user.admin };
    },
  };
}
