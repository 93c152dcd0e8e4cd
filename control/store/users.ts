import { type RawBuilder, sql } from "kysely";
import type { DevKey } from "../model/entities.ts";
import { asciiLowerCase, type Dialect } from "./dialects.ts";
import { createEntityTable } from "./entity-table.ts";
import type { Queries } from "./queries.ts";

export type Users = ReturnType<typeof createUsers>;
export type Groups = ReturnType<typeof createGroups>;
export type DevKeys = ReturnType<typeof createDevKeys>;

/** A part of a list: `limit` rows from `offset` on. */
export type StoreRange = { limit: number; offset: number };

/** `text`: a part of the login or the name, in whatever case. `group`: only its members. */
export type UserFilter = { text?: string | undefined; group?: string | undefined };
/** `text`: a part of the login, the label or the id. `userId`: only of this user. */
export type DevKeyFilter = { text?: string | undefined; userId?: string | undefined };

export type DevKeyRow = Omit<DevKey, "userId"> & { login: string; sessions: number };

/** Whether one of the columns contains a text, in whatever case of ASCII letters. */
export function containsText({ contains }: Pick<Dialect, "contains">, columns: readonly string[], text: string | undefined): RawBuilder<boolean> {
  if (text === undefined || text === "") return sql<boolean>`true`;
  const part = sql<string>`${asciiLowerCase(text)}`;
  return sql<boolean>`(${sql.join(
    columns.map((column) => contains(sql`lower(${sql.ref(column)})`, part)),
    sql` or `,
  )})`;
}

export function createUsers(queries: Queries) {
  const { database, dialect, raw } = queries;
  const matching = ({ text, group }: UserFilter) => {
    const isMember = group === undefined ? sql`true` : sql`id in (select user_id from group_members where name = ${group})`;
    return sql<boolean>`${containsText(dialect, ["login", "friendly_name"], text)} and ${isMember}`;
  };
  const table = createEntityTable(queries, "users", "id");
  const byLogin = table.first((query, values: { login: string }) => query.where("login", "=", values.login));
  const bySubject = table.first((query, values: { issuer: string; subject: string }) =>
    query.where("oidc_issuer", "=", values.issuer).where("oidc_subject", "=", values.subject),
  );
  const all = table.list((query) => query.orderBy("login"));
  const blockedSince = table.list((query, values: { since: number }) => query.where("blocked_on", ">=", values.since));
  const some = table.list((query, values: { ids: string }) => query.where("id", "in", queries.dialect.elements(values.ids)));
  return {
    find: table.find,
    byLogin: (login: string) => byLogin({ login }),
    /** The user that a subject of an issuer signs in as. */
    bySubject: (issuer: string, subject: string) => bySubject({ issuer, subject }),
    all: () => all({}),
    blockedSince: (since: number) => blockedSince({ since }),
    /** By login. */
    page: (filter: UserFilter, { limit, offset }: StoreRange) =>
      table.list((query) => query.where(matching(filter)).orderBy("login").limit(limit).offset(offset), "unordered")({}),
    count: async (filter: UserFilter) => {
      const counting = sql<{ count: number }>`select count(*) as count from users where ${matching(filter)}`;
      const [row] = (await database.readUnordered(raw(counting).compile())) as { count: number }[];
      return row?.count ?? 0;
    },
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
export function createGroups({ database, dialect, builder, raw, select, run }: Queries) {
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
  const ofUsers = select((values: { ids: string }) =>
    builder.selectFrom("group_members").select(["user_id as userId", "name"]).where("user_id", "in", dialect.elements(values.ids)).orderBy("name"),
  );
  const join = run((values: { name: string; userId: string }) =>
    builder
      .insertInto("group_members")
      .values({ name: values.name, user_id: values.userId })
      .onConflict((conflict) => conflict.doNothing()),
  );
  const leave = run((values: { name: string; userId: string }) =>
    builder.deleteFrom("group_members").where("name", "=", values.name).where("user_id", "=", values.userId),
  );
  const named = (text: string | undefined) => containsText(dialect, ["name"], text);
  return {
    /** The names of each user's groups, in order. */
    ofUsers: async (userIds: readonly string[]) => {
      const names = new Map<string, string[]>();
      for (const { userId, name } of await ofUsers({ ids: JSON.stringify(userIds) })) names.set(userId, [...(names.get(userId) ?? []), name]);
      return names;
    },
    /** By name, with the number of their members. */
    page: async (text: string | undefined, { limit, offset }: StoreRange) => {
      const listed = sql`select name, count(*) as members from group_members where ${named(text)} group by name order by name limit ${limit} offset ${offset}`;
      return (await database.readUnordered(raw(listed).compile())) as { name: string; members: number }[];
    },
    count: async (text: string | undefined) => {
      const counting = sql`select count(distinct name) as count from group_members where ${named(text)}`;
      const [row] = (await database.readUnordered(raw(counting).compile())) as { count: number }[];
      return row?.count ?? 0;
    },
    /** Adds a member; one who is in the group stays there. */
    join: (name: string, userId: string) => join({ name, userId }),
    /** Returns whether the user was in the group. */
    leave: async (name: string, userId: string) => (await leave({ name, userId })) > 0,
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
  const { database, dialect, builder, raw, select } = queries;
  const table = createEntityTable(queries, "dev_keys", "digest");
  const byUser = table.list((query, values: { userId: string }) => query.where("user_id", "=", values.userId).orderBy("created_on").orderBy("id"));
  const counts = select((values: { ids: string }) =>
    builder
      .selectFrom("dev_keys")
      .select((of) => ["user_id as userId", of.fn.countAll<number>().as("count")])
      .where("user_id", "in", dialect.elements(values.ids))
      .groupBy("user_id"),
  );
  const matching = ({ text, userId }: DevKeyFilter) => sql`from dev_keys join users on users.id = dev_keys.user_id
    where ${containsText(dialect, ["users.login", "dev_keys.label", "dev_keys.id"], text)}
      and ${userId === undefined ? sql`true` : sql`dev_keys.user_id = ${userId}`}`;
  return {
    byDigest: table.find,
    byUser: (userId: string) => byUser({ userId }),
    /** How many keys each of these users has; one without any is left out. */
    countByUsers: async (userIds: readonly string[]) =>
      new Map((await counts({ ids: JSON.stringify(userIds) })).map(({ userId, count }) => [userId, count])),
    /** By login, the oldest first, with the number of sessions that each opened. */
    page: async (filter: DevKeyFilter, { limit, offset }: StoreRange): Promise<DevKeyRow[]> => {
      const listed = sql`select dev_keys.id as id, dev_keys.digest as digest, dev_keys.label as label, dev_keys.created_on as "createdOn", dev_keys.last_used_on as "lastUsedOn",
          dev_keys.from_setting as "fromSetting", users.login as login,
          (select count(*) from sessions where sessions.key_digest = dev_keys.digest and sessions.container_id is null) as sessions
        ${matching(filter)} order by users.login, dev_keys.created_on, dev_keys.id limit ${limit} offset ${offset}`;
      const rows = (await database.readUnordered(raw(listed).compile())) as (Omit<DevKeyRow, "fromSetting" | "lastUsedOn"> & {
        fromSetting: number;
        lastUsedOn: number | null;
      })[];
      return rows.map(({ lastUsedOn, ...row }) => ({ ...row, lastUsedOn: lastUsedOn ?? undefined, fromSetting: row.fromSetting === 1 }));
    },
    count: async (filter: DevKeyFilter) => {
      const [row] = (await database.readUnordered(raw(sql`select count(*) as count ${matching(filter)}`).compile())) as { count: number }[];
      return row?.count ?? 0;
    },
    insert: table.insert,
    recordUse: (digest: string, lastUsedOn: number) => table.update(digest, { lastUsedOn }),
    /** Removes the sessions that it opened too. */
    remove: table.remove,
  };
}
