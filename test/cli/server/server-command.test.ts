import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import { dirname, join } from "node:path";
import t from "tap";
import { ADMIN_KEY } from "../../fixtures/berth.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { openStand } from "../../program/rights/fixtures/stand.ts";
import { typeBerth } from "../fixtures/type-berth.ts";
import { listen } from "../../fixtures/server.ts";

t.test("a server is named by address or alias, and its key given in one of several ways", async (t) => {
  const { berth, data } = await openStand(t);
  const home = tempFolder(t);
  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(home, path)), { recursive: true });
    writeFileSync(join(home, path), text);
    return join(home, path);
  };
  const keyFile = write("key", `${ADMIN_KEY}\n`);
  const nothing = { PATH: "/nowhere", HOME: home, BERTH_DATA: join(home, "no-data") };
  const rows: [what: string, files: Record<string, string>, env: Record<string, string>, args: string[], code: number, stderr?: RegExp][] = [
    ["no berth runs here", {}, {}, [], 5, /No berth runs/],
    ["this machine's", {}, { BERTH_DATA: join(data, "berth-data"), BERTH_ADMIN_KEY: ADMIN_KEY }, [], 0],
    [
      "an empty key, as of a variable that is not set",
      {},
      { BERTH_DATA: join(data, "berth-data"), BERTH_ADMIN_KEY: ADMIN_KEY },
      ["--key", ""],
      2,
      /--key is empty/,
    ],
    ["an address and a key", {}, {}, ["--server", berth.base, "--key", ADMIN_KEY], 0],
    ["an address with its API and a key file", {}, {}, ["--server", `${berth.api}/`, "--key-file", keyFile], 0],
    ["by the environment", {}, { BERTH_SERVER: berth.base, BERTH_KEY_FILE: keyFile }, [], 0],
    ["no key", {}, {}, ["--server", berth.base], 2, /no developer key/],
    ["two keys", {}, {}, ["--server", berth.base, "--key", ADMIN_KEY, "--key-file", keyFile], 2],
    ["another key", {}, {}, ["--server", berth.base, "--key", "no-such-key"], 4],
    ["no berth runs there", {}, {}, ["--server", "http://127.0.0.1:1", "--key", ADMIN_KEY], 5],
    ["no address", {}, {}, ["--server", "http://", "--key", ADMIN_KEY], 2],
    ["an alias of datagrok-tools", { ".grok/config.yaml": config("dev", berth.api) }, {}, ["--server", "dev"], 0],
    ["whose default does not count", { ".grok/config.yaml": `${config("dev", berth.api)}default: dev\n` }, {}, [], 5],
    ["a misspelt alias", { ".grok/config.yaml": config("dev", berth.api) }, {}, ["--server", "dve"], 2, /did you mean dev/],
    [
      "a key without quotes",
      { ".config/berth/config.yaml": `servers: { x: { url: "${berth.api}", key: !${ADMIN_KEY} } }` },
      {},
      ["--server", "x"],
      2,
    ],
    ["berth's own default", { ".config/berth/config.yaml": `${config("mine", berth.base)}default: mine\n` }, {}, [], 0],
    ["a key beside the same address", { ".config/berth/config.yaml": config("mine", berth.base) }, {}, ["--server", berth.api], 0],
    [
      "a key of another server",
      { ".config/berth/config.yaml": config("mine", berth.base) },
      { BERTH_KEY: "of-another-one" },
      ["--server", "mine"],
      0,
    ],
    ["a file that is no YAML", { ".config/berth/config.yaml": `servers: {\n  key: ${ADMIN_KEY}` }, {}, [], 2, /not YAML/],
  ];
  const warnings: string[] = [];
  const onWarning = ({ message }: Error) => void warnings.push(message);
  process.on("warning", onWarning);
  t.teardown(() => process.off("warning", onWarning));
  for (const [what, files, env, args, code, stderr = /.*/] of rows) {
    for (const path of [".grok/config.yaml", ".config/berth/config.yaml"]) write(path, files[path] ?? "");
    const typed = await typeBerth(["users", "list", ...args], { env: { ...nothing, ...env } });
    t.match(typed, { code, stderr }, what);
    t.notMatch(typed.stdout + typed.stderr, ADMIN_KEY);
  }
  t.same(warnings, [], "the YAML parser's quote the line");
  write(".config/berth/config.yaml", "");
  write(".grok/config.yaml", config("dev", berth.api));
  const listed = await typeBerth(["config", "servers", "--json"], { env: nothing });
  t.match(JSON.parse(listed.stdout), [{ alias: "dev", url: berth.api, hasKey: true, isDefault: false }]);
  t.notMatch(listed.stdout, ADMIN_KEY);
});

function config(alias: string, url: string): string {
  return `servers:\n  ${alias}:\n    url: ${url}\n    key: ${ADMIN_KEY}\n`;
}

t.test("an address that is no API, or that breaks off, is reported", async (t) => {
  const answers: Record<string, (response: ServerResponse) => void> = {
    "/page/users/login/dev": (response) => response.end("<html></html>"),
    "/refusing/users/login/dev": (response) => response.end('{"#type":"ApiError","code":"no","message":"Not today"}'),
    "/breaking/users/login/dev": (response) => response.end('{"isSuccess":true,"token":"t"}'),
    "/breaking/docker/containers": (response) => response.end('[{"id":"1","name":"one","status":"started"}]'),
    "/breaking/docker/containers/1/logs": (response) => void response.write("a line\n", () => response.destroy()),
  };
  const server = createServer((request, response) => answers[(request.url ?? "").split("?")[0] ?? ""]?.(response));
  const { port } = await listen(t, server);
  const at = `http://127.0.0.1:${port}`;
  const env = { PATH: "/nowhere", HOME: "/nowhere", BERTH_KEY: "some-key-of-mine" };
  t.match(await typeBerth(["containers", "--server", `${at}/page`], { env }), { code: 5, stderr: /no API|as an API/ });
  t.match(await typeBerth(["containers", "--server", `${at}/refusing`], { env }), { code: 1, stderr: "Not today" });
  t.match(await typeBerth(["logs", "one", "-f", "--server", `${at}/breaking`], { env }), { code: 5, stdout: "a line\n" });
});

const OF_NO_CONTAINER: Readonly<Record<string, object>> = {
  containers: { code: 0, stdout: "There are no containers.\n" },
  "run web": { code: 3, stdout: "", stderr: /^There is no container "web"/ },
};

t.test("a response of a proxy in between is no success, and no bug of berth", async (t) => {
  let body = "{}";
  const server = createServer((request, response) => response.end(request.url?.startsWith("/api/users/login/dev") ? '{"token":"t"}' : body));
  const { port } = await listen(t, server);
  const env = { PATH: "/nowhere", HOME: t.testdir(), BERTH_SERVER: `http://127.0.0.1:${port}`, BERTH_KEY: "some-key-of-mine" };
  const commands = [
    "containers",
    "run web",
    "status",
    "keys ls",
    "keys rm one",
    "users block ada",
    "users key rm ada one",
    "users key add ada",
    "rollback web",
  ];
  for (body of ['{"error":"Sign in to the network first."}', '[{"a":1}]', "null", ""])
    for (const command of commands) {
      const outcome = await typeBerth(command.split(" "), { env });
      // A response without anything is an empty list too.
      const ofEmpty = ["null", ""].includes(body) ? OF_NO_CONTAINER[command] : undefined;
      t.match(outcome, ofEmpty ?? { code: 5, stdout: "", stderr: /answers, but not as/ }, `${command}: ${body}`);
    }
});

t.test("text of a container does nothing to the terminal", async (t) => {
  const evil = "\u001b]0;owned\u0007a\u001b[31mred\u001b[0m\u001b[2Jb\u009b1mc\rd\u007f";
  // eslint-disable-next-line no-control-regex -- control characters are what it looks for
  const control = /[^\P{Cc}\n\t\u001b]|\u001b(?!\[[\d;]*m)/u;
  const one = { id: "1", name: "one", status: "error" };
  const answers: Record<string, unknown> = {
    "/api/users/login/dev": { token: "t" },
    "/api/docker/containers": [one],
    "/api/docker/containers/1": one,
    "/api/docker/containers/1/run": one,
    "/api/docker/containers/1/history": [],
    "/api/docker/containers/1/explain": { status: "error", why: evil, failure: { code: "X", message: evil, logs: [evil, evil] } },
  };
  const server = createServer((request, response) => {
    const [path = ""] = (request.url ?? "").split("?");
    if (!path.endsWith("/logs")) return void response.end(JSON.stringify(answers[path] ?? {}));
    // A sequence may be cut.
    response.write(evil.slice(0, 1), () => setImmediate(() => response.end(evil.slice(1))));
  });
  const { port } = await listen(t, server);
  const env = { PATH: "/nowhere", HOME: t.testdir(), BERTH_SERVER: `http://127.0.0.1:${port}`, BERTH_KEY: "some-key-of-mine" };
  for (const command of ["run one", "explain one", "logs one", "logs one -f", "explain one -o yaml", "explain one -o json", "logs one --json"]) {
    const { stdout, stderr } = await typeBerth(command.split(" "), { env, width: 100 });
    t.match(stdout + stderr, /owned/, command);
    // Of the line on which berth shows what it waits for.
    t.notMatch((stdout + stderr).replaceAll("\r\u001b[K", ""), control, command);
  }
  t.match(await typeBerth(["logs", "one"], { env, width: 100 }), { stdout: "]0;owneda\u001b[31mred\u001b[0m[2Jb1mc\nd\n" }, "colours and lines stay");
  t.match(await typeBerth(["logs", "one"], { env }), { stdout: `${evil}\n` }, "a file gets the log as it is");
  const { stdout } = await typeBerth(["explain", "one", "--json"], { env });
  t.match((JSON.parse(stdout) as { why: string }).why, evil);
});
