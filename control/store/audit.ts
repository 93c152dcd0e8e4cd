import { sql } from "kysely";
import type { Clock } from "../../lib/clock.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import type { AuditEntry } from "../model/records.ts";
import { createEntityTable } from "./entity-table.ts";
import type { Queries } from "./queries.ts";

/** `before` is a `seq`. */
export type AuditQuery = { limit: number; before?: number; action?: string; login?: string; target?: string; from?: number; to?: number };

/** However short the time for which entries are kept, and however many there are in it. */
const MOST_ENTRIES = 500_000;

export type Audit = ReturnType<typeof createAudit>;

export function createAudit(queries: Queries) {
  const { builder, database, dialect, run, select } = queries;
  const table = createEntityTable(queries, "audit", "seq");
  const last = select(() => builder.selectFrom("audit").select((of) => of.fn.max("seq").as("seq")));
  const removeOld = run((values: { keepFrom: number; seq: number }) =>
    builder.deleteFrom("audit").where("at", "<", values.keepFrom).where("seq", "<", values.seq),
  );
  const removeMany = run((values: { seq: number }) => builder.deleteFrom("audit").where("seq", "<=", values.seq));
  return {
    /** Durable when it resolves. Entries from before `keepFrom` (epoch ms) are removed. */
    append: (entry: Omit<AuditEntry, "seq">, keepFrom: number) =>
      database.transaction(async () => {
        const [newest] = await last({});
        const seq = (newest?.seq ?? 0) + 1;
        await table.insert({ ...entry, seq });
        await removeOld({ keepFrom: Math.trunc(keepFrom), seq });
        await removeMany({ seq: seq - MOST_ENTRIES });
      }),
    /** The newest first. */
    list: async ({ limit, before, action, login, target, from, to }: AuditQuery) => {
      const list = table.list((query) => {
        let listed = query.orderBy("seq", "desc").limit(limit);
        if (before !== undefined) listed = listed.where("seq", "<", before);
        if (action !== undefined) listed = listed.where("action", "=", action);
        if (login !== undefined) listed = listed.where("login", "=", login);
        if (target !== undefined) listed = listed.where(dialect.contains(sql.ref("target"), sql.val(target)));
        if (from !== undefined) listed = listed.where("at", ">=", from);
        if (to !== undefined) listed = listed.where("at", "<", to);
        return listed;
      }, "unordered");
      return list({});
    },
  };
}

export type AuditLog = {
  /** Durable when it resolves. Faults: the store's. */
  append(entry: Omit<AuditEntry, "seq" | "at">): Promise<void>;
};

/** The audit log is a table of the store: it is as durable as what was done, part of each backup, and read over the API; a file would be none of these. */
export function createAuditLog(deps: { audit: Pick<Audit, "append">; keepMs: number; clock: Clock; metrics?: Pick<Metrics, "audited"> }): AuditLog {
  const { audit, keepMs, clock, metrics } = deps;
  return {
    append: async (entry) => {
      const at = clock.now();
      await audit.append({ ...entry, at }, at - keepMs);
      metrics?.audited.at(entry.action).add();
    },
  };
}
