import { sql } from "kysely";
import type { Wake } from "../model/records.ts";
import { createEntityTable } from "./entity-table.ts";
import type { Queries } from "./queries.ts";

/** Older ones of the same container are removed. */
export const WAKES_KEPT = 20;

export type Wakes = ReturnType<typeof createWakes>;

export function createWakes(queries: Queries) {
  const { builder, run } = queries;
  const table = createEntityTable(queries, "wakes", "container");
  const byContainer = table.list((query, values: { container: string }) => query.where("container", "=", values.container).orderBy("seq", "desc"));
  const removeOld = run((values: { container: string }) =>
    builder
      .deleteFrom("wakes")
      .where("container", "=", values.container)
      .where("seq", "<=", (of) =>
        of.selectFrom("wakes").select("seq").where("container", "=", values.container).orderBy("seq", "desc").limit(1).offset(WAKES_KEPT),
      ),
  );
  const isNewest = (container: string) => sql<boolean>`seq = (select max(seq) from wakes where container = ${container})`;
  const updateOpen = table.updateWhere((values: { container: string }) => sql`ended_on is null and ${isNewest(values.container)}`);
  const updateUnconnected = table.updateWhere(
    (values: { container: string }) => sql`phases is not null and connect_ms is null and ${isNewest(values.container)}`,
  );
  return {
    /** The newest first. */
    of: (container: string) => byContainer({ container }),
    /** Call these three in the transaction of the move that they follow. */
    begin: async (wake: Pick<Wake, "container" | "askedOn" | "askedFor" | "byUser">) => {
      const unknown = { begunOn: undefined, endedOn: undefined, outcome: undefined, phases: undefined, connectMs: undefined, fault: undefined };
      await table.insert({ ...wake, ...unknown });
      await removeOld({ container: wake.container });
    },
    begun: (container: string, at: number) => updateOpen(container, { begunOn: at }, { container }),
    end: (container: string, ended: Pick<Wake, "outcome" | "phases" | "fault"> & { endedOn: number }) => updateOpen(container, ended, { container }),
    /** Only the first report of it counts. */
    connected: (container: string, connectMs: number) => updateUnconnected(container, { connectMs }, { container }),
    removeOf: table.remove,
  };
}
