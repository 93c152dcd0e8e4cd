import { join } from "node:path";
import t from "tap";
import { ADMIN_KEY } from "../../fixtures/berth.ts";
import { typeBerth } from "../fixtures/type-berth.ts";
import { openStand, packageOf } from "../../program/rights/fixtures/stand.ts";

t.test("the command line manages users, their groups and their keys", async (t) => {
  const { berth, publish, env, data } = await openStand(t);
  const command = (args: string[], more: Record<string, string> = {}) => typeBerth(["users", ...args], { env: { ...env, ...more } });
  const run = async (args: string[]) => {
    const { code, stdout, stderr } = await command(args);
    t.equal(code, 0, stderr);
    return stdout.trimEnd();
  };
  const refused = async (args: string[], code: number, what: RegExp) => {
    const { stderr, ...ran } = await command(args);
    t.same(ran, { code, stdout: "" }, args.join(" "));
    t.match(stderr, what);
  };
  const login = async (key: string) =>
    (await fetch(`${berth.api}/users/login/dev`, { method: "POST", headers: { authorization: `Dev ${key}` } })).status;

  await run(["add", "anna", "--group", "lab", "--group", "berlin"]);
  await run(["add", "max"]);
  await refused(["add", "Anna"], 1, /anna/);
  await refused(["add", "An na!"], 1, /login is not valid\. Logins and groups have letters/);
  t.match(await run(["list"]), /^anna +user +berlin lab +0 /m);

  const key = await run(["key", "add", "anna", "--label", "laptop"]);
  const second = (JSON.parse(await run(["key", "add", "anna", "--json"])) as { key: string }).key;
  t.match(key, /^[\w-]{32}$/);
  t.same([await login(key), await login(second)], [200, 200]);
  const listed = await run(["key", "list", "anna"]);
  t.notMatch(listed, key);
  const id = /^(\w{8}) .* laptop$/m.exec(listed)?.[1] ?? "";
  await run(["key", "revoke", "anna", id]);
  t.same([await login(key), await login(second)], [401, 200]);
  await refused(["key", "revoke", "anna", id], 3, /no key/);
  const lost = await command(["key", "add", "anna"]);
  const lostId = /^Added key (\w{8}) of anna/.exec(lost.stderr)?.[1] ?? "";
  await run(["key", "revoke", "anna", lostId]);
  t.equal(await login(lost.stdout.trimEnd()), 401, "standard error names what to revoke where the key is lost");

  t.equal((await publish("annas", packageOf("annas", ["one"]), { authorization: `Dev ${second}` })).status, 200);
  t.match(await run(["remove", "anna"]), /annas/, "it says whose the packages are now");
  t.equal(await login(second), 401);
  await refused(["remove", "anna"], 3, /no user/);

  t.match(await run(["change", "max", "--admin", "--group", "lab"]), /administrator.*lab/);
  t.match(await run(["change", "max", "--no-admin", "--no-group"]), /user.*no group/);

  await refused(["add"], 2, /berth users add <login>/);
  await refused(["list", "--jsn"], 2, /did you mean --json/);
  await refused([], 2, /berth users add/);
  await refused(["frob"], 2, /frob/);
  const elsewhere: [what: string, env: Record<string, string>, code: number, expected: RegExp][] = [
    ["another key", { BERTH_ADMIN_KEY: `${ADMIN_KEY}-other` }, 4, /BERTH_ADMIN_KEY/],
    ["no berth", { BERTH_DATA: join(data, "elsewhere") }, 5, /cannot be reached/],
  ];
  for (const [what, more, code, expected] of elsewhere) {
    const ran = await command(["list"], more);
    t.match(ran, { code, stdout: "", stderr: expected }, what);
  }
});
