import { json, text } from "./columns.ts";
import { rowsOf } from "./rows.ts";
import type { Sql } from "./sql.ts";

/** An entity that a package brings in `connections/`, as its file says it but without its credentials, which are kept apart and sealed. */
export type Connection = {
  id: string;
  packageId: string;
  /** Its name as templates and addresses are compared with it: the same for every spelling. */
  key: string;
  name: string;
  entity: Record<string, unknown>;
};

export type Connections = ReturnType<typeof connectionsIn>;

export function connectionsIn(sql: Sql) {
  const rows = rowsOf<Connection>(sql, "connections", "id", {
    id: text(),
    packageId: text(),
    key: text(),
    name: text(),
    entity: json<Record<string, unknown>>(),
  });
  return {
    byPackage: (packageId: string) => rows.where("package_id = ? ORDER BY name", packageId),
    find: (packageId: string, key: string) => rows.where("package_id = ? AND key = ?", packageId, key)[0],
    insert: rows.insert,
    removeByPackage: (packageId: string) => sql.run("DELETE FROM connections WHERE package_id = ?", packageId),
  };
}
