import { execFile } from "node:child_process";
import type { Clock } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";

/** From systemd's own program to its answer, on a machine that is busy starting. */
const NOTIFY_MS = 5_000;

/**
 * Tells systemd of a unit with `Type=notify` how far berth is; nothing where it was started by something else. By systemd's program, since Node has no
 * datagrams on Unix sockets; the unit needs `NotifyAccess=all` for that. Source: sd_notify(3), systemd-notify(1).
 */
export function notifySystemd(
  state: "ready" | "stopping" | "alive",
  /** `mainPid`: of which process systemd is to take the service to be from now on. */
  { env, mainPid, log }: { env: NodeJS.ProcessEnv; mainPid?: number | undefined; log: Log },
): Promise<void> {
  const { NOTIFY_SOCKET, PATH = "/usr/bin:/bin" } = env;
  if (NOTIFY_SOCKET === undefined) return Promise.resolve();
  return new Promise((resolve) => {
    execFile(
      "systemd-notify",
      [state === "alive" ? "WATCHDOG=1" : `--${state}`, ...(mainPid === undefined ? [] : [`--pid=${mainPid}`])],
      { env: { NOTIFY_SOCKET, PATH }, timeout: NOTIFY_MS, killSignal: "SIGKILL" },
      (err) => {
        // Systemd ends what does not get ready, and logs only that it was late.
        if (err) log.warn({ err }, `systemd was not notified that berth is ${state}: is systemd-notify on the PATH?`);
        resolve();
      },
    );
  });
}

/** Of a third of the time that systemd waits one notice may get lost, and one may be late. */
const NOTICES_PER_LIMIT = 3;

/**
 * Tells systemd of a unit with `WatchdogSec` that this process is alive, for as long as its event loop runs; the returned function ends that. It watches
 * the other processes of berth itself. Source: sd_watchdog_enabled(3).
 */
export function startSystemdWatchdog({ env, clock, log }: { env: NodeJS.ProcessEnv; clock: Clock; log: Log }): () => void {
  const limitMs = Number(env["WATCHDOG_USEC"]) / 1_000;
  if (env["NOTIFY_SOCKET"] === undefined || !(limitMs > 0)) return () => {};
  let cancel = () => {};
  const tell = () => {
    void notifySystemd("alive", { env, log });
    cancel = clock.after(limitMs / NOTICES_PER_LIMIT, tell);
  };
  tell();
  return () => cancel();
}
