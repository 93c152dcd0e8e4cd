import { text, whole } from "./columns.ts";
import type { Package } from "../model/entities.ts";
import { rowsOf } from "./rows.ts";
import type { Sql } from "./sql.ts";

export type Packages = ReturnType<typeof packagesIn>;

export function packagesIn(sql: Sql) {
  const rows = rowsOf<Package>(sql, "packages", "id", {
    id: text(),
    name: text(),
    version: text(),
    authorId: text(),
    createdOn: whole(),
    updatedOn: whole(),
  });
  return {
    find: rows.find,
    byName: (name: string) => rows.where("name = ?", name)[0],
    all: () => rows.where("TRUE ORDER BY name"),
    insert: rows.insert,
    update: rows.update,
  };
}
