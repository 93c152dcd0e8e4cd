import { spawn } from "node:child_process";
import type { Clock } from "../clock.ts";
import { Fault, type FaultData } from "../fault.ts";
import type { Log } from "../log.ts";
import { type Child, keepRunning } from "./keep-running.ts";
import type { ListeningHandle } from "./listening-handle.ts";

export type { Child } from "./keep-running.ts";

/** What a role process tells the process that forked it. */
export type ChildReport = { kind: "ready" } | { kind: "fault"; fault: FaultData };

/** What it is told: `listen` comes with the socket to accept on. */
export type ParentOrder = { kind: "listen" } | { kind: "end" };

/** Keeps one role process running, as `keepRunning` does; it says itself that it is ready, or why it cannot be. */
export function keepChild(options: {
  role: string;
  /** The program that runs it, as `node <script> <role>`; undefined where this executable is all of berth. */
  script: string | undefined;
  env: NodeJS.ProcessEnv;
  /** Given to it once it is there; until then the process loads what it is made of, and does nothing. */
  handle?: Promise<ListeningHandle>;
  clock: Clock;
  log: Log;
}): Child {
  const { role, clock } = options;
  return keepRunning({
    name: role,
    clock,
    log: options.log.child({ role }),
    end: (forked) => {
      const end: ParentOrder = { kind: "end" };
      // One that no message reaches any more ends by itself: its parent is gone, as far as it can see.
      forked.send(end, () => undefined);
    },
    launch: ({ ready, cannot }) => {
      // What it prints belongs to the person at the terminal; Ctrl-C there is the parent's to hear.
      const args = options.script === undefined ? [role] : [...process.execArgv, options.script, role];
      const forked = spawn(process.execPath, args, { env: options.env, stdio: ["ignore", "inherit", "inherit", "ipc"], detached: true });
      forked.on("message", (report: ChildReport) => {
        if (report.kind === "ready") ready();
        else cannot(Fault.from(report.fault));
      });
      // Without its handle it would wait for ever: its end is seen, and it is started again.
      const listen: ParentOrder = { kind: "listen" };
      const give = (handle: ListeningHandle) => forked.send(listen, handle as never, (error) => void (error && forked.kill("SIGKILL")));
      // Where it never comes, the whole start failed, and ends this one.
      options.handle?.then(give, () => undefined);
      return forked;
    },
  });
}
