import { execFile } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { startBerth, type Berth } from "../fixtures/berth.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { typeBerth } from "./fixtures/type-berth.ts";
import { packageOf } from "../program/rights/fixtures/stand.ts";

const data = tempFolder(t);
const env = { BERTH_DRIVER: "process" };
const program = join(import.meta.dirname, "../../berth.ts");

const command = (...args: string[]) =>
  new Promise<{ code: number; output: string }>((resolve) => {
    const options = { env: { PATH: process.env["PATH"], BERTH_DATA: join(data, "berth-data") }, cwd: data };
    execFile(process.execPath, [program, ...args], options, (error, stdout, stderr) => resolve({ code: error ? 1 : 0, output: stdout + stderr }));
  });

t.test("a berth that runs is backed up; all of it lost, it is restored, and wakes what was published", async (t) => {
  let berth: Berth = await startBerth({ data, env });
  t.teardown(() => berth.stop());
  const ask = async () => {
    const { id } = await berth.container("kept-square");
    return (await berth.call(`/docker/containers/proxy/${id}/square?number=4`)).json();
  };
  t.equal((await berth.publish("kept", packageOf("kept", ["square"]))).status, 200);
  await berth.until("kept-square", ["stopped by system"]);
  t.same(await ask(), { result: 16 });
  const { id } = await berth.container("kept-square");

  const made = await command("backup", "kept.db");
  t.equal(made.code, 0, made.output);
  t.match(made.output, join(data, "berth-data/credentials.key"), "it says where the key is that it does not hold");
  t.equal((await berth.publish("later", packageOf("later", ["square"]))).status, 200, "berth goes on");
  const refused = await command("restore", "kept.db");
  t.match(refused, { code: 1, output: /^berth: Another berth uses the data folder/ });

  await berth.stop();
  for (const name of readdirSync(join(data, "berth-data"))) if (name !== "admin.key") rmSync(join(data, "berth-data", name), { recursive: true });
  const restored = await command("restore", "kept.db");
  t.match(restored, { code: 0, output: /is as it was on 20.*Missing here:\n- the key of the credentials.*credentials\.key/s });

  berth = await startBerth({ data, env });
  t.equal((await berth.container("kept-square")).id, id);
  t.same(await ask(), { result: 16 });
  await t.rejects(berth.container("later-square"), "what came later is not in it");
});

t.test("a command line that names no file, or several, prints the usage", async (t) => {
  for (const words of [["backup"], ["restore"], ["backup", "a", "b"], ["restore", "--force"]])
    t.match(await command(...words), { code: 1, output: new RegExp(`Usage: berth ${words[0]} <file>`) });
});

t.test("a folder is no backup, and what a refused restore leaves is no store", async (t) => {
  const other = tempFolder(t);
  const type = (...args: string[]) => typeBerth(args, { env: { PATH: "/nowhere", HOME: "/nowhere", BERTH_DATA: join(other, "data") } });
  t.match(await type("restore", other), { code: 1, stderr: /^The backup .* cannot be read: EISDIR/ });
  t.match(await type("backup", join(other, "made.db")), { code: 1, stderr: /There is no store in/ });
  t.match(await type("backup", "-"), { code: 1, stderr: /cannot be written to standard output: name a new file/ });
  const copied = await type("store", "copy", "--to", "postgres://berth@127.0.0.1:1/berth");
  t.match(copied, { code: 1, stderr: /There is no store in/ });
});
