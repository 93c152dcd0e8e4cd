import { execFile } from "node:child_process";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { commandsPage } from "../../cli/commands-page.ts";
import { EXIT_CODES, exitCodeOf, Interrupted } from "../../cli/command.ts";
import { COMMANDS } from "../../cli/table.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { run } from "../gateway/registry/run.ts";
import { openStand, packageOf } from "../program/rights/fixtures/stand.ts";
import { typeBerth } from "./fixtures/type-berth.ts";

const root = join(import.meta.dirname, "../..");
const env = { BERTH_DATA: "/nowhere/at/all" };
const berth = (args: string[], more: NodeJS.ProcessEnv = {}) =>
  run(process.execPath, [join(root, "berth.ts"), ...args], { env: { ...env, ...more } });

t.test("who asks for help gets it, of every command and every verb, and nothing else happens", async (t) => {
  const { output } = await berth(["help"]);
  for (const flag of ["--help", "-h"]) t.same(await berth([flag]), { code: 0, output });
  const requests: string[][] = [];
  for (const [name, command] of Object.entries(COMMANDS)) {
    t.match(output, new RegExp(`^ {2}${name} `, "m"));
    const module = await command.load();
    requests.push([name], ...("verbs" in module ? Object.keys(module.verbs).map((verb) => [name, ...verb.split(" ")]) : []));
  }
  for (const words of requests) {
    const wanted = new RegExp(`berth ${words[0]}`);
    t.match(await typeBerth([...words.filter(Boolean), "--help"], { env, width: 80 }), { code: 0, stdout: wanted, stderr: "" }, words.join(" "));
    t.match(await typeBerth(["help", ...words.filter(Boolean)], { env, width: 80 }), { code: 0, stdout: wanted }, words.join(" "));
  }
  t.match(await typeBerth(["registry", "gc", "-h"], { env }), { code: 0, stdout: /--dry-run/ });
});

t.test("the page of commands says what the table says", async (t) => {
  t.equal(readFileSync(join(root, "docs/reference/cli.md"), "utf8"), await commandsPage());
});

t.test("what is misspelt is refused with what was meant", async (t) => {
  const rows: [args: string[], expected: RegExp][] = [
    [["usres"], /did you mean users/],
    [["users", "ad"], /did you mean add/],
    [["users", "key"], /berth users key add/],
    [["containers", "--jsn"], /did you mean --json/],
    [["run"], /Usage: berth run <container>/],
    [["version", "more"], /no place for "more"/],
    [["registry", "gx"], /did you mean gc/],
    [["help", "stpo"], /did you mean stop/],
  ];
  for (const [args, stderr] of rows) t.match(await typeBerth(args, { env }), { code: 2, stdout: "", stderr }, args.join(" "));
});

t.test("a command ends with the number that the table has for what went wrong", async (t) => {
  const rows: [FaultCode, number][] = [
    ["SETTINGS_INVALID", 2],
    ["CONTAINER_NOT_FOUND", 3],
    ["USER_NOT_FOUND", 3],
    ["NOT_PERMITTED", 4],
    ["DEV_KEY_INVALID", 4],
    ["CONTROL_AWAY", 5],
    ["REGISTRY_UNREACHABLE", 5],
    ["CONTAINER_CRASHED", 1],
    ["INTERNAL", 1],
  ];
  for (const [code, exit] of rows) t.equal(exitCodeOf(new Fault(code, "")), exit, code);
  t.equal(exitCodeOf(new Interrupted()), 130);
  t.equal(exitCodeOf(new Error("a bug")), 1);
  const codes = Object.values(EXIT_CODES).map(({ code }) => code);
  t.equal(new Set(codes).size, codes.length);
  t.match(await berth(["containers"]), { code: 5, output: /^berth: No berth runs/ });
  t.match(await berth(["stop"]), { code: 2, output: /^berth: / });
  for (const more of [{ REGISTRY_URL: "registry.example" }, { ECR_MODE: "true" }])
    t.match(await berth(["registry"], { DATAGROK_URL: "http://127.0.0.1:1/api", ...more }), { code: 2, output: /REGISTRY_URL/ });
});

t.test("bash completes commands, their verbs and options, and values", async (t) => {
  const bin = tempFolder(t);
  writeFileSync(join(bin, "berth"), `#!/bin/sh\nexec ${process.execPath} ${join(root, "berth.ts")} "$@"\n`);
  chmodSync(join(bin, "berth"), 0o755);
  writeFileSync(join(bin, "completion.bash"), (await typeBerth(["completion", "bash"], { env })).stdout);
  const hints = (...words: string[]) =>
    new Promise<string[]>((resolve, reject) => {
      const script = `source ${join(bin, "completion.bash")}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _berth; printf '%s\\n' "\${COMPREPLY[@]}"`;
      const options = { env: { ...env, PATH: `${bin}:${process.env["PATH"]}`, HOME: bin }, cwd: bin };
      execFile("bash", ["--norc", "-c", script, "bash", "berth", ...words], options, (error, stdout) =>
        error ? reject(error) : resolve(stdout.split("\n").filter(Boolean)),
      );
    });
  t.same(await hints("conf"), ["config"]);
  t.same(await hints("users", "key", ""), ["ls", "add", "rm"]);
  t.same(await hints("logs", "--f"), ["--follow"]);
  t.same(await hints("completion", "z"), ["zsh"]);
  t.same(await hints("backup", "comp"), ["completion.bash"], "files are bash's own to know");
});

t.test("names at the server are completed, until all that can be are there", async (t) => {
  const { env, publish, berth } = await openStand(t);
  await publish("typed", packageOf("typed", ["one", "two"]), { authorization: `Dev ${berth.key}` });
  const hints = async (...words: string[]) =>
    (await typeBerth(["complete", "--", ...words], { env })).stdout.split("\n").flatMap((line) => (line === "" ? [] : [line.split("\t")[0]]));
  t.same(await hints("run", "typ"), ["typed-one", "typed-two"]);
  t.same(await hints("run", "typed-one", ""), ["typed-two"]);
  t.same(await hints("explain", "typed-one", ""), []);
  t.same(await hints("users", "remove", ""), ["admin"]);
  t.same(await hints("revalidate", "--no-wait", ""), ["typed-one", "typed-two"]);
  t.same(await hints("run", "--server", "http://127.0.0.1:1", ""), []);
});
