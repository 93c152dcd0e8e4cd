import { stripVTControlCharacters } from "node:util";
import t, { type Test } from "tap";
import { Interrupted } from "../../../cli/command.ts";
import { openStand, packageOf } from "../../program/rights/fixtures/stand.ts";
import { typeBerth } from "../fixtures/type-berth.ts";

const CRASH = `console.log("crash: reading settings"); console.log("crash: giving up"); process.exit(7);`;
const TALK = `console.log("first"); setInterval(() => console.log("more"), 50); require("http").createServer().listen(process.env.PORT);`;

/** A berth with four containers, which sleep or were never started. */
async function openTyped(t: Test) {
  const stand = await openStand(t);
  const files = packageOf("typed", ["square", "squash", "crash", "talk"]);
  const own = (folder: string, server: string) => {
    files[`dockerfiles/${folder}/Dockerfile`] = 'FROM node\nEXPOSE 8080\nCMD ["node", "server.cjs"]\n';
    files[`dockerfiles/${folder}/server.cjs`] = server;
  };
  own("crash", CRASH);
  own("talk", TALK);
  const published = await stand.publish("typed", files, { authorization: `Dev ${stand.berth.key}` });
  t.equal(published.status, 200);
  for (const name of ["square", "squash", "crash", "talk"]) await stand.ready(`typed-${name}`);
  return stand;
}

t.test("containers are listed, named, started, stopped, read and explained at a command line", async (t) => {
  const { env, berth, addPerson } = await openTyped(t);
  const type = (args: string[], more: Omit<Parameters<typeof typeBerth>[1], "env"> = {}) => typeBerth(args, { env, ...more });
  const json = async (...args: string[]) => {
    const { code, stdout, stderr } = await type([...args, "--json"]);
    t.equal(code, 0, stderr);
    return JSON.parse(stdout) as Record<string, unknown>[];
  };

  await t.test("as a table that fits its terminal, or as JSON of one shape", async (t) => {
    const keys = ["name", "status", "note", "lastActive", "image", "imageStatus", "onDemand", "idleMinutes", "address", "port", "service", "id"];
    const listed = await json("containers");
    t.same(
      listed.map(({ name }) => name),
      ["typed-crash", "typed-square", "typed-squash", "typed-talk"],
    );
    t.same(Object.keys(listed[0] ?? {}), keys);
    t.same(Object.keys((await json("images"))[0] ?? {}), ["name", "status", "version", "ref", "updatedOn", "logs", "id"]);
    const { stdout } = await type(["containers"], { width: 50 });
    t.ok(stdout.split("\n").every((line) => stripVTControlCharacters(line).length <= 50));
    t.match((await type(["containers", "nothing"])).stdout, /none/);
    const piped = (await type(["containers"])).stdout;
    t.equal(piped, stripVTControlCharacters(piped), "what is no terminal gets no colours");
    t.match(await type(["containers", "--status", "started"]), { stdout: "There are none.\n" });
  });

  await t.test("by a name, an id or the beginning of either, as long as only one begins so", async (t) => {
    const { id } = await berth.container("typed-square");
    for (const word of ["typed-square", "typed-squar", id, id.slice(0, 13), id.toUpperCase()])
      t.match(await json("explain", word), { name: "typed-square" }, word);
    t.match(await type(["explain", "typed-squ"]), { code: 2, stdout: "", stderr: /typed-square, typed-squash/ });
    t.match(await type(["explain", "typed-sqare"]), { code: 3, stdout: "", stderr: /did you mean typed-square/ });
    t.match(await type(["run", "typed-square", "nothing-like-it"]), { code: 3 }, "and nothing is started");
    t.match(await json("containers", "square"), [{ status: "stopped by system" }]);
  });

  await t.test("run and stop wait for what comes of it, and say why it failed", async (t) => {
    t.match(await json("run", "typed-square", "typed-squash"), [
      { name: "typed-square", status: "started", ok: true },
      { name: "typed-squash", status: "started", ok: true },
    ]);
    t.match(await type(["stop", "typed-square"], { width: 80 }), {
      code: 0,
      stdout: /^typed-square has stopped/,
      stderr: /typed-square: (pending user stop|stopping)/,
    });
    const failed = await type(["run", "typed-crash"]);
    t.match(failed, { code: 1, stdout: "", stderr: /crash: giving up\n[^]*did not start/ });
    t.match(await type(["run", "typed-crash", "--json"]), { code: 1, stdout: /"ok": false/ });
    t.match(await type(["run", "typed-square", "--no-wait"]), { code: 0, stdout: /pending start|starting|started/ });
    t.match(await json("explain", "typed-crash"), { state: "error", lastFailure: { code: "CONTAINER_CRASHED", message: /./ } });
    t.match(await json("top", "squash"), [{ name: "typed-squash", status: "started", since: /^20/ }]);
  });

  await t.test("logs are printed to the last requested line, and followed until Ctrl-C", async (t) => {
    await json("run", "typed-talk");
    t.match((await type(["logs", "typed-talk"])).stdout, /^first\nmore\n/);
    t.equal((await type(["logs", "typed-crash", "--tail", "1"])).stdout, "crash: giving up\n");
    t.equal((await type(["logs", "typed-crash", "--previous", "-n", "1"])).stdout, "crash: giving up\n");
    t.equal((await type(["logs", "typed-talk", "--previous"])).stdout, "", "it has not run before");
    t.match((await type(["logs", "typed-talk", "--timestamps"])).stdout, /^first\nmore\n/, "the log of a plain process has no times");
    t.match(await type(["logs", "typed-talk", "--tail", "none"]), { code: 2 });
    const pressed = new AbortController();
    let received = "";
    const until = (text: string) => {
      received += text;
      if (received.split("more").length > 30) pressed.abort(new Interrupted());
    };
    const { code, stdout } = await type(["logs", "-f", "-n", "1", "typed-talk"], { interrupted: pressed.signal, onOutput: until });
    t.equal(code, 130);
    t.match(stdout, /^more\nmore\n(more\n)+$/, "from the last line on, none left out and none twice");
  });

  await t.test("a user without the right gets an error", async (t) => {
    const { key } = await addPerson("guest");
    t.match(await type(["run", "typed-square", "--key", key]), { code: 4, stdout: "" });
    t.match(await type(["users", "list", "--key", key]), { code: 4 });
    t.match(await type(["containers", "--key", key, "--json"]), { code: 0 }, "but may look");
  });
});
