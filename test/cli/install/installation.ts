import { execFile } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";
import { ADMIN_KEY } from "../../fixtures/berth.ts";
import { startedWith, workingIn } from "../../fixtures/processes.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { eventually } from "../../fixtures/eventually.ts";

export const ROOT = join(import.meta.dirname, "../../..");
/** The id of Debian's user without rights. */
export const UNPRIVILEGED_UID = 65_534;
const BERTH = `${process.execPath} ${join(ROOT, "berth.ts")}`;

/**
 * Stands in for systemd, which is not the first process here: ends the berth that runs by SIGTERM, waits for its end, and starts the installed
 * program. It refuses what systemctl does: a program that ends before it is ready.
 */
const MANAGER = `
pid=$(cat pid 2>/dev/null)
if [ -n "$pid" ]; then
  kill -TERM "$pid" 2>/dev/null
  while [ -e "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status"; do sleep 0.05; done
fi
: >log
./installed serve >log 2>&1 &
echo $! >pid
while ! grep -q 'berth .* at http' log; do
  [ -e "/proc/$!" ] && ! grep -q '^State:.Z' "/proc/$!/status" || { cat log >&2; exit 1; }
  sleep 0.05
done
`;

/** It may have ended by itself, as a berth does that handed over. */
function end(pid: number, signal: NodeJS.Signals = "SIGTERM"): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** An installed berth under that manager; each program is a script that runs the source tree, or spoils something first. */
export async function openInstallation(t: Test, user = 0, more: Record<string, string> = {}) {
  const folder = tempFolder(t);
  mkdirSync(join(folder, "data"), { mode: 0o700 });
  for (const one of [folder, join(folder, "data")]) chownSync(one, user, user);
  const program = (name: string, serve: string) => {
    // What tap has every Node of a test do, another user may not.
    writeFileSync(join(folder, name), `#!/bin/sh\n# ${name}\nif [ "$1" = serve ]; then :; ${serve}; fi\nunset NODE_OPTIONS\nexec ${BERTH} "$@"\n`);
    chmodSync(join(folder, name), 0o755);
    return join(folder, name);
  };
  const env = {
    PATH: process.env["PATH"],
    BERTH_DATA: join(folder, "data"),
    BERTH_ADMIN_KEY: ADMIN_KEY,
    BERTH_DRIVER: "process",
    BERTH_EDGE_PORT: "0",
    BERTH_CONSOLE_PORT: "0",
    ...more,
  };
  const run = (file: string, args: string[], changed: Record<string, string> = {}) =>
    new Promise<{ code: number; output: string }>((resolve) => {
      execFile(file, args, { env: { ...env, ...changed }, cwd: folder }, (error, stdout, stderr) =>
        resolve({ code: error ? 1 : 0, output: stdout + stderr }),
      );
    });
  const pid = () => Number(readFileSync(join(folder, "pid"), "utf8"));
  program("installed", "true");
  writeFileSync(join(folder, "manager"), MANAGER.replace("./installed", `setpriv --reuid=${user} --regid=${user} --clear-groups ./installed`));
  const started = await run("/bin/sh", ["manager"]);
  t.equal(started.code, 0, started.output);
  t.teardown(async () => {
    for (const one of startedWith(`BERTH_DATA=${env.BERTH_DATA}`)) end(one);
    await eventually("its end", async () => startedWith(`BERTH_DATA=${env.BERTH_DATA}`).length === 0);
    // Services of the process driver outlive berth on purpose.
    for (const one of workingIn(folder)) end(one, "SIGKILL");
  });
  const restart = ["--restart", "sh manager"];
  const upgrade = (from: string, how = restart, changed: Record<string, string> = {}) =>
    run(process.execPath, [join(ROOT, "berth.ts"), "upgrade", "--from", from, "--program", "installed", ...how], changed);
  const base = () => /http:\/\/\S+?:\d+/.exec(readFileSync(join(folder, "log"), "utf8"))?.[0] ?? "";
  const consoleBase = () => /^console at (http:\S+)$/m.exec(readFileSync(join(folder, "log"), "utf8"))?.[1] ?? "";
  return {
    consoleBase,
    folder,
    program,
    run,
    pid,
    upgrade,
    base,
    data: env.BERTH_DATA,
    users: async () => (await run(process.execPath, [join(ROOT, "berth.ts"), "users", "list"])).output,
  };
}
