import type { Clock } from "../../lib/clock.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import type { AuditEntry } from "./audit.ts";
import type { Store } from "./open-store.ts";

export type AuditLog = {
  /** Durable when it returns. Faults: the store's. */
  append(entry: Omit<AuditEntry, "seq" | "at">): void;
};

/** Who did what, in the store: it is as durable as what was done, part of each backup, and read over the API; a file of its own would be none of these. */
export function openAudit(parts: { store: Pick<Store, "audit">; keepMs: number; clock: Clock; metrics?: Pick<Metrics, "audited"> }): AuditLog {
  const { store, keepMs, clock, metrics } = parts;
  return {
    append: (entry) => {
      const at = clock.now();
      store.audit.append({ ...entry, at }, at - keepMs);
      metrics?.audited.at(entry.action).add();
    },
  };
}
