import { flag, text, whole } from "./columns.ts";
import type { DevKey } from "../model/entities.ts";
import { rowsOf } from "./rows.ts";
import type { Sql } from "./sql.ts";

export type DevKeys = ReturnType<typeof devKeysIn>;

export function devKeysIn(sql: Sql) {
  const rows = rowsOf<DevKey>(sql, "dev_keys", "digest", {
    digest: text(),
    userId: text(),
    id: text(),
    label: text(),
    createdOn: whole(),
    fromSetting: flag(),
  });
  return {
    byDigest: rows.find,
    byUser: (userId: string) => rows.where("user_id = ? ORDER BY created_on, id", userId),
    insert: rows.insert,
    /** Takes the sessions that it opened along. */
    remove: rows.remove,
  };
}
