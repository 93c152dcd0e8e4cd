import type { Clock } from "../../lib/clock.ts";
import { inTurns } from "../../lib/in-turns.ts";
import type { ContainerUse, CountedUse, ReportedUse, UseReport } from "../contract.ts";

type UseReports = {
  /** The object may change after this call: the report has its values when it is sent. `soon`: a stop may wait for it. */
  used(use: CountedUse, soon: boolean): void;
  /** Control waits for an acknowledgement, or is connected again: report soon. */
  flushSoon(): void;
  /** Reports this often even without changes. Undefined: only after changes. */
  every(ms: number | undefined): void;
  /** Sends the last report, unless control is away. */
  close(): Promise<void>;
};

/** Several events within this time make one report. */
const SOON_MS = 50;
const EVERY_MS = 1_000;
/** So many uses are read and written in one turn of the event loop: some milliseconds. A hundred thousand containers may be in use. */
const IN_ONE_TURN = 1_000;

/** What a report begins with. Faults of reading it: CONTROL_AWAY. */
export type UseReportHead = Pick<UseReport, "gateway" | "seq">;

type UseReportDeps = {
  clock: Clock;
  /** Called before the uses are read, so that none of them is older than `seq`. */
  readHead(): UseReportHead;
  /** `report`: JSON. */
  send(head: UseReportHead, report: Buffer): Promise<void>;
};

/**
 * Reports use in batches: soon if a stop may wait for it, else every second while something changes. One report is in flight at a time, so that an
 * older one never overtakes a newer one.
 */
export function openUseReports({ clock, readHead, send }: UseReportDeps): UseReports {
  const uses = new Map<string, CountedUse>();
  let due: { at: number; ms: number; cancel: () => void } | undefined;
  let sending: Promise<void> | undefined;
  let again = false;
  let closing = false;
  let cancelBeat: () => void = () => undefined;

  const flush = (): Promise<void> => {
    due?.cancel();
    due = undefined;
    if (sending !== undefined) {
      again = true;
      return sending;
    }
    sending = report();
    return sending;
  };

  const report = async (): Promise<void> => {
    const reported = [...uses.values()].filter((use) => isOpen(use) || use.reportDue);
    const sent: ReportedUse[] = [];
    try {
      const head = readHead();
      const pieces = [Buffer.from(`${JSON.stringify({ ...head, at: clock.now(), ...(closing ? { last: true } : {}) }).slice(0, -1)},"uses":[`)];
      for (let at = 0; at < reported.length; at += IN_ONE_TURN) {
        if (at > 0) await new Promise(setImmediate);
        const now = clock.now();
        const part = reported.slice(at, at + IN_ONE_TURN).map((use) => takeUse(use, now));
        sent.push(...part);
        pieces.push(Buffer.from(`${at > 0 ? "," : ""}${JSON.stringify(part).slice(1, -1)}`));
      }
      await send(head, Buffer.concat([...pieces, Buffer.from("]}")]));
      await inTurns(reported, IN_ONE_TURN, (use) => {
        if (!isOpen(use) && !use.reportDue && uses.get(use.id) === use) uses.delete(use.id);
      });
    } catch {
      // Control is away: it gets these when it is back.
      let index = 0;
      await inTurns(reported, IN_ONE_TURN, (use) => {
        use.reportDue = true;
        const { traffic, load } = sent[index++] ?? {};
        if (traffic) use.responses?.traffic.putBack(traffic);
        if (load) use.load?.putBack(load);
      });
      if (!closing) schedule(EVERY_MS * (1 + Math.random()));
    }
    sending = undefined;
    // The number of replicas follows from them, also while nothing else changes.
    if (!closing && reported.some((use) => use.load !== undefined && isOpen(use))) schedule(EVERY_MS);
    if (again) schedule(SOON_MS);
    again = false;
  };

  const schedule = (ms: number) => {
    // Most calls, two for each request, need not read the clock.
    if (due !== undefined && due.ms <= ms) return;
    const at = clock.monotonic() + ms;
    if (due !== undefined && due.at <= at) return;
    due?.cancel();
    due = { at, ms, cancel: clock.after(ms, () => void flush()) };
  };

  const beat = (ms: number) => {
    cancelBeat = clock.after(ms, () => {
      if (sending === undefined) void flush();
      beat(ms);
    });
  };

  return {
    used: (use, soon) => {
      // Called twice for each request.
      if (!use.reportDue) {
        uses.set(use.id, use);
        use.reportDue = true;
      }
      schedule(soon ? SOON_MS : EVERY_MS);
    },
    flushSoon: () => schedule(SOON_MS),
    every: (ms) => {
      cancelBeat();
      if (ms !== undefined && !closing) beat(ms);
    },
    close: async () => {
      cancelBeat();
      due?.cancel();
      await sending;
      closing = true;
      await flush();
      due?.cancel();
    },
  };
}

/** The use in the form of the wire. What has changed since then is of the next report. */
function takeUse(use: CountedUse, now: number): ReportedUse {
  // The clock was set back: else each report of an open WebSocket would be use.
  if (use.lastActive > now) use.lastActive = now;
  const { id, open, streams, lastActive, responses, load, replica } = use;
  use.reportDue = false;
  const traffic = responses?.traffic.take();
  return { id, open, streams, lastActive, ...(traffic ? { traffic } : {}), ...(load ? { load: load.take() } : {}), ...(replica ? { replica } : {}) };
}

function isOpen({ open, streams }: ContainerUse): boolean {
  return open > 0 || streams > 0;
}
