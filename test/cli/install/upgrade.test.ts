import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Sqlite from "better-sqlite3";
import t from "tap";
import { isAlive } from "../../fixtures/processes.ts";
import { UNPRIVILEGED_UID, openInstallation, ROOT } from "./installation.ts";

t.test("the new program runs in the place of the old one, with all that was there", async (t) => {
  const { folder, program, run, pid, upgrade, users } = await openInstallation(t);
  t.equal((await run(process.execPath, [join(ROOT, "berth.ts"), "users", "add", "ada"])).code, 0);
  const before = pid();
  const { code, output } = await upgrade(program("new", "true"));
  t.equal(code, 0, output);
  t.match(readFileSync(join(folder, "installed"), "utf8"), /^# new$/m);
  t.not(pid(), before);
  t.notOk(isAlive(before));
  t.match(await users(), /\bada\b/);
  const [kept = ""] = readdirSync(join(folder, "data")).filter((name) => name.startsWith("before-upgrade-"));
  t.match(output, kept);
  t.notOk(
    readdirSync(folder).some((name) => /^installed\.[0-9a-f]{8}-/.test(name)),
    "nothing half is left",
  );
});

t.test("root upgrades the berth of another user, and leaves nothing that this one could not read", async (t) => {
  const { folder, program, upgrade } = await openInstallation(t, UNPRIVILEGED_UID);
  const { code, output } = await upgrade(program("new", "true"));
  t.equal(code, 0, output);
  t.same(
    readdirSync(join(folder, "data")).filter((name) => statSync(join(folder, "data", name)).uid !== UNPRIVILEGED_UID),
    [],
  );
});

t.test("where the new one does not start, the old one does", async (t) => {
  const { folder, program, pid, upgrade, users } = await openInstallation(t);
  const { code, output } = await upgrade(program("new", "echo 'berth: no.' >&2; exit 1"));
  t.equal(code, 1);
  t.match(output, /^berth: berth \S+ did not start: .* runs again/s);
  t.match(readFileSync(join(folder, "installed"), "utf8"), /^# installed$/m);
  t.ok(isAlive(pid()));
  t.match(await users(), /\badmin\b/);
});

t.test("where the new one changed the store before it failed, the old one has it as it was", async (t) => {
  const { folder, program, run, pid, upgrade, users } = await openInstallation(t);
  t.equal((await run(process.execPath, [join(ROOT, "berth.ts"), "users", "add", "ada"])).code, 0);
  const spoil = "new (require('better-sqlite3'))('data/berth.db').exec('DELETE FROM users; PRAGMA user_version = 99')";
  writeFileSync(join(folder, "spoil.cjs"), spoil.replace("better-sqlite3", join(ROOT, "node_modules/better-sqlite3")));
  const { code, output } = await upgrade(program("new", `${process.execPath} spoil.cjs; exit 1`));
  t.equal(code, 1);
  t.match(output, /runs again, with all that was in its store/);
  t.ok(isAlive(pid()));
  t.match(await users(), /\bada\b/);
  const store = new Sqlite(join(folder, "data/berth.db"), { readonly: true });
  t.not(store.pragma("user_version", { simple: true }), 99);
  store.close();
});

t.test("what is no berth is refused before anything is touched", async (t) => {
  const { folder, pid, upgrade } = await openInstallation(t);
  const before = pid();
  writeFileSync(join(folder, "text"), "no program");
  writeFileSync(join(folder, "other"), "#!/bin/sh\necho something else 1.2.3\n", { mode: 0o755 });
  for (const from of ["text", "other", "not-there"])
    t.match(await upgrade(from), { code: 1, output: /^berth: .* is no berth that runs on this machine/ });
  t.equal(pid(), before);
  t.ok(isAlive(before));
  t.notOk(existsSync(join(folder, "installed.before-upgrade")));
  t.same(
    readdirSync(join(folder, "data")).filter((name) => name.startsWith("before-")),
    [],
  );
});

t.test("without the data folder of a berth nothing is stopped, and nothing replaced", async (t) => {
  const { folder, program, pid, upgrade } = await openInstallation(t);
  const before = pid();
  const { code, output } = await upgrade(program("new", "true"), undefined, { BERTH_DATA: join(folder, "elsewhere") });
  t.equal(code, 1);
  t.match(output, /^berth: There is no data folder \S+elsewhere.* BERTH_DATA/);
  t.equal(pid(), before);
  t.ok(isAlive(before));
  t.match(readFileSync(join(folder, "installed"), "utf8"), /^# installed$/m);
});
