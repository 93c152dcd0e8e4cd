import type { FaultData } from "../../lib/fault.ts";
import type { HistoryEntry } from "../model/records.ts";
import { rowsOf } from "./rows.ts";
import type { Sql } from "./sql.ts";
import { TABLES } from "./tables.ts";

/** What a move says of itself beyond its states. */
export type Reason = Pick<HistoryEntry, "at" | "event" | "byUser">;

/** Older moves of the same container or image are forgotten. */
export const HISTORY_LENGTH = 200;

export type History = ReturnType<typeof historyIn>;

export function historyIn(sql: Sql) {
  const rows = rowsOf<HistoryEntry>(sql, "history", "entity", TABLES.history);
  return {
    /** Oldest first. */
    of: (entity: string) => rows.where("entity = ? ORDER BY seq", entity),
    /** Call it in the transaction of the move itself. */
    append: (entry: HistoryEntry) => {
      rows.insert(entry);
      sql.run(
        "DELETE FROM history WHERE entity = ? AND seq <= (SELECT seq FROM history WHERE entity = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)",
        entry.entity,
        entry.entity,
        HISTORY_LENGTH,
      );
    },
    /**
     * Of images that all enter this state now; call it in their transaction, before they do. None is forgotten here: the next move of each does that.
     */
    appendToImages: (ids: string, toState: string, { at, event, byUser }: Reason) => {
      sql.run(
        `INSERT INTO history (entity, at, from_state, to_state, event, cause, by_user)
          SELECT id, ?, state, ?, ?, NULL, ? FROM images WHERE id IN (SELECT value FROM json_each(?))`,
        Math.trunc(at),
        toState,
        event,
        byUser ?? null,
        ids,
      );
    },
    forget: (entity: string) => rows.remove(entity),
  };
}

/** A fault without its log lines, which would be two hundred times those of one failure. */
export function causeOf(fault: FaultData | undefined): HistoryEntry["cause"] {
  return fault && { code: fault.code, message: fault.message };
}
