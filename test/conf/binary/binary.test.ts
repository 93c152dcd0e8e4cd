import { execFileSync, spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import t from "tap";
import WebSocket from "ws";
import { type Berth, startBerth } from "../../fixtures/berth.ts";
import { startedWith } from "../../fixtures/processes.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { copyBuiltProgram } from "./fixtures/built-program.ts";
import { cleanRoot } from "./fixtures/clean-root.ts";

/**
 * All of berth as one file, where nothing else of it is: the walk of a plugin's container on a root file system with glibc and a shell alone. It takes root.
 * That two builds give the same bytes: test/conf/release/release.test.ts.
 */
const source = join(import.meta.dirname, "../../..");
const built = tempFolder(t);
const program = join(built, "berth");
await copyBuiltProgram(program);
const root = tempFolder(t);
const command = cleanRoot(root, program);
const env = { PATH: "/bin", BERTH_DRIVER: "process", BERTH_DATA: "/berth-data" };
const run = (...args: string[]) => spawnSync(command[0] as string, [...command.slice(1), ...args], { encoding: "utf8", env });

/** What its service has among its variables, wherever it runs. */
const MARK = `WALK=${process.pid}`;
const demo = (file: string) => readFileSync(join(source, "conf/demo/dockerfiles/square", file), "utf8");
const FILES = {
  "package.json": JSON.stringify({ name: "walk", version: "1.0.0", friendlyName: "Walk" }),
  "dockerfiles/square/Dockerfile": demo("Dockerfile"),
  "dockerfiles/square/server.mjs": demo("server.mjs"),
  // Idle for 3 s.
  "dockerfiles/square/container.json": JSON.stringify({ on_demand: true, shutdown_timeout: 0.05, env: { WALK: String(process.pid) } }),
};

t.test("it needs nothing newer than Debian 12 has", async (t) => {
  const addon = readFileSync(join(source, `node_modules/better-sqlite3/prebuilds/linux-${process.arch}.node`));
  for (const file of [readFileSync(program), addon]) {
    const text = file.toString("latin1");
    const newest = (name: string) => Math.max(...[...text.matchAll(new RegExp(`\\0${name}([\\d.]+)(?=\\0)`, "g"))].map(([, minor]) => Number(minor)));
    t.ok(newest("GLIBC_2\\.") <= 36, `GLIBC_2.${newest("GLIBC_2\\.")}`);
    t.ok(newest("GLIBCXX_3\\.4\\.") <= 30, `GLIBCXX_3.4.${newest("GLIBCXX_3\\.4\\.")}`);
  }
});

t.test("it says its version, commit and build", async (t) => {
  const commit = execFileSync("git", ["-C", source, "rev-parse", "--short=12", "HEAD"], { encoding: "utf8" }).trim();
  const { stdout, stderr } = run("version");
  t.match(stdout, /^berth \d+\.\d+\.\d+ \(commit [0-9a-f]{12}(\+changes)? of \S+, build [0-9a-f]{12}; Node v26\S*, linux-/);
  t.match(stdout, commit);
  t.equal(stderr, "");
});

t.test("its gateways use ffi sockets, and Node's warning about them reaches no user", async (t) => {
  const { stdout, stderr } = run("doctor");
  t.match(stdout, /^✓ ok +sockets +ffi, with(?:out)? io_uring/m);
  t.notMatch(stdout + stderr, /experimental/i);
});

t.test("a faulty command line is one sentence", async (t) => {
  const { status, stderr } = run("no-such-command");
  t.equal(status, 2);
  t.match(stderr, /^berth: There is no command "no-such-command"[^\n]*\n$/);
});

t.test("a long message reaches a slow reader whole", async (t) => {
  const word = "y".repeat(100_000);
  const { stdout } = spawnSync("sh", ["-c", `"$@" 2>&1 >/dev/null | { sleep 1; wc -c; }`, "sh", ...command, "version", word], {
    encoding: "utf8",
    env,
  });
  t.ok(Number(stdout) > word.length, stdout);
});

t.test("what is loaded where it is used is in it", async (t) => {
  t.match(run("complete", "--", "users", "key", ""), { status: 0, stdout: /^ls\t/ });
  t.match(run("publish", "no-such-folder", "--server", "http://127.0.0.1:1", "--key", "x"), { status: 2, stderr: /no package\.json/ });
  const nowhere = { image: "x:1", engine: { host: "unix:///no/such.sock" }, owner: "no-owner", mounts: [] };
  t.match(run("registry-image", JSON.stringify(nowhere), "--version"), { status: 1, stderr: /no container engine can be reached/ });

  // Amazon's client, as far as an address without a listener.
  const [file = "", ...args] = command;
  const aws = {
    HOME: "/tmp",
    AWS_REGION: "eu-west-1",
    AWS_ACCESS_KEY_ID: "x",
    AWS_SECRET_ACCESS_KEY: "x",
    AWS_ENDPOINT_URL: "http://127.0.0.1:1",
    AWS_MAX_ATTEMPTS: "1",
  };
  const proxyEnv = {
    ...env,
    ...aws,
    ECR_MODE: "true",
    DATAGROK_URL: "http://127.0.0.1:1/api",
    BERTH_REGISTRY_PORT: "0",
    REGISTRY_URL: "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
    BERTH_DATA: "/proxy-data",
  };
  const proxy = spawn(file, [...args, "registry-proxy"], { env: proxyEnv, stdio: ["ignore", "pipe", "inherit"] });
  t.teardown(() => proxy.kill("SIGKILL"));
  const ended = once(proxy, "exit").then(() => Promise.reject(new Error("it ended")));
  const [line] = (await Promise.race([once(createInterface({ input: proxy.stdout }), "line"), ended])) as [string];
  const answer = await fetch(`${/http:\S+/.exec(line)?.[0]}/v2/some/manifests/image`);
  t.equal(answer.status, 502);
  t.match(await answer.text(), /ecr:GetAuthorizationToken.*ECONNREFUSED/);
});

t.test("it installs itself, and what it installed is it", async (t) => {
  const system = tempFolder(t);
  const { status, stdout, stderr } = spawnSync(program, ["install", "--root", system], { encoding: "utf8", env });
  t.equal(status, 0, stderr);
  t.match(stdout, /systemctl enable --now|no group docker/);
  t.ok(readFileSync(join(system, "usr/local/bin/berth")).equals(readFileSync(program)));
  t.match(execFileSync(join(system, "usr/local/bin/berth"), ["version"], { encoding: "utf8" }), /^berth /);
});

t.test("publish, ready, asleep, woken, answering, idle, and again after kill -9", async (t) => {
  let berth: Berth = await startBerth({ data: root, env, command });
  t.teardown(() => berth.stop());
  const ask = async (number: number) => {
    const { id } = await berth.container("walk-square");
    return (await berth.call(`/docker/containers/proxy/${id}/square?number=${number}`)).json();
  };
  const published = await berth.publish("walk", FILES);
  t.equal(published.status, 200, await published.text());
  await berth.until("walk-square", ["stopped by system"]);
  t.same(await ask(4), { result: 16 });
  t.equal((await berth.container("walk-square")).status, "started");

  const { id } = await berth.container("walk-square");
  const socket = new WebSocket(`${berth.api.replace("http", "ws")}/docker/containers/proxy-ws/${id}/ws`, {
    headers: { cookie: `auth=${berth.token}` },
  });
  t.equal(String((await once(socket, "message"))[0]), "CONNECTED");
  socket.send("hello");
  t.equal(String((await once(socket, "message"))[0]), "hello");
  socket.close();
  await once(socket, "close");

  const services = startedWith(MARK);
  t.equal(services.length, 1);
  await berth.kill();
  berth = await startBerth({ data: root, env, command });
  t.same(await ask(5), { result: 25 });
  t.same(startedWith(MARK), services, "the very same process");
  await berth.until("walk-square", ["stopped by system"]);
  t.same(await ask(6), { result: 36 });
});

t.test("no other user may write what it unpacks", async (t) => {
  // In the place of the last resort, since this root has no home: a folder that every user may write is not used.
  const folder = join(root, "tmp/berth-0-files");
  t.equal(execFileSync("stat", ["-c", "%a", folder], { encoding: "utf8" }).trim(), "700");
  execFileSync("chmod", ["777", folder]);
  const { status, stderr } = run("config");
  t.equal(status, 0, "what needs no such file goes on");
  t.equal(stderr, "");
  const { stderr: refused } = run("demo");
  t.match(
    refused,
    /^berth: berth finds no folder for the files that it brings, tried were .*temporary files \(it is not a folder that only this user can write to\)/,
  );
  execFileSync("chmod", ["700", folder]);
});
