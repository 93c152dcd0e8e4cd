import { json, optional, text, whole } from "./columns.ts";
import type { ContainerStart, Session } from "./entities.ts";
import { rowsOf } from "./rows.ts";
import type { Sql } from "./sql.ts";

export type Sessions = ReturnType<typeof sessionsIn>;

/** Whether a session has expired is for the caller to say, who has a clock. */
export function sessionsIn(sql: Sql) {
  const rows = rowsOf<Session>(sql, "sessions", "digest", {
    digest: text(),
    userId: text(),
    expiresOn: whole(),
    keyDigest: optional(text()),
    containerId: optional(text()),
    start: optional(json<ContainerStart>()),
  });
  return {
    byDigest: rows.find,
    byUser: (userId: string) => rows.where("user_id = ?", userId),
    byContainer: (containerId: string) => rows.where("container_id = ?", containerId),
    ofContainers: () => rows.where("container_id IS NOT NULL"),
    updateStart: (digest: string, start: ContainerStart) => rows.update(digest, { start }),
    removeByContainer: (containerId: string) => sql.run("DELETE FROM sessions WHERE container_id = ?", containerId),
    insert: rows.insert,
    remove: rows.remove,
    removeByUser: (userId: string) => sql.run("DELETE FROM sessions WHERE user_id = ?", userId),
    /** Removes all but the newest `most` that a developer key opened. */
    removeOldest: (keyDigest: string, most: number) =>
      sql.run(
        "DELETE FROM sessions WHERE rowid IN (SELECT rowid FROM sessions WHERE key_digest = ? ORDER BY expires_on DESC, rowid DESC LIMIT -1 OFFSET ?)",
        keyDigest,
        most,
      ),
    /** Removes those that ended at `now` (epoch ms) or before; returns how many. */
    removeExpired: (now: number) => sql.run("DELETE FROM sessions WHERE expires_on <= ?", Math.trunc(now)),
  };
}
