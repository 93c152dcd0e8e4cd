import { text } from "./columns.ts";
import type { DevKey } from "./entities.ts";
import { rowsOf } from "./rows.ts";
import type { Sql } from "./sql.ts";

export type DevKeys = ReturnType<typeof devKeysIn>;

export function devKeysIn(sql: Sql) {
  const rows = rowsOf<DevKey>(sql, "dev_keys", "digest", { digest: text(), userId: text() });
  return {
    byDigest: rows.find,
    byUser: (userId: string) => rows.where("user_id = ?", userId),
    insert: rows.insert,
    remove: rows.remove,
  };
}
