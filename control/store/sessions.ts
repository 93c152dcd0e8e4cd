import { json, optional, text, whole } from "./columns.ts";
import type { ContainerStart, Session, SessionKind } from "../model/entities.ts";
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
    kind: optional(text<SessionKind>()),
    derivedDigest: optional(text()),
    parent: optional(text()),
  });
  return {
    byDigest: rows.find,
    byDerived: (derivedDigest: string) => rows.where("derived_digest = ?", derivedDigest)[0],
    byParent: (parent: string) => rows.where("parent = ?", parent),
    updateDerived: (digest: string, derivedDigest: string) => rows.update(digest, { derivedDigest }),
    byUser: (userId: string) => rows.where("user_id = ?", userId),
    byContainer: (containerId: string) => rows.where("container_id = ?", containerId),
    ofContainers: () => rows.where("container_id IS NOT NULL"),
    updateStart: (digest: string, start: ContainerStart) => rows.update(digest, { start }),
    removeByContainer: (containerId: string) => sql.run("DELETE FROM sessions WHERE container_id = ?", containerId),
    insert: rows.insert,
    remove: rows.remove,
    /** Removes those of containers that were started before it was kept with which key. */
    removeWithoutKey: (userId: string) =>
      sql.run("DELETE FROM sessions WHERE user_id = ? AND container_id IS NOT NULL AND key_digest IS NULL", userId),
    removeByUser: (userId: string) => sql.run("DELETE FROM sessions WHERE user_id = ?", userId),
    /** Removes all but the newest `most` that a developer key opened; those of containers do not count. */
    removeOldest: (keyDigest: string, most: number) =>
      sql.run(
        "DELETE FROM sessions WHERE rowid IN (SELECT rowid FROM sessions WHERE key_digest = ? AND container_id IS NULL ORDER BY expires_on DESC, rowid DESC LIMIT -1 OFFSET ?)",
        keyDigest,
        most,
      ),
    /** Removes those that ended at `now` (epoch ms) or before; returns how many. */
    removeExpired: (now: number) => sql.run("DELETE FROM sessions WHERE expires_on <= ?", Math.trunc(now)),
  };
}
