import { execFile } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, statSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Sqlite from "better-sqlite3";
import t, { type Test } from "tap";
import { ADMIN_KEY, eventually } from "../../fixtures/berth.ts";
import { isAlive } from "../../fixtures/processes.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";

const ROOT = join(import.meta.dirname, "../../..");
/** Debian's user `nobody`. */
const NOBODY = 65_534;
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

/** An installed berth under that manager; each program is a script that runs the source tree, or spoils something first. */
async function stand(t: Test, user = 0) {
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
  };
  const run = (file: string, args: string[]) =>
    new Promise<{ code: number; said: string }>((resolve) => {
      execFile(file, args, { env, cwd: folder }, (error, stdout, stderr) => resolve({ code: error ? 1 : 0, said: stdout + stderr }));
    });
  const pid = () => Number(readFileSync(join(folder, "pid"), "utf8"));
  program("installed", "true");
  writeFileSync(join(folder, "manager"), MANAGER.replace("./installed", `setpriv --reuid=${user} --regid=${user} --clear-groups ./installed`));
  const started = await run("/bin/sh", ["manager"]);
  t.equal(started.code, 0, started.said);
  t.teardown(async () => {
    process.kill(pid());
    await eventually("its end", 20_000, async () => !isAlive(pid()) || undefined);
  });
  const upgrade = (from: string) =>
    run(process.execPath, [join(ROOT, "berth.ts"), "upgrade", "--from", from, "--program", "installed", "--restart", "sh manager"]);
  return { folder, program, run, pid, upgrade, users: async () => (await run(process.execPath, [join(ROOT, "berth.ts"), "users", "list"])).said };
}

t.test("the new program runs in the place of the old one, with all that was there", async (t) => {
  const { folder, program, run, pid, upgrade, users } = await stand(t);
  t.equal((await run(process.execPath, [join(ROOT, "berth.ts"), "users", "add", "ada"])).code, 0);
  const before = pid();
  const { code, said } = await upgrade(program("new", "true"));
  t.equal(code, 0, said);
  t.match(readFileSync(join(folder, "installed"), "utf8"), /^# new$/m);
  t.not(pid(), before);
  t.notOk(isAlive(before));
  t.match(await users(), /\bada\b/);
  const [kept = ""] = readdirSync(join(folder, "data")).filter((name) => name.startsWith("before-upgrade-"));
  t.match(said, kept);
  t.notOk(
    readdirSync(folder).some((name) => /^installed\.[0-9a-f]{8}-/.test(name)),
    "nothing half is left",
  );
});

t.test("root upgrades the berth of another user, and leaves nothing that this one could not read", async (t) => {
  const { folder, program, upgrade } = await stand(t, NOBODY);
  const { code, said } = await upgrade(program("new", "true"));
  t.equal(code, 0, said);
  t.same(
    readdirSync(join(folder, "data")).filter((name) => statSync(join(folder, "data", name)).uid !== NOBODY),
    [],
  );
});

t.test("where the new one does not start, the old one does", async (t) => {
  const { folder, program, pid, upgrade, users } = await stand(t);
  const { code, said } = await upgrade(program("new", "echo 'berth: no.' >&2; exit 1"));
  t.equal(code, 1);
  t.match(said, /^berth: berth \S+ did not start: .* runs again/s);
  t.match(readFileSync(join(folder, "installed"), "utf8"), /^# installed$/m);
  t.ok(isAlive(pid()));
  t.match(await users(), /\badmin\b/);
});

t.test("where the new one changed the store before it failed, the old one has it as it was", async (t) => {
  const { folder, program, run, pid, upgrade, users } = await stand(t);
  t.equal((await run(process.execPath, [join(ROOT, "berth.ts"), "users", "add", "ada"])).code, 0);
  const spoil = "new (require('better-sqlite3'))('data/berth.db').exec('DELETE FROM users; PRAGMA user_version = 99')";
  writeFileSync(join(folder, "spoil.cjs"), spoil.replace("better-sqlite3", join(ROOT, "node_modules/better-sqlite3")));
  const { code, said } = await upgrade(program("new", `${process.execPath} spoil.cjs; exit 1`));
  t.equal(code, 1);
  t.match(said, /runs again, with all that was in its store/);
  t.ok(isAlive(pid()));
  t.match(await users(), /\bada\b/);
  const store = new Sqlite(join(folder, "data/berth.db"), { readonly: true });
  t.not(store.pragma("user_version", { simple: true }), 99);
  store.close();
});

t.test("what is no berth is refused before anything is touched", async (t) => {
  const { folder, pid, upgrade } = await stand(t);
  const before = pid();
  writeFileSync(join(folder, "text"), "no program");
  writeFileSync(join(folder, "other"), "#!/bin/sh\necho something else 1.2.3\n", { mode: 0o755 });
  for (const from of ["text", "other", "not-there"])
    t.match(await upgrade(from), { code: 1, said: /^berth: .* is no berth that runs on this machine/ });
  t.equal(pid(), before);
  t.ok(isAlive(before));
  t.notOk(existsSync(join(folder, "installed.before-upgrade")));
  t.same(
    readdirSync(join(folder, "data")).filter((name) => name.startsWith("before-")),
    [],
  );
});
