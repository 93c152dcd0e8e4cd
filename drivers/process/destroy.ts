import type { Clock } from "../../lib/clock.ts";
import { groupIsLeft, isAlive, signalGroup, type Records } from "./records.ts";

const STOP_GRACE_MS = 10_000;
/** After SIGKILL only the kernel is waited for, and a zombie whom nobody buries is not worth a wait. */
const KILL_MS = 2_000;
const LOOK_EVERY_MS = 10;

/** Ends the service's whole group and forgets it. Without a signal it cannot be called off: it cleans up after a failure. */
export async function destroy(records: Records, clock: Clock, service: string, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  const found = records.find(service);
  if (!found) return records.remove(service);
  const identity = found.process;
  if (identity && found.running) {
    signalGroup(identity.pid, "SIGTERM");
    const gone = () => !isAlive(identity) && !groupIsLeft(identity.pid);
    if (!(await within(clock, STOP_GRACE_MS, gone, signal))) {
      signalGroup(identity.pid, "SIGKILL");
      await within(clock, KILL_MS, gone, signal);
    }
  } else if (identity && identity.startTime > 0 && !isAlive(identity) && !leads(identity.pid)) {
    // The leader died and left others behind; its number is not given away while they keep the group.
    signalGroup(identity.pid, "SIGKILL");
  }
  records.remove(service);
}

/** True where a process of this number exists: by now it is another one, and so would its group be. */
function leads(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function within(clock: Clock, ms: number, done: () => boolean, signal: AbortSignal | undefined): Promise<boolean> {
  const end = clock.monotonic() + ms;
  while (!done()) {
    if (clock.monotonic() >= end) return false;
    await clock.sleep(LOOK_EVERY_MS, signal);
  }
  return true;
}
