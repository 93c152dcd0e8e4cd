import { text, whole } from "./columns.ts";
import { rowsOf } from "./rows.ts";
import type { Sql } from "./sql.ts";

/** A value as it lies in the store: `box` means nothing without the key that `keyId` names. */
export type Sealed = { keyId: string; box: string };

/** One sealed value. */
export type Credential = Sealed & {
  id: string;
  packageId: string;
  /** The key of the connection that it belongs to; empty for the package itself. */
  entity: string;
  name: string;
  /** `package`: it stood in the package's own files. `set`: a person set it, and no publish changes it. */
  origin: "package" | "set";
  updatedOn: number;
};

export type Credentials = ReturnType<typeof credentialsIn>;

export function credentialsIn(sql: Sql) {
  const rows = rowsOf<Credential>(sql, "credentials", "id", {
    id: text(),
    packageId: text(),
    entity: text(),
    name: text(),
    keyId: text(),
    box: text(),
    origin: text<Credential["origin"]>(),
    updatedOn: whole(),
  });
  return {
    of: (packageId: string, entity: string) => rows.where("package_id = ? AND entity = ? ORDER BY name", packageId, entity),
    /** The entities of the package that have any. */
    entities: (packageId: string) =>
      sql.all<{ entity: string }>("SELECT DISTINCT entity FROM credentials WHERE package_id = ?", packageId).map(({ entity }) => entity),
    all: () => rows.where("TRUE"),
    insert: rows.insert,
    update: (id: string, sealed: Sealed) => rows.update(id, { keyId: sealed.keyId, box: sealed.box }),
    remove: rows.remove,
    removeOf: (packageId: string, entity: string) => sql.run("DELETE FROM credentials WHERE package_id = ? AND entity = ?", packageId, entity),
    /** What the files of the package's last version brought, wherever nobody set anything else. */
    removeBrought: (packageId: string) =>
      sql.run(
        `DELETE FROM credentials WHERE package_id = ? AND entity <> ''
         AND entity NOT IN (SELECT entity FROM credentials WHERE package_id = ? AND origin = 'set')`,
        packageId,
        packageId,
      ),
    /** The keys that are needed to open all there is. */
    keyIds: () => sql.all<{ key_id: string }>("SELECT DISTINCT key_id FROM credentials").map(({ key_id }) => key_id),
  };
}
