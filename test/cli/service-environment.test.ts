import { chownSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { parseEnvironmentFile, serviceEnvironment } from "../../cli/service-environment.ts";
import { COMMANDS } from "../../cli/table.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

t.test("root finds the settings and the user of the installed service", async (t) => {
  const folder = tempFolder(t);
  const data = join(folder, "data");
  const file = join(folder, "berth.env");
  mkdirSync(data);
  chownSync(data, 12_345, 12_346);
  writeFileSync(file, `# settings\nBERTH_DATA=${data}\nBERTH_HOST="0.0.0.0"\n`);
  const find = (args: string[], more: Partial<Parameters<typeof serviceEnvironment>[0]> = {}) =>
    serviceEnvironment({ env: {}, args, uid: 0, folder, settings: folder, ...more });
  const expected = { variables: { BERTH_DATA: data, BERTH_HOST: "0.0.0.0" }, owner: { uid: 12_345, gid: 12_346 } };
  t.strictSame(find(["users", "ls"]), expected);
  t.strictSame(find(["ps"]), expected);

  const own = new Set(["shadow", "login", "context"]);
  for (const [name, { section, aliases = [] }] of Object.entries(COMMANDS))
    if (["containers", "inspect", "users"].includes(section) && !own.has(name))
      for (const word of [name, ...aliases]) t.strictSame(find([word]), expected, word);

  // A restore into a folder of root's would leave the service's own store as it is.
  for (const args of [
    ["backup", "b.db"],
    ["restore", "b.db"],
    ["store", "copy"],
    ["import", "https://stand.example"],
    ["registry", "gc"],
  ])
    t.strictSame(find(args), expected, args.join(" "));
  for (const name of ["serve", "registry"]) t.equal(find([name]), undefined, "a command that starts a berth");
  t.equal(find(["ps", "--server", "dev"]), undefined, "another server");
  t.equal(find(["ps"], { uid: 1_000 }), undefined, "another user");
  t.equal(find(["ps"], { env: { BERTH_DATA: "/other" } }), undefined, "another data folder");
  t.equal(find(["control"]), undefined, "the control process itself");
  t.strictSame(find(["control", "step-down"]), expected);
  t.equal(find(["ps"], { settings: join(folder, "none") }), undefined, "no service");
  mkdirSync(join(folder, ".berth"));
  t.equal(find(["ps"]), undefined, "a berth in this folder");
});

t.test("an upgrade by root knows the settings of the service that it upgrades, and remains root", async (t) => {
  const folder = tempFolder(t);
  writeFileSync(join(folder, "berth.env"), `BERTH_DATA=${folder}\nXDG_RUNTIME_DIR=/run/berth\n`);
  writeFileSync(join(folder, "control.env"), "BERTH_DATA=/var/lib/other\n");
  chownSync(folder, 12_345, 12_346);
  const elsewhere = tempFolder(t);
  mkdirSync(join(elsewhere, ".berth"));
  const find = (...args: string[]) => serviceEnvironment({ env: {}, args: ["upgrade", ...args], uid: 0, folder: elsewhere, settings: folder });
  const expected = { variables: { BERTH_DATA: folder, XDG_RUNTIME_DIR: "/run/berth" }, owner: undefined };
  t.strictSame(find("--from", "new"), expected, "also beside a berth that root once tried");
  t.equal(find("--from=new", "--program", "other"), undefined, "another program, of the berth in this folder");
  t.equal(find(), undefined, "a source tree");
});

t.test("of a control process apart from its gateways, root finds the settings and what its unit sets", async (t) => {
  const folder = tempFolder(t);
  writeFileSync(join(folder, "berth.env"), "BERTH_HOST=0.0.0.0\n");
  writeFileSync(join(folder, "control.env"), `BERTH_DRIVER=swarm\nBERTH_DATA=${folder}\n`);
  const unit = readFileSync(join(import.meta.dirname, "../../conf/systemd/berth-control.service"), "utf8");
  const [, set = ""] = /^Environment=(.*)$/m.exec(unit) ?? [];
  const service = serviceEnvironment({ env: {}, args: ["status"], uid: 0, folder, settings: folder });
  t.strictSame(service?.variables, { ...parseEnvironmentFile(set.replaceAll(" ", "\n")), BERTH_DRIVER: "swarm", BERTH_DATA: folder });
});

t.test("lines are read as systemd reads them", async (t) => {
  const text = "; one\n# two\n\n A = 1\nB='x y'\nC=\"z\nD=a=b\nnothing\n";
  t.strictSame(parseEnvironmentFile(text), { A: "1", B: "x y", C: '"z', D: "a=b" });
});
