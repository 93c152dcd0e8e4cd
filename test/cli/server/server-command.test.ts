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
  for (const [what, files, env, args, code, stderr = /.*/] of rows) {
    for (const path of [".grok/config.yaml", ".config/berth/config.yaml"]) write(path, files[path] ?? "");
    const typed = await typeBerth(["users", "list", ...args], { env: { ...nothing, ...env } });
    t.match(typed, { code, stderr }, what);
    t.notMatch(typed.stdout + typed.stderr, ADMIN_KEY);
  }
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
