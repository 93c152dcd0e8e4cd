import type { Clock } from "../../lib/clock.ts";
import { groupExists, isAlive, signalGroup, type Records } from "./records.ts";

const STOP_GRACE_MS = 10_000;
/** After SIGKILL only the kernel is to act. A zombie that is not reaped is left. */
const KILL_MS = 2_000;
const POLL_MS = 10;

/** Ends the service's process group and removes its record. Without a signal it cannot be aborted: it cleans up after a failure. */
export async function destroy(records: Records, clock: Clock, service: string, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  const current = records.find(service);
  if (!current) return records.remove(service);
  const identity = current.process;
  if (identity && current.running) {
    signalGroup(identity.pid, "SIGTERM");
    const gone = () => !isAlive(identity) && !groupExists(identity.pid);
    if (!(await waitUntil(clock, STOP_GRACE_MS, gone, signal))) {
      signalGroup(identity.pid, "SIGKILL");
      await waitUntil(clock, KILL_MS, gone, signal);
    }
  } else if (identity && identity.startTime > 0 && !isAlive(identity) && !isUsed(identity.pid)) {
    // The leader has ended without the rest of its group. The kernel does not reuse its pid while the group exists.
    signalGroup(identity.pid, "SIGKILL");
  }
  records.remove(service);
}

/** True if a process has this pid. It is another one, and so is its group. */
function isUsed(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function waitUntil(clock: Clock, ms: number, done: () => boolean, signal: AbortSignal | undefined): Promise<boolean> {
  const end = clock.monotonic() + ms;
  while (!done()) {
    if (clock.monotonic() >= end) return false;
    await clock.sleep(POLL_MS, signal);
  }
  return true;
}
