import type { Sealed } from "../model/records.ts";
import { createEntityTable } from "./entity-table.ts";
import type { Queries } from "./queries.ts";

export type Connections = ReturnType<typeof createConnections>;
export type CredentialQueries = ReturnType<typeof createCredentials>;
export type SigningKeyQueries = ReturnType<typeof createSigningKeys>;

export function createConnections(queries: Queries) {
  const { builder, run } = queries;
  const table = createEntityTable(queries, "connections", "id");
  const byPackage = table.list((query, values: { packageId: string }) => query.where("package_id", "=", values.packageId).orderBy("name"));
  const find = table.first((query, values: { packageId: string; key: string }) =>
    query.where("package_id", "=", values.packageId).where("key", "=", values.key),
  );
  const removeByPackage = run((values: { packageId: string }) => builder.deleteFrom("connections").where("package_id", "=", values.packageId));
  return {
    byPackage: (packageId: string) => byPackage({ packageId }),
    find: (packageId: string, key: string) => find({ packageId, key }),
    insert: table.insert,
    removeByPackage: (packageId: string) => removeByPackage({ packageId }),
  };
}

export function createCredentials(queries: Queries) {
  const { builder, run, select } = queries;
  const table = createEntityTable(queries, "credentials", "id");
  const of = table.list((query, values: { packageId: string; entity: string }) =>
    query.where("package_id", "=", values.packageId).where("entity", "=", values.entity).orderBy("name"),
  );
  const all = table.list((query) => query);
  const byPackage = table
    .pick("entity", "name", "origin", "updatedOn")
    .list((query, values: { packageId: string }) => query.where("package_id", "=", values.packageId).orderBy("entity").orderBy("name"));
  const packageIds = select(() => builder.selectFrom("credentials").select("package_id as packageId").distinct());
  const removeOf = run((values: { packageId: string; entity: string }) =>
    builder.deleteFrom("credentials").where("package_id", "=", values.packageId).where("entity", "=", values.entity),
  );
  const removeBrought = run((values: { packageId: string }) =>
    builder
      .deleteFrom("credentials")
      .where("package_id", "=", values.packageId)
      .where("entity", "<>", "")
      .where(
        "entity",
        "not in",
        builder.selectFrom("credentials").select("entity").where("package_id", "=", values.packageId).where("origin", "=", "set"),
      ),
  );
  const entities = select((values: { packageId: string }) =>
    builder.selectFrom("credentials").select("entity").distinct().where("package_id", "=", values.packageId),
  );
  const keyIds = select(() => builder.selectFrom("credentials").select("key_id").distinct());
  return {
    of: (packageId: string, entity: string) => of({ packageId, entity }),
    /** All of a package and its connections, without their values. */
    byPackage: (packageId: string) => byPackage({ packageId }),
    /** The ids of the packages that have any. */
    packageIds: async () => (await packageIds({})).map(({ packageId }) => packageId),
    /** The entities of the package that have any. */
    entities: async (packageId: string) => (await entities({ packageId })).map(({ entity }) => entity),
    all: () => all({}),
    insert: table.insert,
    update: (id: string, { keyId, box }: Sealed) => table.update(id, { keyId, box }),
    remove: table.remove,
    removeOf: (packageId: string, entity: string) => removeOf({ packageId, entity }),
    /** What the files of the package's last version brought, except where a user has set something else. */
    removeBrought: (packageId: string) => removeBrought({ packageId }),
    /** The keys that are needed to open all there is. */
    keyIds: async () => (await keyIds({})).map(({ key_id }) => key_id),
  };
}

export function createSigningKeys(queries: Queries) {
  const { builder, dialect, run } = queries;
  const table = createEntityTable(queries, "signing_keys", "kid");
  const all = table.list((query) => query.orderBy("created_on", "desc").orderBy(dialect.insertion, "desc"));
  const retire = run((values: { at: number }) => builder.updateTable("signing_keys").set({ retired_on: values.at }).where("retired_on", "is", null));
  const removeRetired = run((values: { before: number }) => builder.deleteFrom("signing_keys").where("retired_on", "<", values.before));
  return {
    /** The newest first. */
    all: () => all({}),
    insert: table.insert,
    /** All that sign now do not from `at` on. */
    retire: (at: number) => retire({ at: Math.trunc(at) }),
    reseal: (kid: string, { keyId, box }: Sealed) => table.update(kid, { keyId, box }),
    remove: table.remove,
    removeRetiredBefore: (time: number) => removeRetired({ before: Math.trunc(time) }),
  };
}
