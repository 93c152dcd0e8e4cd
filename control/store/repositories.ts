import { optional, text, whole } from "./columns.ts";
import { rowsOf } from "./rows.ts";
import type { Sql } from "./sql.ts";

/** A repository below `datagrok/` and its owner: the package, or else the user, that had it first. */
export type OwnedRepository = {
  /** Its image name without case and separators: names that differ in these alone have one owner. */
  key: string;
  /** As the owner spells it, e.g. `datagrok/power-grid`. */
  name: string;
  packageId: string | undefined;
  userId: string | undefined;
  since: number;
};

export type Repositories = ReturnType<typeof repositoriesIn>;

export function repositoriesIn(sql: Sql) {
  const rows = rowsOf<OwnedRepository>(sql, "repositories", "key", {
    key: text(),
    name: text(),
    packageId: optional(text()),
    userId: optional(text()),
    since: whole(),
  });
  return {
    find: rows.find,
    /** In one query, however many keys there are. */
    some: (keys: readonly string[]) => rows.where("key IN (SELECT value FROM json_each(?))", JSON.stringify(keys)),
    /** Those of them whose keys have no owner yet, in one statement. */
    claimAll: (owned: readonly Pick<OwnedRepository, "key" | "name">[], packageId: string, since: number) => {
      sql.run(
        `INSERT OR IGNORE INTO repositories (key, name, package_id, user_id, since)
          SELECT value ->> 'key', value ->> 'name', ?, NULL, ? FROM json_each(?)`,
        packageId,
        Math.trunc(since),
        JSON.stringify(owned.map(({ key, name }) => ({ key, name }))),
      );
    },
    /** Changes nothing where the key has an owner already. */
    claim: ({ key, name, packageId, userId, since }: OwnedRepository) => {
      sql.run(
        "INSERT OR IGNORE INTO repositories (key, name, package_id, user_id, since) VALUES (?, ?, ?, ?, ?)",
        key,
        name,
        packageId ?? null,
        userId ?? null,
        Math.trunc(since),
      );
    },
    /** Gives it to this owner, whatever owner it had. */
    assign: (owned: OwnedRepository) =>
      sql.transaction(() => {
        rows.remove(owned.key);
        return rows.insert(owned);
      }),
    /** All that one user owns goes to another. */
    passOn: (fromUserId: string, toUserId: string) => {
      sql.run("UPDATE repositories SET user_id = ? WHERE user_id = ?", toUserId, fromUserId);
    },
  };
}
