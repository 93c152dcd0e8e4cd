import type { Clock } from "../../lib/clock.ts";
import type { Call, DriverEvent } from "../driver.ts";
import { cutLog } from "./logs.ts";
import { instanceOf, type Records } from "./records.ts";

/** Nobody tells of the end of a process that another berth started, so all are looked at: a read of a few small files. */
const LOOK_EVERY_MS = 250;

/** Logs are looked at once in so many looks: five seconds. */
const CUT_EVERY = 20;

/** An instance is a process (`instanceOf`). Ends only when the signal aborts. */
export async function* events(records: Records, clock: Clock, { signal }: Call): AsyncGenerator<DriverEvent> {
  if (signal.aborted) return;
  let before = look(records);
  yield { kind: "connected" };
  for (let looks = 0; !signal.aborted; looks++) {
    if (looks % CUT_EVERY === 0) for (const { service } of records.all()) cutLog(records.logPath(service));
    const now = look(records);
    for (const service of new Set([...before.keys(), ...now.keys()])) {
      const [old, one] = [before.get(service), now.get(service)];
      if (old?.fact === one?.fact) continue;
      const over = old?.instance !== undefined && (one?.running !== true || one.instance !== old.instance);
      yield { kind: "changed", service, container: (one ?? old)?.container ?? "", ...(over ? { ended: { instance: old.instance } } : {}) };
    }
    before = now;
    await clock.sleep(LOOK_EVERY_MS, signal).catch(() => {});
  }
}

type Look = { container: string; running: boolean; instance: string | undefined; fact: string };

function look(records: Records): Map<string, Look> {
  return new Map(
    records.all().map((found) => {
      const { service, labels, running, exitCode } = found;
      const instance = instanceOf(found);
      return [service, { container: labels.container, running, instance, fact: `${running} ${instance} ${exitCode}` }];
    }),
  );
}
