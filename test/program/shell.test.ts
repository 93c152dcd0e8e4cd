import { randomBytes } from "node:crypto";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { buffer, text } from "node:stream/consumers";
import t from "tap";
import { openTerminal } from "../cli/fixtures/terminal.ts";
import { openShell, requireShell } from "../control/api/fixtures/shell-client.ts";
import { ADMIN_KEY, startBerth } from "../fixtures/berth.ts";
import { openEngine, removeInstallation } from "../fixtures/engine.ts";
import { eventually } from "../fixtures/eventually.ts";
import { buildShellImage } from "../fixtures/images.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

/** Shells over a real engine: by the API through the edge, and by the command line at a real terminal. */
const { docker } = openEngine();
const image = await buildShellImage(docker);
const data = tempFolder(t);
const names = { network: `berth-shell-${process.pid}`, environment: `shell-${process.pid}` };
const berth = await startBerth({
  data,
  env: { BERTH_DRIVER: "docker", BERTH_SHELL: "on", BERTH_DOCKER_NETWORK: names.network, GROK_SPAWNER_ENVIRONMENT: names.environment },
});
t.teardown(async () => {
  await berth.stop();
  await removeInstallation(docker, names.environment, names.network);
});
/** 3 s of idleness. */
const container = JSON.stringify({ image, port: 15353, on_demand: true, shutdown_timeout: 0.05 });
await berth.publish("tools", {
  "package.json": JSON.stringify({ name: "tools", version: "1.0.0" }),
  "dockerfiles/box/container.json": JSON.stringify({ image, port: 15353 }),
  "dockerfiles/pair/container.json": JSON.stringify({ image, port: 15353, replicas: { min: 2, max: 2 } }),
  "dockerfiles/brief/container.json": container,
  "dockerfiles/brother/container.json": container,
});
const start = async (name: string) => {
  await eventually(`${name} to be ready`, async () => (await berth.container(name)).dockerfile.status === "ready");
  const { id } = await berth.container(name);
  const started = await berth.call(`/docker/containers/${id}/run?awaitStart=true`);
  if (!started.ok) throw new Error(await started.text());
  return id;
};
const box = await start("tools-box");
const at = (id: string, query = "") => `${berth.api.replace("http", "ws")}/docker/containers/${id}/exec?${query}`;
const asAdmin = { headers: { authorization: berth.token } };
const env = { PATH: process.env["PATH"] ?? "", HOME: data, BERTH_DATA: join(data, "berth-data"), BERTH_ADMIN_KEY: ADMIN_KEY };

t.test("a shell at a terminal runs what is typed, follows its size, and reports its exit code", async (t) => {
  const shell = await requireShell(t, at(box, "tty=true&columns=90&rows=20"), asAdmin);
  shell.type("echo $((6*7)) $TERM; stty size\n");
  await shell.expect(/42 xterm-256color\r\n20 90\r\n/);
  shell.send({ resize: { columns: 61, rows: 33 } });
  shell.type("stty size\n");
  await shell.expect(/33 61\r\n/);
  shell.type("echo be$((1))gun; sleep 1000\n");
  await shell.expect(/be1gun/);
  shell.type("\u0003");
  shell.type("exit 5\n");
  t.strictSame(await shell.ended, { report: { exitCode: 5 }, code: 1000 });
});

t.test("a container whose shell is open is not stopped for idleness, and is when the shell has ended", async (t) => {
  const brief = await start("tools-brief");
  const shell = await requireShell(t, at(brief, "tty=true"), asAdmin);
  await start("tools-brother");
  await berth.until("tools-brother", ["stopped by system", "stopped"]).catch(async () => t.comment((await berth.container("tools-brother")).status));
  t.equal((await berth.container("tools-brief")).status, "started", "the other container has the same limit");
  shell.socket.close();
  await eventually("the container to be stopped", async () => (await berth.container("tools-brief")).status.startsWith("stopped"));
});

t.test("the audit log has who ran what where, at its begin and its end", async (t) => {
  const shell = await requireShell(t, at(box, "command=sh&command=-c&command=cat"), asAdmin);
  shell.type("a secret that was typed\n");
  await shell.expect(/secret/);
  shell.send({ stdin: "ended" });
  t.strictSame(await shell.ended, { report: { exitCode: 0 }, code: 1000 });
  const entries = await eventually("both entries", async () => {
    const all = (await (await berth.call(`/admin/audit?target=${encodeURIComponent("sh -c cat")}`)).json()) as Record<string, unknown>[];
    return all.length === 2 ? all : undefined;
  });
  t.match(entries, [
    { action: "shellClosed" },
    { action: "shellOpened", login: "admin", target: `tools-box (${box}): sh -c cat`, via: "authorization" },
  ]);
  t.equal(entries[0]?.["requestId"], entries[1]?.["requestId"], "one request");
  t.notMatch(JSON.stringify(entries), /secret/);
});

t.test("a user has four shells at most, and one that signs out has none", async (t) => {
  const answer = await fetch(`${berth.api}/users/login/dev?administration=true`, { method: "POST", headers: { authorization: `Dev ${ADMIN_KEY}` } });
  const { token } = (await answer.json()) as { token: string };
  const mine = { headers: { authorization: token } };
  const shells = [];
  for (let count = 0; count < 4; count++) shells.push(await requireShell(t, at(box, "command=cat"), mine));
  t.match(await openShell(t, at(box, "command=cat"), mine), { status: 503, body: { code: "SHELLS_FULL" } });
  await fetch(`${berth.api}/users/logout`, { method: "POST", headers: { authorization: token } });
  for (const { ended } of shells) t.match(await ended, { report: { reason: /not signed in/ }, code: 1001 });
});

t.test("a shell is opened in the replica that is chosen", async (t) => {
  const pair = await start("tools-pair");
  await eventually("both to serve", async () => {
    const { replicas } = (await (await berth.call(`/docker/containers/${pair}`)).json()) as { replicas: { ready: number } };
    return replicas.ready === 2;
  });
  const hosts = new Set<string>();
  for (const replica of ["1", "2"]) {
    const child = spawn(
      process.execPath,
      [join(import.meta.dirname, "../../berth.ts"), "exec", "--replica", replica, "tools-pair", "cat", "/proc/sys/kernel/hostname"],
      {
        cwd: data,
        env,
      },
    );
    const [host, code] = await Promise.all([text(child.stdout), new Promise((resolve) => child.once("close", resolve))]);
    t.equal(code, 0);
    hosts.add(host);
  }
  t.equal(hosts.size, 2, "each is a container of its own");
  t.match(await openShell(t, at(pair, "command=cat&replica=3"), asAdmin), { status: 400, body: { message: /tools-pair has no replica 3/ } });
});

t.test("berth exec passes input, output and exit code on, as docker exec does", async (t) => {
  const run = (args: string[], input?: Uint8Array) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, "../../berth.ts"), "exec", ...args], { cwd: data, env });
    child.stdin.on("error", () => undefined).end(input);
    return Promise.all([buffer(child.stdout), text(child.stderr), new Promise((resolve) => child.once("close", resolve))]);
  };
  const sent = randomBytes(2_000_000);
  const [received, , code] = await run(["-i", "tools-box", "cat"], sent);
  t.equal(code, 0);
  t.ok(received.equals(sent), "every byte comes back");
  const [out, err, failed] = await run(["tools-box", "sh", "-c", "cat; echo good; echo bad >&2; exit 9"], Buffer.from("not passed on without -i"));
  t.strictSame([out.toString(), err, failed], ["good\n", "bad\n", 9]);
  const [help, , helped] = await run(["tools-box", "--", "cat", "--help"]);
  t.match(help.toString(), /^Usage: cat/, "options after the container are the command's own");
  t.equal(helped, 0);
  const [, refusal, none] = await run(["-it", "tools-box", "cat"]);
  t.match(refusal, /-t needs a terminal/);
  t.equal(none, 2);
  const [, stopped, asleep] = await run(["tools-brother", "cat"]);
  t.match(stopped, /does not run: start it with berth run tools-brother/);
  t.equal(asleep, 1);
});

t.test("berth exec at a terminal is a shell with its size and Ctrl-C", async (t) => {
  const terminal = openTerminal(t, ["exec", "tools-box"], { env, columns: 88, rows: 22 });
  terminal.type("stty size; echo it is $((40+2))\n");
  await terminal.expect(/22 88\n/);
  await terminal.expect(/it is 42\n/);
  terminal.type("echo be$((1))gun; sleep 1000\n");
  await terminal.expect(/be1gun/);
  // What is typed while the shell begins or ends a command may be dropped with it.
  await eventually("the command to run", async () => (await processes()).includes("sleep 1000"));
  terminal.type("\u0003");
  await eventually("the command to end", async () => !(await processes()).includes("sleep 1000"));
  terminal.type("echo still $((2+2))\n");
  await terminal.expect(/still 4\n/);
  terminal.type("exit 3\n");
  t.equal(await terminal.ended(), 3);
});

t.test("what runs in a container is ended when its client has gone", async (t) => {
  const shell = await requireShell(t, at(box, "tty=true&command=sleep&command=54321"), asAdmin);
  await eventually("the command to run", async () => (await processes()).includes("sleep 54321"));
  shell.socket.terminate();
  await eventually("the command to end", async () => !(await processes()).includes("sleep 54321"));
});

t.test("a shell that a stop of berth ends says so", async (t) => {
  const viaEdge = await requireShell(t, at(box, "tty=true"), asAdmin);
  const viaSocket = await requireShell(t, `ws+unix:${await apiSocket()}:/api/docker/containers/${box}/exec?tty=true`, asAdmin);
  await berth.stop();
  t.match(await viaSocket.ended, { report: { reason: /berth stops/ }, code: 1001 });
  // The edge ends at the same time, and may do so first.
  const { report, code } = await viaEdge.ended;
  t.ok(report !== undefined || code !== 1000, `${code}`);
});

/** What runs in tools-box, with its arguments. */
async function processes(): Promise<string> {
  const { serviceName } = await berth.container("tools-box");
  return (await docker.getContainer(serviceName).top()).Processes.flat().join(" ");
}

/** The Unix socket of control. */
async function apiSocket(): Promise<string> {
  const { openRuntimeFolder } = await import("../../processes/runtime-folder.ts");
  const { tmpdir } = await import("node:os");
  return openRuntimeFolder({ data: env.BERTH_DATA, base: process.env["XDG_RUNTIME_DIR"] ?? tmpdir(), uid: process.getuid?.() ?? 0 }).apiSocket;
}
