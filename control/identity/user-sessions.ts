import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { SESSION_ID_LENGTH, type SessionFilter, type SessionRow } from "../store/sessions.ts";
import type { Store } from "../store/open-store.ts";
import type { StoreRange } from "../store/users.ts";
import { endSession } from "./sessions.ts";

/** The sessions that users opened, for administrators and for the users themselves. Those of containers end with their containers. */
export type UserSessions = {
  /** A part of the list, and how many there are; the last to end first. */
  page(filter: Omit<SessionFilter, "now">, range: StoreRange): Promise<{ total: number; rows: SessionRow[] }>;
  /** Ends a session with what came from it. Faults: SESSION_NOT_FOUND. */
  end(userId: string, id: string): Promise<void>;
  /** Ends sessions by their digests, with what came from them. */
  endDigests(digests: readonly string[]): Promise<void>;
  /** Ends all sessions of a user, except the one with the digest `kept`. Returns how many. */
  endAll(userId: string, kept: string | undefined): Promise<number>;
};

/** The id of a session. It is no secret: the token cannot be found from its digest. */
export function sessionId({ digest }: { digest: string }): string {
  return digest.slice(0, SESSION_ID_LENGTH);
}

/** `signedOut` is called after sessions ended. `login`: of their user, whose docker tokens may come from them. */
export function createUserSessions({ store, clock, signedOut }: { store: Store; clock: Clock; signedOut: (login?: string) => void }): UserSessions {
  /** Call it in the transaction that ends the sessions: afterwards nothing may fail before gateways receive the change. */
  const loginsOf = async (userIds: readonly (string | undefined)[]): Promise<string[]> => {
    const ids = new Set(userIds.filter((userId) => userId !== undefined));
    const users = await Promise.all([...ids].map((userId) => store.users.find(userId)));
    return users.flatMap((user) => user?.login ?? []);
  };
  return {
    page: async (filter, range) => {
      const current = { ...filter, now: clock.now() };
      return { total: await store.sessions.count(current), rows: await store.sessions.page(current, range) };
    },
    end: async (userId, id) => {
      const [login] = await store.transaction(async () => {
        const session = await store.sessions.byId(userId, id);
        if (!session)
          throw new Fault("SESSION_NOT_FOUND", `There is no session ${JSON.stringify(id.slice(0, 100))}: it may have ended. Reload the list.`);
        await endSession(store, session.digest);
        return loginsOf([userId]);
      });
      signedOut(login);
    },
    endDigests: async (digests) => {
      if (digests.length === 0) return;
      const logins = await store.transaction(async () => {
        const sessions = await Promise.all(digests.map((digest) => store.sessions.byDigest(digest)));
        for (const digest of digests) await endSession(store, digest);
        return loginsOf(sessions.map((session) => session?.userId));
      });
      // The caller may have a transaction of its own.
      store.afterCommit(() => {
        for (const login of logins) signedOut(login);
      });
    },
    endAll: async (userId, kept) => {
      const { ended, login } = await store.transaction(async () => {
        await store.containers.endStartsOfSessions(userId, kept);
        const [of] = await loginsOf([userId]);
        return { ended: await store.sessions.removeAllOf(userId, kept), login: of };
      });
      signedOut(login);
      return ended;
    },
  };
}
