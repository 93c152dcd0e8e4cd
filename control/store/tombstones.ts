import { optional, text, whole } from "./columns.ts";
import type { Tombstone } from "./entities.ts";
import { rowsOf } from "./rows.ts";
import type { Sql } from "./sql.ts";

export type Tombstones = ReturnType<typeof tombstonesIn>;

export function tombstonesIn(sql: Sql) {
  const rows = rowsOf<Tombstone>(sql, "tombstones", "id", { id: text(), service: text(), removedOn: whole(), clearedOn: optional(whole()) });
  return {
    find: rows.find,
    /** Those whose service may still run. */
    open: () => rows.where("cleared_on IS NULL"),
    /** Its service was seen after all. */
    reopen: (id: string) => rows.update(id, { clearedOn: undefined }),
    clear: (id: string, now: number) => rows.update(id, { clearedOn: now }),
  };
}
