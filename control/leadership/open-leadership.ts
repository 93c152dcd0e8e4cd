import { createBackoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Fence } from "../store/database.ts";
import type { LeaderDatabase } from "./leader-database.ts";
import { type ControlProcess, type ControlProcessRow, createLeaderRows, type LeaderRow } from "./leader-row.ts";

/** The time for which this process leads. */
export type LeaderTerm = {
  readonly epoch: number;
  /** Aborts when it ends: `CONTROL_STANDBY`. */
  readonly ended: AbortSignal;
  /** Faults: CONTROL_STANDBY if this process may not act any more. By the monotonic clock, so it holds also for a process that was stopped meanwhile. */
  check(): void;
  fence: Fence;
  /** Ends it, and lets another process lead at once. */
  release(): Promise<void>;
};

/** What a process that does not lead knows of the leader. */
export type KnownLeader = {
  /** At which gateways reach it; undefined: none leads, or it has none. */
  url: string | undefined;
  /** Of the last leader; 0: none is known. */
  epoch: number;
  /** Why none leads, as a clause. */
  problem: string | undefined;
};

export type LeadershipStatus = {
  epoch: number;
  /** The id of the process that leads; undefined: none. */
  leader: string | undefined;
  processes: ControlProcessRow[];
  database: { name: string; roundTripMs: number };
};

/** The election among several control processes, as the leader's API sees it. */
export type ControlElection = {
  /** Faults: STORE_UNAVAILABLE. */
  status(): Promise<LeadershipStatus>;
  /** Lets another control process lead, soon after it returns. */
  stepDown(): void;
};

export type Leadership = {
  self: ControlProcess;
  /** Resolves when this process leads. Rejects with the signal's reason. */
  acquire(signal: AbortSignal): Promise<LeaderTerm>;
  /** Ends the lease of a process that has ended, if it has one: another one need not wait for its end. */
  releaseOf(holder: string): Promise<void>;
  lastLeader(): KnownLeader;
  /** Calls `listener` after each look at the leader, until the returned function is called. */
  watch(listener: () => void): () => void;
  /** On a connection of its own. Faults: STORE_UNAVAILABLE. */
  status(): Promise<LeadershipStatus>;
  close(): Promise<void>;
};

/** A standby looks this often, whether or not it was notified. */
const LOOK_MS = 1_000;
/** After a lease has expired: its holder may still renew it. */
const EXPIRED_MS = 20;
/** While this process has released the lease, and has to leave it to others. */
const RELEASED_MS = 300;
/**
 * While the database is away. A standby looks once a second anyway, so a database that is back is noticed as soon as a leader's end that was not notified. A
 * leader has a third of its lease and more for its attempts.
 */
const RETRY = { firstMs: 100, longestMs: 1_000 };

/**
 * Elects one of several control processes by a row of their database. The leader renews it at each third of `leaseMs`. It stops acting `marginMs` before the
 * lease ends, counted from before the request for it, so that no other process leads meanwhile, whatever the network and the clocks do.
 */
export function openLeadership(options: {
  database: LeaderDatabase;
  /** Opens a connection for one look at the status: a slow look must delay no renewal, and one that fails must end none. */
  openStatusDatabase(): LeaderDatabase;
  self: ControlProcess;
  leaseMs: number;
  clock: Clock;
  log: Log;
}): Leadership {
  const { database, openStatusDatabase, self, leaseMs, clock, log } = options;
  const marginMs = leaseMs / 6;
  const rows = createLeaderRows(database, self);
  let isPrepared = false;
  let lastLeader: KnownLeader = { url: undefined, epoch: 0, problem: undefined };
  const listeners = new Set<() => void>();
  let failedSince: number | undefined;
  let notBefore = 0;
  let stopTimers = () => {};

  const look = async (): Promise<LeaderRow> => {
    if (!isPrepared) await rows.prepare();
    isPrepared = true;
    return rows.look();
  };
  const learn = ({ url, epoch, expiresInMs }: LeaderRow) => {
    failedSince = undefined;
    lastLeader = { url: expiresInMs > 0 && url !== "" ? url : undefined, epoch, problem: undefined };
    for (const listener of listeners) listener();
  };
  const failed = (error: unknown) => {
    failedSince ??= clock.now();
    const why = error instanceof Fault ? error.message.replace(/\.$/, "") : String(error);
    if (lastLeader.problem === undefined) log.warn({ err: error }, "leadership unknown");
    lastLeader = { ...lastLeader, url: undefined, problem: `${why} (since ${new Date(failedSince).toISOString()})` };
  };
  /** Ends early at a notification. */
  const wait = async (ms: number, signal: AbortSignal) => {
    const early = new AbortController();
    const unwatch = database.watch(() => early.abort());
    await clock.sleep(ms, AbortSignal.any([early.signal, signal])).catch(() => undefined);
    unwatch();
  };

  const lookAtStatus = async (): Promise<LeadershipStatus> => {
    const own = openStatusDatabase();
    const ownRows = createLeaderRows(own, self);
    try {
      // Connects first, which is no part of the round trip.
      const processes = await ownRows.processes();
      const from = clock.monotonic();
      const { epoch, holder, expiresInMs } = await ownRows.leader();
      const roundTripMs = clock.monotonic() - from;
      return { epoch, leader: expiresInMs > 0 ? holder : undefined, processes, database: { name: own.name, roundTripMs } };
    } finally {
      await own.close();
    }
  };
  let statusUnderWay: Promise<LeadershipStatus> | undefined;

  const begin = (epoch: number, from: number): LeaderTerm => {
    const retries = createBackoff(RETRY.firstMs, RETRY.longestMs);
    const ended = new AbortController();
    let until = from + leaseMs - marginMs;
    let cancelEnd = () => {};
    let cancelRenewal = () => {};
    let isReleased = false;
    let isClosed = false;
    stopTimers = () => {
      isClosed = true;
      cancelEnd();
      cancelRenewal();
    };
    const end = (why: string) => {
      if (ended.signal.aborted) return;
      stopTimers();
      if (!isReleased) log.error({ epoch, why }, "leadership lost");
      ended.abort(new Fault("CONTROL_STANDBY", `This control process leads no longer: ${why}.`));
    };
    const limit = () => {
      cancelEnd();
      cancelEnd = clock.after(Math.max(0, until - clock.monotonic()), () =>
        end(`its lease was not renewed${lastLeader.problem === undefined ? "" : `, ${lastLeader.problem}`}`),
      );
    };
    const renew = async () => {
      const sentAt = clock.monotonic();
      let nextMs = leaseMs / 3;
      try {
        if (!(await rows.renew(epoch, leaseMs))) return end("another process leads");
        retries.reset();
        until = sentAt + leaseMs - marginMs;
        learn({ epoch, holder: self.id, url: self.url, expiresInMs: leaseMs });
        if (!isClosed) limit();
      } catch (error) {
        failed(error);
        nextMs = retries.next();
      }
      if (!isClosed) cancelRenewal = clock.after(nextMs, () => void renew());
    };
    limit();
    cancelRenewal = clock.after(leaseMs / 3, () => void renew());
    log.info({ epoch }, "leadership acquired");
    const stepDown = async () => {
      isReleased = true;
      end("it has stepped down");
      lastLeader = { url: undefined, epoch, problem: undefined };
      // The others come first.
      notBefore = clock.monotonic() + 2 * leaseMs;
      await rows.release(epoch).then(
        () => log.info({ epoch }, "leadership released"),
        (err: unknown) => log.warn({ err, epoch }, "leadership not released: it expires"),
      );
    };
    let released: Promise<void> | undefined;
    return {
      epoch,
      ended: ended.signal,
      check: () => {
        if (clock.monotonic() >= until) end("its lease has ended");
        ended.signal.throwIfAborted();
      },
      fence: rows.fence(epoch, leaseMs),
      release: () => (released ??= stepDown()),
    };
  };

  return {
    self,
    acquire: async (signal) => {
      const retries = createBackoff(RETRY.firstMs, RETRY.longestMs);
      for (;;) {
        signal.throwIfAborted();
        let waitMs: number;
        try {
          const lookedAt = clock.monotonic();
          const row = await look();
          retries.reset();
          learn(row);
          // It has acquired the lease, and the answer came too late.
          if (row.holder === self.id && row.expiresInMs > leaseMs / 2 && lookedAt >= notBefore)
            return begin(row.epoch, lookedAt + row.expiresInMs - leaseMs);
          waitMs = Math.min(LOOK_MS, row.expiresInMs + EXPIRED_MS);
          if (row.expiresInMs <= 0) {
            const from = clock.monotonic();
            const epoch = from < notBefore ? undefined : await rows.acquire(leaseMs);
            if (epoch !== undefined) return begin(epoch, from);
            waitMs = RELEASED_MS;
          }
        } catch (error) {
          failed(error);
          waitMs = retries.next();
        }
        await wait(waitMs, signal);
      }
    },
    releaseOf: async (holder) => {
      if (await rows.releaseOf(holder)) log.info({ holder }, "lease of an ended process released");
    },
    lastLeader: () => lastLeader,
    watch: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    // One connection, however many ask at the same time.
    status: () => (statusUnderWay ??= lookAtStatus().finally(() => (statusUnderWay = undefined))),
    close: () => {
      stopTimers();
      return database.close();
    },
  };
}
