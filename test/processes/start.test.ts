import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import t, { type Test } from "tap";
import { startBerth } from "../fixtures/berth.ts";
import { rolesBelow, startedWith } from "../fixtures/processes.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { eventually } from "../fixtures/eventually.ts";

/** A berth that is ended while it starts; containers would be child processes, so that no engine is needed. */
const BERTH = join(import.meta.dirname, "../../berth.ts");

/** Starts `berth <command>`, and returns as soon as there is more of it than the first process: `more` so many. */
async function starting(t: Test, command: string, more: number) {
  const data = tempFolder(t);
  const env = {
    PATH: process.env["PATH"] ?? "",
    BERTH_EDGE_PORT: "0",
    BERTH_CONSOLE_PORT: "0",
    BERTH_DATA: join(data, "berth-data"),
    BERTH_DRIVER: "process",
  };
  const child = spawn(process.execPath, [BERTH, command], { cwd: data, env, stdio: ["ignore", "pipe", "inherit"] });
  let printed = "";
  child.stdout.on("data", (piece: Buffer) => (printed += piece.toString()));
  const left = () => startedWith(`BERTH_DATA=${env.BERTH_DATA}`);
  t.teardown(() => left().forEach((pid) => process.kill(pid, "SIGKILL")));
  const ended = once(child, "exit") as Promise<[number | null, string | null]>;
  const looked = Date.now() + 10_000;
  // Every turn, since this is over within a second.
  while (left().length <= more) {
    if (Date.now() > looked) throw new Error(`no ${more} processes below it within 10 s: ${printed}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return { data, child, left, ended, printed: () => printed };
}

for (const [more, role] of [
  [1, "control"],
  [2, "gateway"],
] as const) {
  t.test(`a ${role} that is killed while it starts is started again, and berth gets ready`, async (t) => {
    const { child, printed, ended } = await starting(t, "serve", more);
    await eventually(`a ${role}`, async () => {
      const [pid] = rolesBelow(child.pid ?? 0)[role] ?? [];
      return pid === undefined || printed().includes(" at http") ? pid : process.kill(pid, "SIGKILL");
    });
    await eventually("berth to be ready", async () => printed().includes(" at http"));
    child.kill("SIGTERM");
    t.strictSame(await ended, [0, null]);
  });
}

for (const [more, which] of [
  [1, "control"],
  [2, "its gateway"],
] as const) {
  t.test(`killed while ${which} starts, it leaves no process behind, and the next start finds all of it free`, async (t) => {
    const { data, child, left } = await starting(t, "serve", more);
    child.kill("SIGKILL");
    await eventually("its processes to be gone", async () => left().length === 0);
    const next = await startBerth({ data, env: { BERTH_DRIVER: "process" } });
    await next.stop();
  });

  for (const command of ["serve", "demo"]) {
    t.test(`${command} that gets a stop signal while ${which} starts ends, and is not ready before`, async (t) => {
      const { child, left, ended, printed } = await starting(t, command, more);
      child.kill("SIGTERM");
      t.strictSame(await ended, [0, null]);
      t.strictSame(left(), []);
      t.notMatch(printed(), / at http/);
    });
  }
}
