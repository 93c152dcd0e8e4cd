import t, { type Test } from "tap";
import { parse } from "yaml";
import { openStand, packageOf } from "../../program/rights/fixtures/stand.ts";
import { openTerminal } from "../fixtures/terminal.ts";
import { typeBerth } from "../fixtures/type-berth.ts";

async function openPublished(t: Test) {
  const stand = await openStand(t);
  t.equal((await stand.publish("verbs", packageOf("verbs", ["one", "two"]), { authorization: `Dev ${stand.berth.key}` })).status, 200);
  for (const name of ["verbs-one", "verbs-two"]) await stand.ready(name);
  const type = (...args: string[]) => typeBerth(args, { env: stand.env });
  return { ...stand, type };
}

t.test("docker's and kubectl's verbs and formats", async (t) => {
  const { type, berth } = await openPublished(t);
  const ids = await Promise.all(["verbs-one", "verbs-two"].map(async (name) => (await berth.container(name)).id));

  await t.test("list as names, ids, JSON, YAML and a wide table", async (t) => {
    t.equal((await type("ps", "-o", "name")).stdout, "verbs-one\nverbs-two\n");
    t.equal((await type("containers", "ls", "-q")).stdout, `${ids.join("\n")}\n`);
    t.match(parse((await type("ps", "-o", "yaml")).stdout), [{ name: "verbs-one" }, { name: "verbs-two" }]);
    t.match(JSON.parse((await type("ps", "-o", "json")).stdout), [{ id: ids[0] }, { id: ids[1] }]);
    t.match((await type("ps", "-o", "wide")).stdout, /^NAME .* ADDRESS +PORT +SERVICE/);
    t.match(parse((await type("users", "list", "-o", "yaml")).stdout), [{ login: "admin" }]);
    t.equal((await type("images", "ls", "-o", "name")).stdout, "verbs-one\nverbs-two\n");
  });

  await t.test("filters by any field, and refuses fields, statuses and formats that do not exist", async (t) => {
    t.equal((await type("ps", "--filter", "name=verbs-t", "-o", "name")).stdout, "verbs-two\n");
    t.equal((await type("ps", "--filter", "status=stopped", "--filter", `id=${ids[0]}`, "-o", "name")).stdout, "verbs-one\n");
    t.equal((await type("ps", "--filter", "status=started", "-q")).stdout, "");
    const refused: [args: string[], stderr: RegExp][] = [
      [["ps", "--status", "foo"], /No status begins with "foo".*started.*error/],
      [["ps", "--status", "strated"], /did you mean started/],
      [["images", "--status", "started"], /ready/],
      [["ps", "--filter", "stats=started"], /did you mean status/],
      [["ps", "--filter", "started"], /<field>=<text>/],
      [["ps", "-o", "jsn"], /--output does not take "jsn" \(did you mean json\?\).*wide/],
      [["wait", "verbs-one", "--for", "strated"], /did you mean started/],
      [["wait", "verbs-one", "--timeout", "soon"], /--timeout does not take "soon".*30s/],
      [["logs", "verbs-one", "--since", "yesterday"], /--since does not take "yesterday".* a date such as 2026/],
      [["restart"], /Missing: <container>/],
    ];
    for (const [args, stderr] of refused) t.match(await type(...args), { code: 2, stdout: "", stderr }, args.join(" "));
  });

  await t.test("start, wait, restart, inspect and remove", async (t) => {
    t.match(await type("wait", "verbs-one", "--timeout", "1s"), { code: 1, stderr: /is not started after 1s: its status is stopped by system/ });
    t.match(await type("start", "verbs-one", "--no-wait"), { code: 0 });
    t.match(await type("wait", "verbs-one"), { code: 0, stdout: "verbs-one is started.\n" });
    const startsBefore = (await (await berth.call(`/docker/containers/${ids[0]}/wakes`)).json()) as unknown[];
    t.match(await type("restart", "verbs-one", "verbs-two"), { code: 0, stdout: /verbs-one runs .*\nverbs-two runs / });
    const starts = (await (await berth.call(`/docker/containers/${ids[0]}/wakes`)).json()) as unknown[];
    t.equal(starts.length, startsBefore.length + 1);
    t.match(JSON.parse((await type("inspect", "verbs-one")).stdout), [{ "#type": "DockerContainer", id: ids[0], config: {} }]);
    t.match(JSON.parse((await type("inspect", "verbs-one", "--type", "image")).stdout), [{ "#type": "DockerImage", name: "verbs-one" }]);
    t.match(await type("inspect", "verbs-tow"), { code: 3, stderr: /did you mean verbs-two/ });
    t.match(await type("rm", "verbs-one"), { code: 1, stderr: /verbs-one is started: nothing was removed.*--force/ });
    t.match(await type("rm", "--force", "verbs-one"), { code: 0, stdout: "Removed verbs-one.\n" });
    t.equal((await type("ps", "-o", "name")).stdout, "verbs-two\n");
    t.match(await type("stop", "verbs-two"), { code: 0 });
    t.match(await type("containers", "rm", "verbs-two"), { code: 0 });
    t.match(await type("wait", "verbs-two"), { code: 3 });
  });

  await t.test("old spellings are aliases", async (t) => {
    t.match(await type("users", "list"), { code: 0, stdout: /admin/ });
    t.match(await type("users", "key", "list", "admin"), { code: 0, stdout: /settings/ });
    t.match(await type("help", "ps"), { code: 0, stdout: /berth containers/ });
    t.match(await type("users", "rm", "--help"), { code: 0, stdout: /also: remove/ });
  });
});

t.test("a container that may not be changed keeps no other from it, and what was done is printed", async (t) => {
  const { type, berth, addPerson, publish, ready } = await openPublished(t);
  const author = await addPerson("author");
  t.equal((await publish("hers", packageOf("hers", ["one"]), { authorization: `Dev ${author.key}` })).status, 200);
  await ready("hers-one");
  const hers = ["--server", berth.api, "--key", author.key];
  t.match(await type("run", "hers-one", ...hers), { code: 0 });
  const restarted = await type("restart", "verbs-one", "hers-one", ...hers);
  t.match(restarted, { code: 4, stdout: /^hers-one runs \(.* s\)\.\n$/, stderr: /^verbs-one did not start: / });
  t.equal((await berth.container("hers-one")).status, "started");
  t.match(await type("rm", "verbs-two", "hers-one", "--force", ...hers), { code: 4, stdout: "Removed hers-one.\n", stderr: /verbs-two|may/ });
  const revalidated = await type("revalidate", "verbs-one", "hers-one", ...hers);
  t.match(revalidated, { code: 4, stdout: /^hers-one is ready/ });
});

t.test("a list on a terminal follows what happens until Ctrl-C", async (t) => {
  const { env, type } = await openPublished(t);
  const session = openTerminal(t, ["ps", "--watch"], { env, columns: 100 });
  await session.expect(/verbs-one +stopped by system/);
  t.match(await type("run", "verbs-one"), { code: 0 });
  await session.expect(/verbs-one +started/);
  session.type("\u0003");
  t.equal(await session.ended(), 130);
  t.ok(
    session
      .output()
      .split("\n")
      .every((line) => line.length <= 100),
  );
});

t.test("a terminal shows what a start waits for, and a person reads why it failed", async (t) => {
  const { env } = await openPublished(t);
  const session = openTerminal(t, ["restart", "verbs-two"], { env });
  t.equal(await session.ended(), 0);
  t.match(session.output(), /verbs-two: (pending start|starting)[^]*verbs-two runs \(/);
  const wrong = openTerminal(t, ["pss"], { env });
  t.equal(await wrong.ended(), 2);
  t.equal(wrong.output(), 'berth: There is no command "pss" (did you mean ps?); berth help lists all.\n');
});
