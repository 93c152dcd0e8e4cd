import { Fault } from "../../lib/fault.ts";
import type { Fence } from "../store/database.ts";
import { type LeaderDatabase, NOTIFY } from "./leader-database.ts";

/**
 * The rows by which control processes agree on a leader. All times are by the database's clock, so the clocks of their machines do not matter.
 *
 * - `leadership` has one row: who leads, its epoch, and until when. The epoch grows with each change of the leader.
 * - `control_processes` has a row for each process, with the time of its last sign of life.
 *
 * A write of the leader locks the row FOR KEY SHARE, which a renewal does not wait for. A new leader locks it FOR UPDATE: it waits for the transactions of
 * the old one, and those that come later find another epoch.
 */
const TABLES = `SELECT pg_advisory_xact_lock(1650814569);
  CREATE TABLE IF NOT EXISTS leadership (
    id integer PRIMARY KEY CHECK (id = 1), epoch bigint NOT NULL, holder text NOT NULL, url text NOT NULL,
    expires_at timestamptz NOT NULL, since timestamptz NOT NULL);
  CREATE TABLE IF NOT EXISTS control_processes (
    id text PRIMARY KEY, name text NOT NULL, url text NOT NULL, version text NOT NULL, started_at timestamptz NOT NULL, seen_at timestamptz NOT NULL);
  INSERT INTO leadership VALUES (1, 0, '', '', 'epoch', 'epoch') ON CONFLICT DO NOTHING`;

/** A control process, as the others know it. */
export type ControlProcess = {
  /** Random, for this run of the process. */
  id: string;
  /** Of its machine, for users. */
  name: string;
  /** At which gateways reach it; empty: at none. */
  url: string;
  version: string;
};

/** `expiresInMs`: 0 or less if it has expired. */
export type LeaderRow = { epoch: number; holder: string; url: string; expiresInMs: number };

/** The processes that lived within the last minute, and how old the sign of life is. */
export type ControlProcessRow = ControlProcess & { ageMs: number; upMs: number };

export type LeaderRows = {
  /** Creates the tables. May be repeated. */
  prepare(): Promise<void>;
  /** Changes nothing. */
  leader(): Promise<LeaderRow>;
  /** Notes that this process lives, and returns the leader. */
  look(): Promise<LeaderRow>;
  /** Returns the new epoch if the row had expired. The others learn of it. */
  acquire(leaseMs: number): Promise<number | undefined>;
  /** False if another process leads. It succeeds after the lease has expired, if no other process has acquired it. */
  renew(epoch: number, leaseMs: number): Promise<boolean>;
  /** The lease ends now, and the others learn of it. */
  release(epoch: number): Promise<void>;
  /** The same for the lease of another process, which has ended. False: it has none. */
  releaseOf(holder: string): Promise<boolean>;
  processes(): Promise<ControlProcessRow[]>;
  /** For the write transactions of the leader. Faults, in `check`: CONTROL_STANDBY. */
  fence(epoch: number, leaseMs: number): Fence;
};

/** Rows of processes that ended stay for so long. */
const FORGET = "interval '1 hour'";
const LIVING = "interval '1 minute'";

/** Faults of each: STORE_UNAVAILABLE. */
export function createLeaderRows(database: LeaderDatabase, self: ControlProcess): LeaderRows {
  const [id, name, url, version] = [self.id, self.name, self.url, self.version].map(quote);
  const lease = (ms: number) => `clock_timestamp() + interval '${Math.round(ms)} milliseconds'`;
  const isOwn = (epoch: number) => `leadership.id = 1 AND leadership.holder = ${id} AND leadership.epoch = ${epoch}`;
  const signOfLife = `INSERT INTO control_processes VALUES (${id}, ${name}, ${url}, ${version}, clock_timestamp(), clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp()`;
  const leader = `SELECT epoch::float8 AS epoch, holder, url, (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::float8 AS "expiresInMs"
    FROM leadership`;
  const readLeader = async (sql: string): Promise<LeaderRow> => {
    const [row] = (await database.transaction(sql)) as LeaderRow[];
    return row ?? { epoch: 0, holder: "", url: "", expiresInMs: 0 };
  };
  return {
    prepare: async () => void (await database.transaction(TABLES)),
    leader: () => readLeader(leader),
    look: () => readLeader(`${signOfLife}; ${leader}`),
    acquire: async (leaseMs) => {
      const sql = `DELETE FROM control_processes WHERE seen_at < clock_timestamp() - ${FORGET};
        SELECT FROM leadership WHERE id = 1 AND expires_at <= clock_timestamp() FOR UPDATE;
        ${NOTIFY};
        UPDATE leadership SET epoch = epoch + 1, holder = ${id}, url = ${url}, expires_at = ${lease(leaseMs)}, since = clock_timestamp()
          WHERE id = 1 AND expires_at <= clock_timestamp() RETURNING epoch::float8 AS epoch`;
      return ((await database.transaction(sql)) as { epoch: number }[])[0]?.epoch;
    },
    renew: async (epoch, leaseMs) => {
      const sql = `${signOfLife}; UPDATE leadership SET expires_at = ${lease(leaseMs)} WHERE ${isOwn(epoch)} RETURNING 1 AS renewed`;
      return (await database.transaction(sql)).length === 1;
    },
    release: async (epoch) => {
      await database.transaction(`UPDATE leadership SET expires_at = clock_timestamp() WHERE ${isOwn(epoch)}; ${NOTIFY}`);
    },
    releaseOf: async (holder) => {
      const sql = `${NOTIFY}; UPDATE leadership SET expires_at = clock_timestamp()
        WHERE id = 1 AND holder = ${quote(holder)} AND expires_at > clock_timestamp() RETURNING 1 AS released`;
      return (await database.transaction(sql)).length === 1;
    },
    processes: async () => {
      const ms = (from: string) => `(extract(epoch FROM clock_timestamp() - ${from}) * 1000)::float8`;
      const sql = `SELECT id, name, url, version, ${ms("seen_at")} AS "ageMs", ${ms("started_at")} AS "upMs"
        FROM control_processes WHERE seen_at > clock_timestamp() - ${LIVING} ORDER BY started_at LIMIT 100`;
      return (await database.transaction(sql)) as ControlProcessRow[];
    },
    fence: (epoch, leaseMs) => ({
      // A process that stops within a transaction holds the row's lock, and with it the next leader, no longer than this.
      statement: `SELECT 1 AS leads, set_config('idle_in_transaction_session_timeout', '${Math.round(leaseMs / 2)}', true) FROM leadership WHERE ${isOwn(epoch)} AND expires_at > clock_timestamp() FOR KEY SHARE`,
      check: (rows) => {
        if (rows.length !== 1) throw new Fault("CONTROL_STANDBY", `This control process leads no longer: its epoch ${epoch} has ended.`);
      },
    }),
  };
}

/** As PostgreSQL's literals, whatever `standard_conforming_strings` is. */
function quote(text: string): string {
  return `E'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'").replaceAll("\0", "")}'`;
}
