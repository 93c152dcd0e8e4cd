import type { JobToken } from "../model/records.ts";
import { createEntityTable } from "./entity-table.ts";
import type { Queries } from "./queries.ts";

export type TrustedPublishers = ReturnType<typeof createTrustedPublishers>;
export type JobTokens = ReturnType<typeof createJobTokens>;

export function createTrustedPublishers(queries: Queries) {
  const table = createEntityTable(queries, "trusted_publishers", "name");
  const all = table.list((query) => query.orderBy("name"));
  const byIssuer = table.list((query, values: { issuer: string }) => query.where("issuer", "=", values.issuer).orderBy("name"));
  return {
    find: table.find,
    /** By name. */
    all: () => all({}),
    byIssuer: (issuer: string) => byIssuer({ issuer }),
    insert: table.insert,
    /** Removes the tokens of its jobs too. */
    remove: table.remove,
  };
}

export function createJobTokens(queries: Queries) {
  const { builder, run, select } = queries;
  const table = createEntityTable(queries, "job_tokens", "digest");
  const bySource = table.first((query, values: { source: string }) => query.where("source", "=", values.source));
  const count = select((values: { publisher: string }) =>
    builder
      .selectFrom("job_tokens")
      .select((of) => of.fn.countAll<number>().as("count"))
      .where("publisher", "=", values.publisher),
  );
  const removeOld = run((values: { now: number }) => builder.deleteFrom("job_tokens").where("kept_until", "<=", values.now));
  return {
    find: table.find,
    bySource: (source: string) => bySource({ source }),
    countOf: async (publisher: string) => (await count({ publisher }))[0]?.count ?? 0,
    insert: (token: JobToken) => table.insert(token),
    /** Removes those whose identity tokens ended at `now` (epoch ms) or before. */
    removeOld: (now: number) => removeOld({ now: Math.trunc(now) }),
  };
}
