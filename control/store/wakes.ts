import type { Wake } from "../model/records.ts";
import { rowsOf } from "./rows.ts";
import type { Sql } from "./sql.ts";
import { TABLES } from "./tables.ts";

/** Older ones of the same container are forgotten. */
export const WAKES_KEPT = 20;

export type Wakes = ReturnType<typeof wakesIn>;

export function wakesIn(sql: Sql) {
  const rows = rowsOf<Wake>(sql, "wakes", "container", TABLES.wakes);
  const newest = "seq = (SELECT max(seq) FROM wakes WHERE container = ?)";
  return {
    /** The newest first. */
    of: (container: string) => rows.where("container = ? ORDER BY seq DESC", container),
    /** Call these three in the transaction of the move that they follow. */
    begin: (wake: Pick<Wake, "container" | "askedOn" | "askedFor" | "byUser">) => {
      const untold = { begunOn: undefined, endedOn: undefined, outcome: undefined, phases: undefined, connectMs: undefined, fault: undefined };
      rows.insert({ ...wake, ...untold });
      sql.run(
        "DELETE FROM wakes WHERE container = ? AND seq <= (SELECT seq FROM wakes WHERE container = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)",
        wake.container,
        wake.container,
        WAKES_KEPT,
      );
    },
    begun: (container: string, at: number) => rows.updateWhere(container, { begunOn: at }, `ended_on IS NULL AND ${newest}`, container),
    end: (container: string, ended: Pick<Wake, "outcome" | "phases" | "fault"> & { endedOn: number }) =>
      rows.updateWhere(container, ended, `ended_on IS NULL AND ${newest}`, container),
    /** Only the first word on it counts. */
    connected: (container: string, connectMs: number) =>
      rows.updateWhere(container, { connectMs }, `phases IS NOT NULL AND connect_ms IS NULL AND ${newest}`, container),
    forget: (container: string) => rows.remove(container),
  };
}
