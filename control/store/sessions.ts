import { sql } from "kysely";
import type { ContainerStart, Session, SessionKind } from "../model/entities.ts";
import type { Sealed } from "../model/records.ts";
import { createEntityTable } from "./entity-table.ts";
import type { Queries } from "./queries.ts";
import { containsText, type StoreRange } from "./users.ts";

export type Sessions = ReturnType<typeof createSessions>;

/** Sessions of users that end after `now` (epoch ms). `text`: a part of the login or the address. `userId`: only of this user. */
export type SessionFilter = { now: number; text?: string | undefined; userId?: string | undefined };

/** Of the digest of a session, in characters: enough to distinguish the sessions of one user. */
export const SESSION_ID_LENGTH = 16;

export type SessionRow = {
  digest: string;
  login: string;
  kind: SessionKind | null;
  parent: string | null;
  createdOn: number | null;
  expiresOn: number;
  address: string | null;
  /** Null: no developer key opened it. */
  keyId: string | null;
  keyLabel: string | null;
};

/** Whether a session has expired is for the caller to say, who has a clock. */
/** `kept`: the digest of a session; empty: none. */
export type KeptSession = { userId: string; kept: string };

/** The digests of a user's sessions, except the kept one, those that came from it, and those of containers. */
function otherSessions(builder: Queries["builder"], { userId, kept }: KeptSession) {
  return builder
    .selectFrom("sessions")
    .select("digest")
    .where("user_id", "=", userId)
    .where("container_id", "is", null)
    .where("digest", "<>", kept)
    .where((is) => is.or([is("parent", "is", null), is("parent", "<>", kept)]));
}

/** The digests of the kept session, and of those that came from it. */
export function keptSessions(builder: Queries["builder"], { kept }: Pick<KeptSession, "kept">) {
  return builder
    .selectFrom("sessions")
    .select("digest")
    .where((is) => is.or([is("digest", "=", kept), is("parent", "=", kept)]));
}

export function createSessions(queries: Queries) {
  const { builder, database, dialect, raw, run } = queries;
  const table = createEntityTable(queries, "sessions", "digest");
  const byDerived = table.first((query, values: { derivedDigest: string }) => query.where("derived_digest", "=", values.derivedDigest));
  const byParent = table.list((query, values: { parent: string }) => query.where("parent", "=", values.parent));
  const byUser = table.list((query, values: { userId: string }) => query.where("user_id", "=", values.userId));
  const byContainer = table.list((query, values: { containerId: string }) => query.where("container_id", "=", values.containerId));
  const ofContainers = table.list((query) => query.where("container_id", "is not", null));
  const removeByContainer = run((values: { containerId: string }) => builder.deleteFrom("sessions").where("container_id", "=", values.containerId));
  const removeWithoutKey = run((values: { userId: string }) =>
    builder.deleteFrom("sessions").where("user_id", "=", values.userId).where("container_id", "is not", null).where("key_digest", "is", null),
  );
  const removeByUser = run((values: { userId: string }) => builder.deleteFrom("sessions").where("user_id", "=", values.userId));
  /** Those older than the newest `most`: of sessions of the console (1), or of all others (0). */
  const olderThanNewest = (values: { isConsole: number; most: number }) =>
    builder
      .selectFrom("sessions")
      .select("digest")
      .where(sql<number>`case when kind = 'console' then 1 else 0 end`, "=", values.isConsole)
      .where("container_id", "is", null)
      .orderBy("expires_on", "desc")
      .orderBy(dialect.insertion, "desc")
      // Each database has another word for "all".
      .limit(Number.MAX_SAFE_INTEGER)
      .offset(values.most);
  const removeOldest = run((values: { keyDigest: string; isConsole: number; most: number }) =>
    builder.deleteFrom("sessions").where("digest", "in", olderThanNewest(values).where("key_digest", "=", values.keyDigest)),
  );
  const removeOldestKeyless = run((values: { userId: string; isConsole: number; most: number }) =>
    builder
      .deleteFrom("sessions")
      .where("digest", "in", olderThanNewest(values).where("user_id", "=", values.userId).where("key_digest", "is", null)),
  );
  /** Those of containers end with their containers. */
  const matching = ({ now, text, userId }: SessionFilter) => sql`from sessions join users on users.id = sessions.user_id
    left join dev_keys on dev_keys.digest = sessions.key_digest
    where sessions.container_id is null and sessions.expires_on > ${Math.trunc(now)}
      and ${containsText(dialect, ["users.login", "sessions.address"], text)}
      and ${userId === undefined ? sql`true` : sql`sessions.user_id = ${userId}`}`;
  /** Also of sessions that have expired: those of containers outlast them. */
  const removeChildren = run((values: KeptSession) =>
    builder
      .deleteFrom("sessions")
      .where("user_id", "=", values.userId)
      .where("digest", "<>", values.kept)
      .where("parent", "is not", null)
      .where("parent", "not in", keptSessions(builder, values)),
  );
  const removeOthers = run((values: KeptSession) => builder.deleteFrom("sessions").where("digest", "in", otherSessions(builder, values)));
  const byId = table.first((query, values: { userId: string; id: string }) =>
    query
      .where("user_id", "=", values.userId)
      .where("container_id", "is", null)
      .where(sql<boolean>`substr(digest, 1, ${sql.lit(SESSION_ID_LENGTH)}) = ${values.id}`),
  );
  const removeExpired = run((values: { now: number }) => builder.deleteFrom("sessions").where("expires_on", "<=", values.now));
  return {
    byDigest: table.find,
    byDerived: (derivedDigest: string) => byDerived({ derivedDigest }),
    byParent: (parent: string) => byParent({ parent }),
    updateDerived: (digest: string, derivedDigest: string) => table.update(digest, { derivedDigest }),
    byUser: (userId: string) => byUser({ userId }),
    byContainer: (containerId: string) => byContainer({ containerId }),
    ofContainers: () => ofContainers({}),
    updateStart: (digest: string, start: ContainerStart) => table.update(digest, { start }),
    removeByContainer: (containerId: string) => removeByContainer({ containerId }),
    insert: async (session: Session) => {
      await table.enqueueInsert(session);
      return session;
    },
    remove: table.remove,
    /** The session of a user by its id, which is the beginning of its digest; not one of a container. */
    byId: (userId: string, id: string) => byId({ userId, id }),
    /** The last to end first. */
    page: async (filter: SessionFilter, { limit, offset }: StoreRange) => {
      const listed = sql`select sessions.digest as digest, users.login as login, sessions.kind as kind, sessions.parent as parent,
          sessions.created_on as "createdOn", sessions.expires_on as "expiresOn", sessions.address as address, dev_keys.id as "keyId",
          dev_keys.label as "keyLabel"
        ${matching(filter)} order by sessions.expires_on desc, sessions.digest limit ${limit} offset ${offset}`;
      return (await database.readUnordered(raw(listed).compile())) as SessionRow[];
    },
    count: async (filter: SessionFilter) => {
      const [row] = (await database.readUnordered(raw(sql`select count(*) as count ${matching(filter)}`).compile())) as { count: number }[];
      return row?.count ?? 0;
    },
    /** Removes all sessions of a user, except the one with the digest `kept` and those that came from it. Returns how many. */
    removeAllOf: (userId: string, kept: string | undefined) =>
      database.transaction(async () => {
        const values = { userId, kept: kept ?? "" };
        await removeChildren(values);
        return removeOthers(values);
      }),
    /** Removes those of containers that were started before berth kept the key of each start. */
    removeWithoutKey: (userId: string) => removeWithoutKey({ userId }),
    removeByUser: (userId: string) => removeByUser({ userId }),
    /**
     * Removes all but the newest `most` that a developer key opened: of those of the console, or of all others. Without a key, of those of the user that no key
     * opened. Those of containers do not count.
     */
    removeOldest: ({ userId, keyDigest, kind }: Pick<Session, "userId" | "keyDigest" | "kind">, most: number) => {
      const values = { isConsole: kind === "console" ? 1 : 0, most };
      return keyDigest === undefined ? removeOldestKeyless({ userId, ...values }) : removeOldest({ keyDigest, ...values });
    },
    /** Removes those that ended at `now` (epoch ms) or before; returns how many. */
    removeExpired: (now: number) => removeExpired({ now: Math.trunc(now) }),
  };
}

export type ProviderSessions = ReturnType<typeof createProviderSessions>;

/** The provider's own sessions behind those that began at a sign-in provider. Each goes with its session. */
export function createProviderSessions(queries: Queries) {
  const table = createEntityTable(queries, "provider_sessions", "digest");
  const bySid = table.list((query, values: { issuer: string; sid: string }) =>
    query.where("issuer", "=", values.issuer).where("sid", "=", values.sid),
  );
  const bySubject = table.list((query, values: { issuer: string; subject: string }) =>
    query.where("issuer", "=", values.issuer).where("subject", "=", values.subject),
  );
  const sealed = table.list((query) => query.where("id_token", "is not", null));
  return {
    find: table.find,
    insert: table.insert,
    bySid: (issuer: string, sid: string) => bySid({ issuer, sid }),
    bySubject: (issuer: string, subject: string) => bySubject({ issuer, subject }),
    /** Those that keep an ID token. */
    sealed: () => sealed({}),
    updateIdToken: (digest: string, idToken: Sealed | undefined) => table.update(digest, { idToken }),
  };
}
