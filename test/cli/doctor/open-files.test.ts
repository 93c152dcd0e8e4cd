import { mkdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { openLog } from "../../../lib/log.ts";
import { openParentSocket } from "../../../processes/parent-socket.ts";
import { openRuntimeFolder } from "../../../processes/runtime-folder.ts";
import { startBerth } from "../../fixtures/berth.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { look, PROGRAM } from "./look.ts";

t.test("the limit of open files is that of the berth that runs, not of this command", async (t) => {
  const folder = tempFolder(t);
  const env = { XDG_RUNTIME_DIR: folder, BERTH_DRIVER: "process" };
  const command = ["/bin/sh", "-c", 'ulimit -n 1500; exec "$0" "$@"', process.execPath, PROGRAM];
  const berth = await startBerth({ data: folder, env, command });
  t.teardown(() => berth.stop());
  const { "open files": row } = await look(t, ["settings", "open files"], { ...env, BERTH_DATA: join(folder, "berth-data") });
  t.match(row, { state: "ok" }, "a warning leaves its link well");
  t.match(JSON.stringify(row), new RegExp(`process ${berth.pid}\\) may open 1500 files`));
});

t.test("where no berth runs, its limit is not looked at; a high one is well", async (t) => {
  const folder = tempFolder(t);
  const data = join(folder, "berth-data");
  const env = { XDG_RUNTIME_DIR: folder, BERTH_DATA: data };
  t.match(await look(t, ["settings", "open files"], env), { "open files": { state: "not looked at" } });
  mkdirSync(data);
  t.match(await look(t, ["settings", "open files"], env), { "open files": { state: "not looked at" } });
  const { parentSocket } = openRuntimeFolder({ data, base: folder, uid: process.getuid?.() ?? 0 });
  const refuse = () => Promise.reject(new Error("not called"));
  const actions = { handOver: refuse, resume: refuse, limits: () => ({ pid: 1, openFiles: 1_048_576 }) };
  const socket = await openParentSocket(parentSocket, actions, openLog({ level: "silent", name: "test" }));
  t.teardown(() => socket.close());
  const { "open files": row } = await look(t, ["settings", "open files"], env);
  t.match(row, { state: "ok" });
  t.notMatch(JSON.stringify(row), /may open/);
});
