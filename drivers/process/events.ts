import type { Clock } from "../../lib/clock.ts";
import type { Call, DriverEvent } from "../driver.ts";
import { cutLog } from "./logs.ts";
import { instanceOf, type Records } from "./records.ts";

/** The kernel does not report the end of a process that another berth started, so this reads the records: a few small files. */
const POLL_MS = 250;

/** Logs are cut at every 20th poll: every five seconds. */
const CUT_EVERY = 20;

/** An instance is a process (`instanceOf`). */
export async function* events(records: Records, clock: Clock, { signal }: Call): AsyncGenerator<DriverEvent> {
  if (signal.aborted) return;
  let before = readStates(records);
  yield { kind: "connected" };
  for (let polls = 0; !signal.aborted; polls++) {
    if (polls % CUT_EVERY === 0) for (const { service } of records.all()) cutLog(records.logPath(service));
    const now = readStates(records);
    for (const service of new Set([...before.keys(), ...now.keys()])) {
      const [old, one] = [before.get(service), now.get(service)];
      if (old?.digest === one?.digest) continue;
      const ended = old?.instance !== undefined && (one?.running !== true || one.instance !== old.instance);
      yield { kind: "changed", service, container: (one ?? old)?.container ?? "", ...(ended ? { ended: { instance: old.instance } } : {}) };
    }
    before = now;
    await clock.sleep(POLL_MS, signal).catch(() => {});
  }
}

/** `digest` changes whenever the result of `inspect` does. */
type RecordState = { container: string; running: boolean; instance: string | undefined; digest: string };

function readStates(records: Records): Map<string, RecordState> {
  return new Map(
    records.all().map((state) => {
      const { service, labels, running, exitCode } = state;
      const instance = instanceOf(state);
      return [service, { container: labels.container, running, instance, digest: `${running} ${instance} ${exitCode}` }];
    }),
  );
}
