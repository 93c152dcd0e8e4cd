import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import t from "tap";
import { tempFolder } from "../fixtures/temp-folder.ts";

import { endLeftovers } from "./leftovers.ts";

import { eventually } from "../fixtures/eventually.ts";

const MARK = join(import.meta.dirname, "prepare-process.ts");
/** A test file that starts something in a session of its own, prints its number, and goes on until it is killed. */
const FILE = `
  const { spawn } = await import("node:child_process");
  const child = spawn("sleep", ["600"], { detached: true, stdio: "ignore", env: { PATH: process.env.PATH } });
  console.log(child.pid);
  setInterval(() => {}, 1_000);
`;

t.test("what a killed test file started is ended, what another one runs is left alone", async (t) => {
  const folder = tempFolder(t);
  const start = async () => {
    const env = { PATH: process.env["PATH"], TEST_RUN_FOLDER: folder };
    const file = spawn(process.execPath, [`--require=${MARK}`, "--input-type=module", "-e", FILE], { env, stdio: ["ignore", "pipe", "inherit"] });
    const [line] = (await once(file.stdout, "data")) as [Buffer];
    const child = Number(String(line));
    t.teardown(() => {
      file.kill("SIGKILL");
      if (isThere(child)) process.kill(child, "SIGKILL");
    });
    return { file, child };
  };
  const [killed, goesOn] = await Promise.all([start(), start()]);
  const exited = once(killed.file, "exit");
  killed.file.kill("SIGKILL");
  await exited;
  t.ok(isThere(killed.child), "it outlived its test");
  endLeftovers(folder).close();
  await eventually("the child is ended", () => !isThere(killed.child));
  t.ok(isThere(goesOn.child));
});

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
