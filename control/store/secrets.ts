import type { Sealed } from "../model/records.ts";
import { createEntityTable } from "./entity-table.ts";
import type { Queries } from "./queries.ts";

export type SharedSecrets = ReturnType<typeof createSharedSecrets>;
export type SharedTexts = ReturnType<typeof createSharedTexts>;

/** Secrets that all processes of the store have in common, sealed with the key of the credentials. */
export function createSharedSecrets(queries: Queries) {
  const table = createEntityTable(queries, "shared_secrets", "name");
  const all = table.list((query) => query.orderBy("name"));
  return {
    find: table.find,
    all: () => all({}),
    insert: table.insert,
    reseal: (name: string, { keyId, box }: Sealed) => table.update(name, { keyId, box }),
  };
}

/** Small files that all processes of the store have in common. */
export function createSharedTexts(queries: Queries) {
  const table = createEntityTable(queries, "shared_texts", "name");
  return {
    find: async (name: string) => (await table.find(name))?.text,
    put: (name: string, text: string) =>
      queries.database.transaction(async () => {
        if (!(await table.update(name, { text }))) await table.insert({ name, text });
      }),
  };
}
