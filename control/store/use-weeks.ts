import { addToWeek, type HourOfUse, unpackWeek, type UseWeek, weekOf } from "../model/usual-hours.ts";
import { createEntityTable } from "./entity-table.ts";
import type { Queries } from "./queries.ts";

export type UseWeeks = ReturnType<typeof createUseWeeks>;

/** So many containers are read or written before other work gets its turn. */
const BATCH = 50;

/** What each container did in each hour of the last weeks: at most six rows for each, of 168 hours. */
export function createUseWeeks(queries: Queries) {
  const { builder, database, dialect, enqueue, run, select } = queries;
  const table = createEntityTable(queries, "use_weeks", "container");
  const ofContainers = table.list((query, values: { ids: string; from: number }) =>
    query.where("container", "in", dialect.elements(values.ids)).where("week", ">=", values.from),
  );
  const existing = select((values: { ids: string }) => builder.selectFrom("containers").select("id").where("id", "in", dialect.elements(values.ids)));
  const removeWeek = enqueue((values: { container: string; week: number }) =>
    builder.deleteFrom("use_weeks").where("container", "=", values.container).where("week", "=", values.week),
  );
  const removeBefore = run((values: { week: number }) => builder.deleteFrom("use_weeks").where("week", "<", values.week));
  const idsAfter = select((values: { after: string; most: number }) =>
    builder.selectFrom("use_weeks").select("container").distinct().where("container", ">", values.after).orderBy("container").limit(values.most),
  );

  const addBatch = (hour: number, uses: readonly (readonly [id: string, use: Omit<HourOfUse, "hour">])[]) =>
    database.transaction(async () => {
      const ids = JSON.stringify(uses.map(([id]) => id));
      const week = weekOf(hour);
      const containers = new Set((await existing({ ids })).map(({ id }) => id));
      const before = new Map<string, UseWeek>();
      for (const row of await ofContainers({ ids, from: week })) if (row.week === week) before.set(row.container, row);
      for (const [container, use] of uses) {
        // It was removed meanwhile.
        if (!containers.has(container)) continue;
        await removeWeek({ container, week });
        await table.enqueueInsert({ container, week, hours: addToWeek(before.get(container)?.hours ?? [], { ...use, hour }) });
      }
    });

  return {
    /** Adds to what is stored of an hour (hours since 1970). What is stored, it removes from `uses`: where it fails, the rest can be added later. */
    add: async (hour: number, uses: Map<string, Omit<HourOfUse, "hour">>) => {
      const all = [...uses];
      for (let at = 0; at < all.length; at += BATCH) {
        const batch = all.slice(at, at + BATCH);
        await addBatch(hour, batch);
        for (const [id] of batch) uses.delete(id);
        await new Promise(setImmediate);
      }
    },
    /** The hours of some containers from a week on. */
    of: async (ids: readonly string[], fromWeek: number): Promise<Map<string, HourOfUse[]>> => {
      const hours = new Map<string, HourOfUse[]>();
      for (const row of await ofContainers({ ids: JSON.stringify(ids), from: fromWeek }))
        hours.set(row.container, [...(hours.get(row.container) ?? []), ...unpackWeek(row)]);
      return hours;
    },
    /** Ids of containers that have hours, in order, after this one. */
    containers: async (after: string): Promise<string[]> => (await idsAfter({ after, most: BATCH })).map(({ container }) => container),
    removeBefore: (week: number) => removeBefore({ week }),
    removeOf: table.remove,
  };
}
