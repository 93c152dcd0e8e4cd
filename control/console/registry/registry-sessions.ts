import { randomBytes } from "node:crypto";
import type { Clock } from "../../../lib/clock.ts";
import type { CallerReply } from "../../../gateway/contract.ts";
import { tokenDigest } from "../../identity/tokens.ts";

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
export const SESSION_LIMITS: RegistrySessionLimits = { lifeMs: 12 * 3_600_000, most: 2_000, mostOfAUser: 20 };

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
