import { execFile } from "node:child_process";
import type { Log } from "../log.ts";

/** From systemd's own program to its answer, on a machine that is busy starting. */
const TELL_MS = 5_000;

/**
 * Tells systemd of a unit with `Type=notify` how far berth is; nothing where it was started by something else. By systemd's program, since Node has no
 * datagrams on Unix sockets; the unit needs `NotifyAccess=all` for that. Source: sd_notify(3), systemd-notify(1).
 */
export function tellSystemd(state: "ready" | "stopping", { env, log }: { env: NodeJS.ProcessEnv; log: Log }): Promise<void> {
  const { NOTIFY_SOCKET, PATH = "/usr/bin:/bin" } = env;
  if (NOTIFY_SOCKET === undefined) return Promise.resolve();
  return new Promise((resolve) => {
    execFile("systemd-notify", [`--${state}`], { env: { NOTIFY_SOCKET, PATH }, timeout: TELL_MS, killSignal: "SIGKILL" }, (err) => {
      // Systemd ends what does not get ready, and says only that it was late.
      if (err) log.warn({ err }, `systemd was not told that berth is ${state}: is systemd-notify on the PATH?`);
      resolve();
    });
  });
}
