import type { ContainerStart } from "../model/entities.ts";
import { createEntityTable } from "./entity-table.ts";
import type { Queries } from "./queries.ts";

export type Sessions = ReturnType<typeof createSessions>;

/** Whether a session has expired is for the caller to say, who has a clock. */
export function createSessions(queries: Queries) {
  const { builder, dialect, run } = queries;
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
  const removeOldest = run((values: { keyDigest: string; most: number }) =>
    builder.deleteFrom("sessions").where(
      "digest",
      "in",
      builder
        .selectFrom("sessions")
        .select("digest")
        .where("key_digest", "=", values.keyDigest)
        .where("container_id", "is", null)
        .orderBy("expires_on", "desc")
        .orderBy(dialect.insertion, "desc")
        // Each database has another word for "all".
        .limit(Number.MAX_SAFE_INTEGER)
        .offset(values.most),
    ),
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
    insert: table.insert,
    remove: table.remove,
    /** Removes those of containers that were started before berth kept the key of each start. */
    removeWithoutKey: (userId: string) => removeWithoutKey({ userId }),
    removeByUser: (userId: string) => removeByUser({ userId }),
    /** Removes all but the newest `most` that a developer key opened; those of containers do not count. */
    removeOldest: (keyDigest: string, most: number) => removeOldest({ keyDigest, most }),
    /** Removes those that ended at `now` (epoch ms) or before; returns how many. */
    removeExpired: (now: number) => removeExpired({ now: Math.trunc(now) }),
  };
}
