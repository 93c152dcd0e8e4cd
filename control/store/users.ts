import { createEntityTable } from "./entity-table.ts";
import type { Queries } from "./queries.ts";

export type Users = ReturnType<typeof createUsers>;
export type Groups = ReturnType<typeof createGroups>;
export type DevKeys = ReturnType<typeof createDevKeys>;

export function createUsers(queries: Queries) {
  const table = createEntityTable(queries, "users", "id");
  const byLogin = table.first((query, values: { login: string }) => query.where("login", "=", values.login));
  const all = table.list((query) => query.orderBy("login"));
  const some = table.list((query, values: { ids: string }) => query.where("id", "in", queries.dialect.elements(values.ids)));
  return {
    find: table.find,
    byLogin: (login: string) => byLogin({ login }),
    all: () => all({}),
    /** The logins of these users by their ids; a user who is gone has none. */
    logins: async (ids: Iterable<string | undefined>) => {
      const users = await some({ ids: JSON.stringify([...new Set(ids)].filter((id) => id !== undefined)) });
      return new Map<string | undefined, string>(users.map(({ id, login }) => [id, login]));
    },
    insert: table.insert,
    update: table.update,
    /** Removes the user's sessions and developer keys too. */
    remove: table.remove,
  };
}

/** Which users are in which group. A group is its name and its members: it exists while it has any. */
export function createGroups({ database, builder, select, run }: Queries) {
  const ofUser = select((values: { userId: string }) =>
    builder.selectFrom("group_members").select("name").where("user_id", "=", values.userId).orderBy("name"),
  );
  const clear = run((values: { userId: string }) => builder.deleteFrom("group_members").where("user_id", "=", values.userId));
  const add = run((values: { name: string; userId: string }) =>
    builder.insertInto("group_members").values({ name: values.name, user_id: values.userId }),
  );
  const shared = select((values: { one: string; other: string }) =>
    builder
      .selectFrom("group_members as mine")
      .innerJoin("group_members as theirs", "theirs.name", "mine.name")
      .select("mine.name")
      .where("mine.user_id", "=", values.one)
      .where("theirs.user_id", "=", values.other)
      .limit(1),
  );
  const all = select(() => builder.selectFrom("group_members").select("name").distinct().orderBy("name"));
  return {
    /** The names of all groups, in order. */
    all: async () => (await all({})).map(({ name }) => name),
    /** The names of a user's groups, in order. */
    ofUser: async (userId: string) => (await ofUser({ userId })).map(({ name }) => name),
    /** The user is in these groups and no others from now on. */
    put: (userId: string, names: readonly string[]) =>
      database.transaction(async () => {
        await clear({ userId });
        for (const name of new Set(names)) await add({ name, userId });
      }),
    /** Whether two users are in a group together. */
    shared: async (one: string, other: string) => (await shared({ one, other })).length > 0,
  };
}

export function createDevKeys(queries: Queries) {
  const table = createEntityTable(queries, "dev_keys", "digest");
  const byUser = table.list((query, values: { userId: string }) => query.where("user_id", "=", values.userId).orderBy("created_on").orderBy("id"));
  return {
    byDigest: table.find,
    byUser: (userId: string) => byUser({ userId }),
    insert: table.insert,
    /** Removes the sessions that it opened too. */
    remove: table.remove,
  };
}
