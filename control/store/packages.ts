import { type RawBuilder, sql } from "kysely";
import type { OwnedRepository } from "../model/records.ts";
import { createEntityTable } from "./entity-table.ts";
import type { Queries } from "./queries.ts";

export type Packages = ReturnType<typeof createPackages>;
export type Repositories = ReturnType<typeof createRepositories>;

export function createPackages(queries: Queries) {
  const table = createEntityTable(queries, "packages", "id");
  const byName = table.first((query, values: { name: string }) => query.where("name", "=", values.name));
  const all = table.list((query) => query.orderBy("name"));
  return {
    find: table.find,
    byName: (name: string) => byName({ name }),
    all: () => all({}),
    insert: table.insert,
    update: table.update,
  };
}

export function createRepositories(queries: Queries) {
  const { builder, database, dialect, run } = queries;
  const table = createEntityTable(queries, "repositories", "key");
  const some = table.list((query, values: { keys: string }) => query.where("key", "in", dialect.elements(values.keys)));
  const claim = run((values: { key: string; name: string; packageId: string | null; userId: string | null; since: number }) =>
    builder
      .insertInto("repositories")
      .values({ key: values.key, name: values.name, package_id: values.packageId, user_id: values.userId, since: values.since })
      .onConflict((conflict) => conflict.column("key").doNothing()),
  );
  const claimAll = run((values: { owned: string; packageId: string; since: number }) =>
    builder
      .insertInto("repositories")
      .columns(["key", "name", "package_id", "since"])
      .expression(
        builder
          .selectFrom((dialect.objects(values.owned) as RawBuilder<{ value: string }>).as("owned"))
          .select([
            sql<string>`value ->> 'key'`.as("key"),
            sql<string>`value ->> 'name'`.as("name"),
            sql<string>`cast(${values.packageId} as text)`.as("package_id"),
            sql<number>`cast(${values.since} as bigint)`.as("since"),
          ])
          // Without a condition SQLite takes ON for that of a join.
          .where(sql<boolean>`true`),
      )
      .onConflict((conflict) => conflict.column("key").doNothing()),
  );
  const passOn = run((values: { from: string; to: string }) =>
    builder.updateTable("repositories").set({ user_id: values.to }).where("user_id", "=", values.from),
  );
  return {
    find: table.find,
    /** In one query, however many keys there are. */
    some: (keys: readonly string[]) => some({ keys: JSON.stringify(keys) }),
    /** Changes nothing where the key has an owner already. */
    claim: ({ packageId, userId, since, ...named }: OwnedRepository) =>
      claim({ ...named, packageId: packageId ?? null, userId: userId ?? null, since: Math.trunc(since) }),
    /** Those of them whose keys have no owner yet, in one statement. */
    claimAll: (owned: readonly Pick<OwnedRepository, "key" | "name">[], packageId: string, since: number) =>
      claimAll({ owned: JSON.stringify(owned.map(({ key, name }) => ({ key, name }))), packageId, since: Math.trunc(since) }),
    /** Gives it to this owner, whatever owner it had. */
    assign: (owned: OwnedRepository) =>
      database.transaction(async () => {
        await table.remove(owned.key);
        return table.insert(owned);
      }),
    /** All that one user owns goes to another. */
    passOn: (fromUserId: string, toUserId: string) => passOn({ from: fromUserId, to: toUserId }),
  };
}
