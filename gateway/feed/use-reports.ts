import type { Clock } from "../../lib/clock.ts";
import type { ContainerUse, CountedUse, ReportedUse } from "../contract.ts";

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

/**
 * Reports use in batches: soon if a stop may wait for it, else every second while something changes. One report is in flight at a time, so that an
 * older one never overtakes a newer one.
 */
export function openUseReports(deps: { clock: Clock; send(uses: ReportedUse[], last: boolean): Promise<void> }): UseReports {
  const { clock, send } = deps;
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
    const reported = [...uses.values()].filter((use) => isOpen(use) || use.reportDue);
    for (const use of reported) use.reportDue = false;
    sending = report(reported);
    return sending;
  };

  const report = async (reported: readonly CountedUse[]): Promise<void> => {
    const sent = reported.map(wireForm);
    try {
      await send(sent, closing);
      for (const use of reported) if (!isOpen(use) && !use.reportDue && uses.get(use.id) === use) uses.delete(use.id);
    } catch {
      // Control is away: it gets these when it is back.
      for (const [index, use] of reported.entries()) {
        use.reportDue = true;
        const { traffic, load } = sent[index] ?? {};
        if (traffic) use.responses?.traffic.putBack(traffic);
        if (load) use.load?.putBack(load);
      }
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

function wireForm({ id, open, streams, lastActive, responses, load, replica }: CountedUse): ReportedUse {
  const traffic = responses?.traffic.take();
  return { id, open, streams, lastActive, ...(traffic ? { traffic } : {}), ...(load ? { load: load.take() } : {}), ...(replica ? { replica } : {}) };
}

function isOpen({ open, streams }: ContainerUse): boolean {
  return open > 0 || streams > 0;
}
