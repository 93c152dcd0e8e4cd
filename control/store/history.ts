import { sql } from "kysely";
import type { FaultData } from "../../lib/fault.ts";
import type { HistoryEntry, Wake } from "../model/records.ts";
import type { ImageState } from "../model/states.ts";
import { createEntityTable } from "./entity-table.ts";
import type { Queries } from "./queries.ts";

/** What a move says of itself beyond its states. */
export type Reason = Pick<HistoryEntry, "at" | "event" | "byUser">;

/** So many moves of a container or image are kept: readers get no more, and older ones are removed soon. */
export const HISTORY_LENGTH = 200;
/** One of so many moves removes what is too old, by chance: so no order of moves leaves one out for ever, and most do not pay for it. */
const REMOVAL_EVERY = 8;

export type History = ReturnType<typeof createHistory>;

export function createHistory(queries: Queries, random: () => number = Math.random) {
  const { builder, dialect, enqueue, run } = queries;
  const table = createEntityTable(queries, "history", "entity");
  const byEntity = table.list((query, values: { entity: string }) =>
    query.where("entity", "=", values.entity).orderBy("seq", "desc").limit(HISTORY_LENGTH),
  );
  const removeOld = enqueue((values: { entity: string }) =>
    builder
      .deleteFrom("history")
      .where("entity", "=", values.entity)
      .where("seq", "<=", (of) =>
        of.selectFrom("history").select("seq").where("entity", "=", values.entity).orderBy("seq", "desc").limit(1).offset(HISTORY_LENGTH),
      ),
  );
  type ImageMoves = { ids: string; toState: ImageState; at: number; event: string; byUser: string | null };
  const appendToImages = run((values: ImageMoves) =>
    builder
      .insertInto("history")
      .columns(["entity", "at", "from_state", "to_state", "event", "cause", "by_user"])
      .expression(
        builder
          .selectFrom("images")
          .select([
            "id",
            sql<number>`cast(${values.at} as bigint)`.as("at"),
            "state",
            sql<string>`cast(${values.toState} as text)`.as("to_state"),
            sql<string>`cast(${values.event} as text)`.as("event"),
            sql<null>`null`.as("cause"),
            sql<string | null>`cast(${values.byUser} as text)`.as("by_user"),
          ])
          .where("id", "in", dialect.elements(values.ids)),
      ),
  );
  return {
    /** Oldest first. */
    of: async (entity: string) => (await byEntity({ entity })).toReversed(),
    /** Call it in the transaction of the move itself. */
    append: async (entry: HistoryEntry) => {
      await table.enqueueInsert(entry);
      if (random() * REMOVAL_EVERY < 1) await removeOld({ entity: entry.entity });
    },
    /**
     * Of images that all enter this state now; call it in their transaction, before they do. None is removed here: the next move of each does that.
     */
    appendToImages: (ids: readonly string[], toState: ImageState, { at, event, byUser }: Reason) =>
      appendToImages({ ids: JSON.stringify(ids), toState, at: Math.trunc(at), event, byUser: byUser ?? null }),
    removeOf: table.remove,
  };
}

/** A fault without its log lines, which would be two hundred times those of one failure. */
export function causeOf(fault: FaultData | undefined): HistoryEntry["cause"] {
  return fault && { code: fault.code, message: fault.message };
}

/** So many starts of a container are kept, as with moves. */
export const WAKES_KEPT = 20;

export type Wakes = ReturnType<typeof createWakes>;

export function createWakes(queries: Queries, random: () => number = Math.random) {
  const { builder, enqueue } = queries;
  const table = createEntityTable(queries, "wakes", "container");
  const byContainer = table.list((query, values: { container: string }) =>
    query.where("container", "=", values.container).orderBy("seq", "desc").limit(WAKES_KEPT),
  );
  const removeOld = enqueue((values: { container: string }) =>
    builder
      .deleteFrom("wakes")
      .where("container", "=", values.container)
      .where("seq", "<=", (of) =>
        of.selectFrom("wakes").select("seq").where("container", "=", values.container).orderBy("seq", "desc").limit(1).offset(WAKES_KEPT),
      ),
  );
  const isNewest = (container: string) => sql<boolean>`seq = (select max(seq) from wakes where container = ${container})`;
  const updateOpen = table.enqueueUpdateWhere((values: { container: string }) => sql`ended_on is null and ${isNewest(values.container)}`);
  const updateUnconnected = table.updateWhere(
    (values: { container: string }) => sql`phases is not null and connect_ms is null and ${isNewest(values.container)}`,
  );
  return {
    /** The newest first. */
    of: (container: string) => byContainer({ container }),
    /** Call these three in the transaction of the move that they follow. */
    begin: async (wake: Pick<Wake, "container" | "requestedAt" | "startReason" | "byUser">) => {
      const unknown = {
        begunOn: undefined,
        endedOn: undefined,
        outcome: undefined,
        phases: undefined,
        reached: undefined,
        connectMs: undefined,
        fault: undefined,
      };
      await table.enqueueInsert({ ...wake, ...unknown });
      if (random() * REMOVAL_EVERY < 1) await removeOld({ container: wake.container });
    },
    begun: (container: string, at: number) => updateOpen(container, { begunOn: at }, { container }),
    end: (container: string, ended: Pick<Wake, "outcome" | "phases" | "reached" | "fault"> & { endedOn: number }) =>
      updateOpen(container, ended, { container }),
    /** Only the first report of it counts. */
    connected: (container: string, connectMs: number) => updateUnconnected(container, { connectMs }, { container }),
    removeOf: table.remove,
  };
}
