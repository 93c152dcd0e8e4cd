import { randomBytes } from "node:crypto";
import type { Clock } from "../../../lib/clock.ts";
import type { CallerReply } from "../../../gateway/contract.ts";
import { tokenDigest } from "../../identity/tokens.ts";

/** Somebody who signed in here with a key that the server of the users took; `token` is that server's, and never leaves this process. */
export type ConsoleSession = { user: CallerReply; token: string };

export type RegistrySessions = {
  /** The secret by which the session is found from now on: 256 random bits. */
  begin(session: ConsoleSession): string;
  find(secret: string): ConsoleSession | undefined;
  end(secret: string): void;
};

export type RegistrySessionLimits = {
  lifeMs: number;
  /** With more, the oldest ends: of one user first, so that nobody signs everybody else out. */
  most: number;
  mostOfAUser: number;
};

/** A working day; the registry is looked into now and then by a few. */
export const SESSION_LIMITS: RegistrySessionLimits = { lifeMs: 12 * 3_600_000, most: 2_000, mostOfAUser: 20 };

/** Kept in memory alone: who comes after a restart signs in again. */
export function createRegistrySessions({ clock, limits = SESSION_LIMITS }: { clock: Clock; limits?: RegistrySessionLimits }): RegistrySessions {
  /** By the digest of the secret, the oldest first. */
  const sessions = new Map<string, ConsoleSession & { until: number }>();

  const makeRoom = (userId: string) => {
    const own = [...sessions].filter(([, { user }]) => user.userId === userId);
    const [oldest] = own.length >= limits.mostOfAUser ? own.map(([key]) => key) : sessions.size >= limits.most ? sessions.keys() : [];
    if (oldest !== undefined) sessions.delete(oldest);
  };

  return {
    begin: (session) => {
      makeRoom(session.user.userId);
      const secret = randomBytes(32).toString("base64url");
      sessions.set(tokenDigest(secret), { ...session, until: clock.monotonic() + limits.lifeMs });
      return secret;
    },
    find: (secret) => {
      const key = tokenDigest(secret);
      const found = sessions.get(key);
      if (found === undefined || clock.monotonic() < found.until) return found;
      sessions.delete(key);
      return undefined;
    },
    end: (secret) => void sessions.delete(tokenDigest(secret)),
  };
}
