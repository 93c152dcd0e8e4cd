import type { ImageState } from "../model/states.ts";
import type { Image } from "../model/entities.ts";
import { listingsOf } from "./listing.ts";
import { causeOf, historyIn, type Reason } from "./history.ts";
import { rowsOf } from "./rows.ts";
import type { Sql } from "./sql.ts";
import { pickColumns, TABLES } from "./tables.ts";

/** All but those that are as they are to be. In the words of its index: for others SQLite reads every row. */
const AT_WORK = "(state NOT IN ('READY', 'DELETED') OR fault IS NOT NULL)";

/** What a publish needs of the images that its package has, without the texts. */
export type PackageImage = Pick<Image, "id" | "folder" | "files" | "state">;

export type Images = ReturnType<typeof imagesIn>;

export function imagesIn(sql: Sql) {
  const rows = rowsOf<Image>(sql, "images", "id", TABLES.images);
  const brief = rowsOf<PackageImage>(sql, "images", "id", pickColumns("images", "id", "folder", "files", "state"));
  const history = historyIn(sql);
  return {
    /** Deleted ones too: an image's row is its own tombstone. */
    find: rows.find,
    all: () => rows.where("TRUE ORDER BY name, id"),
    /** Those that cannot be run as they are, and are not deleted. */
    unready: () => rows.where(`${AT_WORK} AND state NOT IN ('READY', 'DELETED') ORDER BY name, id`),
    /** Those of which something may become by itself; of thousands, few. */
    unsettled: () =>
      rows.where(
        `${AT_WORK} AND (state IN ('PENDING_VALIDATION', 'VALIDATING') OR json_extract(fault, '$.code') IN ('ENGINE_UNREACHABLE', 'ENGINE_FAILED'))`,
      ),
    /** Their state was entered after `now`, as the clock says it. */
    ofTheFuture: (now: number) => rows.where("since > ?", Math.trunc(now)),
    ofFolders: (packageId: string, folders: readonly string[]) =>
      brief.where("package_id = ? AND folder IN (SELECT value FROM json_each(?))", packageId, JSON.stringify(folders)),
    /** What a package of these folders alone no longer has. Those deleted before, which a package collects over time, are left out. */
    ofOtherFolders: (packageId: string, folders: readonly string[]) =>
      brief.where("package_id = ? AND state <> 'DELETED' AND folder NOT IN (SELECT value FROM json_each(?))", packageId, JSON.stringify(folders)),
    /** The ids of all in a state of validation that name this image of a registry, and have no Dockerfile. */
    ofRef: (ref: string, state: ImageState) =>
      sql
        .all<{ id: string }>(`SELECT id FROM images WHERE ${AT_WORK} AND state = ? AND ref = ? AND dockerfile = '' ORDER BY id`, state, ref)
        .map(({ id }) => id),
    byPackage: (packageId: string) => rows.where("package_id = ? ORDER BY name, id", packageId),
    ...listingsOf(sql, "images", "TRUE", rows),
    /** How many are in each state. */
    states: () => sql.all<{ state: ImageState; count: number }>("SELECT state, COUNT(*) AS count FROM images GROUP BY state"),
    /** Who published it. */
    author: (id: string) =>
      sql.all<{ author: string }>(
        "SELECT packages.author_id AS author FROM images JOIN packages ON packages.id = images.package_id WHERE images.id = ?",
        id,
      )[0]?.author,
    insert: rows.insert,
    /** For everything but `state`, which only moves. */
    update: (id: string, patch: Partial<Omit<Image, "id" | "state">>) => rows.update(id, patch),
    /** In two statements, however many there are; call it in the transaction that read their states, all of which may be left for DELETED. */
    removeAll: (ids: readonly string[], now: number, reason: Reason) =>
      sql.together(() => {
        const all = JSON.stringify(ids);
        history.appendToImages(all, "DELETED", reason);
        sql.run(
          "UPDATE images SET state = 'DELETED', since = ?, updated_on = ? WHERE id IN (SELECT value FROM json_each(?))",
          Math.trunc(now),
          Math.trunc(now),
          all,
        );
      }),
    /** Compare-and-set: undefined where the image is no longer in `from`. With a reason, its history tells of it. */
    move: (id: string, from: ImageState, to: ImageState, patch: Partial<Omit<Image, "id" | "state">>, reason?: Reason) =>
      sql.together(() => {
        const moved = rows.updateWhere(id, { ...patch, state: to }, "state = ?", from);
        if (moved && reason) history.append({ entity: id, fromState: from, toState: to, cause: causeOf(patch.fault), ...reason });
        return moved;
      }),
  };
}
