import type { Clock } from "../../clock.ts";
import type { Call, DriverEvent } from "../driver.ts";
import { cutLog } from "./cut-log.ts";
import type { Records } from "./records.ts";

/** Nobody tells of the end of a process that another berth started, so all are looked at: a read of a few small files. */
const LOOK_EVERY_MS = 250;

/** Logs are looked at once in so many looks: five seconds. */
const CUT_EVERY = 20;

/** Ends only when the signal aborts. */
export async function* events(records: Records, clock: Clock, { signal }: Call): AsyncGenerator<DriverEvent> {
  if (signal.aborted) return;
  let before = look(records);
  yield { kind: "connected" };
  for (let looks = 0; !signal.aborted; looks++) {
    if (looks % CUT_EVERY === 0) for (const { service } of records.all()) cutLog(records.logPath(service));
    const now = look(records);
    for (const service of new Set([...before.keys(), ...now.keys()])) {
      const [old, one] = [before.get(service), now.get(service)];
      if (old?.fact !== one?.fact) yield { kind: "changed", service, container: (one ?? old)?.container ?? "" };
    }
    before = now;
    await clock.sleep(LOOK_EVERY_MS, signal).catch(() => {});
  }
}

function look(records: Records): Map<string, { container: string; fact: string }> {
  return new Map(
    records
      .all()
      .map(({ service, labels, running, process, exitCode }) => [
        service,
        { container: labels.container, fact: `${running} ${process?.pid} ${exitCode}` },
      ]),
  );
}
