import { randomBytes, randomUUID } from "node:crypto";
import type { Clock } from "../../clock.ts";
import { Fault } from "../../fault.ts";
import type { WhoAnswer } from "../../gateway/wire.ts";
import type { User } from "../store/entities.ts";
import type { Store } from "../store/open-store.ts";
import { digest } from "./digest.ts";

/** Users, their developer keys and their sessions, as the store has them now: a revoked one is unknown to the next call. */
export type ControlIdentity = {
  /** Makes the first user where there is none, and this key the only developer key that it has. */
  ensureAdmin(key: string): User;
  /** Who holds a developer key. Faults: DEV_KEY_INVALID. */
  userOfDevKey(key: string): User;
  /** A new session's token; only its digest is kept. */
  openSession(userId: string, lifetimeMs?: number): string;
  /** Ends it; an unknown one is success. */
  endSession(token: string): void;
  /** Undefined for a token that nobody holds any more. */
  who(token: string): WhoAnswer | undefined;
};

export const ADMIN_LOGIN = "admin";
const SESSION_LIFETIME_MS = 30 * 24 * 3_600_000;
/** No token of ours is near as long; what is longer is not worth a digest. */
const LONGEST_SECRET = 4_096;

export function openIdentity({ store, clock }: { store: Store; clock: Clock }): ControlIdentity {
  const ensureAdmin: ControlIdentity["ensureAdmin"] = (key) =>
    store.transaction(() => {
      const known = store.users.byLogin(ADMIN_LOGIN);
      const admin = known ?? store.users.insert({ id: randomUUID(), login: ADMIN_LOGIN, friendlyName: "Admin", admin: true, createdOn: clock.now() });
      const wanted = digest(key);
      // The setting is how the key is changed, so one that leaked must end with it.
      for (const held of store.devKeys.byUser(admin.id)) if (held.digest !== wanted) store.devKeys.remove(held.digest);
      if (!store.devKeys.byDigest(wanted)) store.devKeys.insert({ digest: wanted, userId: admin.id });
      return admin;
    });

  return {
    ensureAdmin,
    userOfDevKey: (key) => {
      const held = key.length > LONGEST_SECRET ? undefined : store.devKeys.byDigest(digest(key));
      const user = held && store.users.find(held.userId);
      if (!user) throw new Fault("DEV_KEY_INVALID", "The developer key is not valid. Check the key for this server in your configuration.");
      return user;
    },
    openSession: (userId, lifetimeMs = SESSION_LIFETIME_MS) => {
      const token = randomBytes(32).toString("base64url");
      store.transaction(() => {
        store.sessions.removeExpired(clock.now());
        store.sessions.insert({ digest: digest(token), userId, expiresOn: clock.now() + lifetimeMs });
      });
      return token;
    },
    endSession: (token) => {
      store.sessions.remove(digest(token));
    },
    who: (token) => {
      if (token.length > LONGEST_SECRET) return undefined;
      const session = store.sessions.byDigest(digest(token));
      if (!session || session.expiresOn <= clock.now()) return undefined;
      const user = store.users.find(session.userId);
      return user && { userId: user.id, login: user.login, admin: user.admin };
    },
  };
}
