import { createEntityTable } from "./entity-table.ts";
import type { Queries } from "./queries.ts";

export type Tombstones = ReturnType<typeof createTombstones>;

export function createTombstones(queries: Queries) {
  const table = createEntityTable(queries, "tombstones", "id");
  const some = table.list((query, values: { ids: string }) => query.where("id", "in", queries.dialect.elements(values.ids)));
  const open = table.list((query) => query.where("cleared_on", "is", null));
  const adopted = table.first((query, values: { service: string }) =>
    query.where("cleared_on", "is", null).where("service", "=", values.service).where("adopted", "is not", null),
  );
  return {
    find: table.find,
    some: (ids: readonly string[]) => some({ ids: JSON.stringify(ids) }),
    /** The adopted instance of this service that is still to be ended. */
    adopted: (service: string) => adopted({ service }),
    /** Those whose service may still run. */
    open: () => open({}),
    /** A service of it was observed after all, whatever its name. */
    reopen: (id: string, service: string) => table.update(id, { service, clearedOn: undefined }),
    clear: (id: string, now: number) => table.update(id, { clearedOn: now }),
  };
}
