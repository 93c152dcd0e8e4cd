import type { Clock } from "../../../lib/clock.ts";
import type { DeployCall, Deployment, Driver } from "../../driver.ts";
import { withTimeout } from "../../../lib/deadline.ts";
import { Fault } from "../../../lib/fault.ts";
import type { Progress } from "./work.ts";

const LAST_LINES = 20;
const LAST_LINES_MS = 1_000;

/**
 * Runs a deploy for `startMs`, from now or the last progress of a pull on, which pushes the end back for `capMs` in all. Then aborts `stop`, whose
 * reason tells the container's last lines: they are asked for before the driver takes it away. Faults: START_TIMED_OUT, and what `task` fails with.
 */
export async function timedDeploy(
  parts: { service: string; driver: Pick<Driver, "logs">; startMs: number; capMs: number; stop: AbortController; clock: Clock },
  tell: (progress: Progress) => void,
  task: (call: DeployCall) => Promise<Deployment>,
): Promise<Deployment> {
  const { service, driver, startMs, capMs, stop, clock } = parts;
  stop.signal.throwIfAborted();
  const began = clock.monotonic();
  const overdue = async () => {
    const logs = await lastLines(driver, service, clock);
    const seconds = Math.round((clock.monotonic() - began) / 1_000);
    stop.abort(new Fault("START_TIMED_OUT", `${service} did not become ready within ${seconds} s.`, { logs }));
  };
  const arm = () => clock.after(startMs, () => void overdue());
  let cancel = arm();
  const onPull = (progress: Progress) => {
    tell(progress);
    if (clock.monotonic() - began > capMs) return;
    cancel();
    cancel = arm();
  };
  try {
    return await task({ signal: stop.signal, onPull });
  } finally {
    cancel();
  }
}

async function lastLines(driver: Pick<Driver, "logs">, service: string, clock: Clock): Promise<string[]> {
  let text = "";
  const read = async (signal: AbortSignal) => {
    for await (const piece of driver.logs(service, { tail: LAST_LINES }, { signal })) text += piece;
  };
  await withTimeout({ clock, ms: LAST_LINES_MS, overdue: () => new Error("Enough of it.") }, read).catch(() => undefined);
  return text.split(/\r?\n/).filter((line) => line !== "");
}
