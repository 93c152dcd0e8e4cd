import { optional, text, whole } from "./columns.ts";
import { rowsOf } from "./rows.ts";
import type { Sql } from "./sql.ts";

/** One thing that somebody did. */
export type AuditEntry = {
  /** Counts on; a later entry has a larger one. */
  seq: number;
  /** Epoch ms. */
  at: number;
  action: string;
  /** What it was done to: a container's name and id, a login, a package, an image. */
  target: string | undefined;
  userId: string | undefined;
  /** As it was then: the user may be gone. */
  login: string | undefined;
  /** What showed who it was: `devKey`, or where a session's token stood. */
  via: string | undefined;
  /** The client's address, as the edge saw it. */
  address: string | undefined;
  requestId: string | undefined;
  /** Of the answer; undefined where the client was gone before it. */
  status: number | undefined;
};

/** `before` is a `seq`. */
export type AuditQuery = { limit: number; before?: number; action?: string; login?: string; target?: string; from?: number; to?: number };

/** However short the time for which entries are kept, and however many there are in it. */
const MOST_ENTRIES = 500_000;

const CONDITIONS = [
  ["before", "seq < ?"],
  ["action", "action = ?"],
  ["login", "login = ?"],
  ["target", "instr(target, ?) > 0"],
  ["from", "at >= ?"],
  ["to", "at < ?"],
] as const;

export type Audit = ReturnType<typeof auditIn>;

export function auditIn(sql: Sql) {
  const rows = rowsOf<AuditEntry>(sql, "audit", "seq", {
    seq: whole(),
    at: whole(),
    action: text(),
    target: optional(text()),
    userId: optional(text()),
    login: optional(text()),
    via: optional(text()),
    address: optional(text()),
    requestId: optional(text()),
    status: optional(whole()),
  });
  return {
    /** Durable when it returns. Entries from before `keepFrom` (epoch ms) are forgotten. */
    append: (entry: Omit<AuditEntry, "seq">, keepFrom: number) =>
      sql.transaction(() => {
        const [last] = sql.all<{ seq: number | null }>("SELECT max(seq) AS seq FROM audit");
        const seq = (last?.seq ?? 0) + 1;
        rows.insert({ ...entry, seq });
        sql.run("DELETE FROM audit WHERE at < ? AND seq < ?", Math.trunc(keepFrom), seq);
        sql.run("DELETE FROM audit WHERE seq <= ?", seq - MOST_ENTRIES);
      }),
    /** The newest first. */
    list: ({ limit, ...asked }: AuditQuery) => {
      const given = CONDITIONS.flatMap(([name, condition]) => (asked[name] === undefined ? [] : [{ condition, value: asked[name] }]));
      const where = given.map(({ condition }) => condition).join(" AND ") || "TRUE";
      return rows.where(`${where} ORDER BY seq DESC LIMIT ?`, ...given.map(({ value }) => value), limit);
    },
  };
}
