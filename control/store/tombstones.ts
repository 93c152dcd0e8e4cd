import type { Tombstone } from "../model/entities.ts";
import { rowsOf } from "./rows.ts";
import type { Sql } from "./sql.ts";
import { TABLES } from "./tables.ts";

export type Tombstones = ReturnType<typeof tombstonesIn>;

export function tombstonesIn(sql: Sql) {
  const rows = rowsOf<Tombstone>(sql, "tombstones", "id", TABLES.tombstones);
  return {
    find: rows.find,
    some: (ids: readonly string[]) => rows.where("id IN (SELECT value FROM json_each(?))", JSON.stringify(ids)),
    /** The adopted instance of this service that is still to be ended. */
    adopted: (service: string): Tombstone | undefined => rows.where("cleared_on IS NULL AND service = ? AND adopted IS NOT NULL", service)[0],
    /** Those whose service may still run. */
    open: () => rows.where("cleared_on IS NULL"),
    /** A service of it was seen after all, whatever its name. */
    reopen: (id: string, service: string) => rows.update(id, { service, clearedOn: undefined }),
    clear: (id: string, now: number) => rows.update(id, { clearedOn: now }),
  };
}
