import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { systemClock } from "../../clock.ts";
import { callControl } from "../../commands/call-control.ts";
import { openRuntimeFolder } from "../../roles/runtime-folder.ts";
import { runUsers } from "../../commands/users.ts";
import { ADMIN_KEY } from "../fixtures/berth.ts";
import { openStand, packageOf } from "../rights/fixtures/stand.ts";

t.test("people, their groups and their keys are kept at a command line", async (t) => {
  const { berth, publish, data } = await openStand(t);
  const runtime = openRuntimeFolder({ data: join(data, "berth-data"), base: tmpdir(), uid: process.getuid?.() ?? 0 });
  const call = callControl({ ...runtime, data, key: ADMIN_KEY, clock: systemClock() });
  const told = (args: string[]) => runUsers(args, call);
  const refused = (args: string[], what: RegExp) => t.rejects(runUsers(args, call), { message: what }, args.join(" "));
  const login = async (key: string) =>
    (await fetch(`${berth.api}/users/login/dev`, { method: "POST", headers: { authorization: `Dev ${key}` } })).status;

  await told(["add", "anna", "--group", "lab", "--group", "berlin"]);
  await told(["add", "max"]);
  await refused(["add", "Anna"], /anna/);
  await refused(["add", "current"], /login/);
  t.match(await told(["list"]), /^anna +user +berlin lab +0 /m);

  const key = await told(["key", "add", "anna", "--label", "laptop"]);
  const second = await told(["key", "add", "anna"]);
  t.match(key, /^[\w-]{32}$/);
  t.same([await login(key), await login(second)], [200, 200]);
  const listed = await told(["key", "list", "anna"]);
  t.notMatch(listed, key);
  const id = /^(\w{8}) .* laptop$/m.exec(listed)?.[1] ?? "";
  await told(["key", "revoke", "anna", id]);
  t.same([await login(key), await login(second)], [401, 200]);
  await refused(["key", "revoke", "anna", id], /no key/);
  const settings = /^(\w{8}) .*settings/m.exec(await told(["key", "list", "admin"]))?.[1] ?? "";
  await refused(["key", "revoke", "admin", settings], /BERTH_ADMIN_KEY/);

  t.equal((await publish("annas", packageOf("annas", ["one"]), { authorization: `Dev ${second}` })).status, 200);
  t.match(await told(["remove", "anna"]), /annas/, "it says whose the packages are now");
  t.equal(await login(second), 401);
  await refused(["remove", "anna"], /no user/);
  await refused(["remove", "admin"], /first user/);

  t.match(await told(["change", "max", "--admin", "--group", "lab"]), /administrator.*lab/);
  t.match(await told(["list"]), /^max +admin +lab /m);
  t.match(await told(["change", "max", "--no-admin", "--no-group"]), /user.*no group/);
  await refused(["change", "admin", "--no-admin"], /administrator/);

  await refused(["add"], /berth users add <login>/);
  await refused(["list", "--frob"], /--frob/);
  await refused([], /berth users add <login>/);
});

t.test("as a program it prints what was asked for, or one sentence", async (t) => {
  const { command, data } = await openStand(t);
  const listed = await command(["users", "list"]);
  t.equal(listed.code, 0, listed.stderr);
  t.match(listed.stdout, /^admin +admin /m);
  const rows: [what: string, args: string[], env: Record<string, string>, said: RegExp][] = [
    ["another key", ["users", "list"], { BERTH_ADMIN_KEY: `${ADMIN_KEY}-other` }, /^berth: .*BERTH_ADMIN_KEY/],
    ["no berth", ["users", "list"], { BERTH_DATA: join(data, "elsewhere") }, /^berth: No berth runs/],
    ["a wrong word", ["users", "frob"], {}, /^berth: .*frob/],
  ];
  for (const [what, args, env, said] of rows) {
    const { code, stdout, stderr } = await command(args, env);
    t.same([code, stdout], [1, ""], what);
    t.match(stderr, said);
    t.notMatch(stderr, /\bat .*\.ts:\d+/, "no stack trace for a person");
  }
});
