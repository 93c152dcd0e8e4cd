import { once } from "node:events";
import { get } from "node:http";
import { connect } from "node:net";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import t from "tap";
import { ADMIN_KEY, openClient } from "../../fixtures/berth.ts";
import { isAlive } from "../../fixtures/processes.ts";
import { freePort } from "../../fixtures/server.ts";
import { packageOf } from "../../program/rights/fixtures/stand.ts";
import { openInstallation } from "./installation.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** Sends requests over new connections, again and again, until `end`; which resolves with the outcomes, each with how often. */
function asking(url: string, authorization: string) {
  return repeating(
    () =>
      new Promise<string>((resolve) => {
        get(url, { agent: false, headers: { authorization } }, (response) => {
          response.resume();
          response.once("end", () => resolve(String(response.statusCode)));
          response.once("error", (error) => resolve(error.message));
        }).once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
      }),
  );
}

/** Between two requests of one client: enough of them to meet each moment, without the whole of a processor that other tests share. */
const PAUSE_MS = 10;

function repeating(one: () => Promise<string>) {
  const came: Record<string, number> = {};
  const over = new AbortController();
  const loop = async () => {
    while (!over.signal.aborted) {
      const result = await one();
      came[result] = (came[result] ?? 0) + 1;
      await pause(PAUSE_MS);
    }
  };
  const all = Promise.all([loop(), loop(), loop(), loop()]);
  return {
    came,
    end: async () => {
      over.abort();
      await all;
      return came;
    },
  };
}

async function warm(stand: Awaited<ReturnType<typeof openInstallation>>) {
  const client = await openClient({ base: stand.base(), key: ADMIN_KEY, output: () => readFileSync(join(stand.folder, "log"), "utf8") });
  t.equal((await client.publish("app", packageOf("app", ["square"]))).status, 200);
  const { id } = await client.until("app-square", ["stopped by system", "started"], 60_000);
  const path = `/docker/containers/proxy/${id}/square?number=4`;
  t.equal((await client.call(path)).status, 200);
  // Announced after the edge.
  const console = await eventually("the console's address", async () => stand.consoleBase());
  return { client, calls: asking(`${client.api}${path}`, client.token), consoleCalls: asking(`${console}/api/users/current`, client.token) };
}

t.test("a berth that hands over refuses no connection and fails no call, and the new one serves what the old one did", async (t) => {
  const opened = await openInstallation(t);
  const { client, calls, consoleCalls } = await warm(opened);
  const before = opened.pid();
  const { code, output } = await opened.upgrade(opened.program("new", "true"), []);
  t.equal(code, 0, output);
  await eventually("the old berth to be gone", async () => (isAlive(before) ? undefined : true));
  const came = await calls.end();
  t.comment(came);
  t.strictSame(Object.keys(came), ["200"]);
  t.strictSame(Object.keys(await consoleCalls.end()), ["200"], "nor does the console, whose connections wait meanwhile");
  t.match(readFileSync(join(opened.folder, "installed"), "utf8"), /^# new$/m);
  t.equal((await client.call("/users/current")).status, 200, "with control");
  t.match(await opened.users(), /\badmin\b/);
  const again = await opened.upgrade(opened.program("newer", "true"), []);
  t.equal(again.code, 0, `and it can be done again: ${again.output}`);
});

t.test("connections of a TCP listener are accepted all the time, and an idle one is closed", async (t) => {
  const port = await freePort();
  const opened = await openInstallation(t, 0, { BERTH_TCP_PORTS: `${port}-${port}` });
  const client = await openClient({ base: opened.base(), key: ADMIN_KEY, output: () => readFileSync(join(opened.folder, "log"), "utf8") });
  const server = `import { createServer } from "node:net";
    createServer((socket) => socket.on("error", () => undefined).on("data", (data) => socket.write(data))).listen(Number(process.env.PORT));`;
  const files = {
    "package.json": JSON.stringify({ name: "echo", version: "1.0.0" }),
    "dockerfiles/db/Dockerfile": 'FROM node:26-alpine\nCOPY server.mjs .\nEXPOSE 5432\nCMD ["node", "server.mjs"]\n',
    "dockerfiles/db/container.json": JSON.stringify({ on_demand: true, tcp: true }),
    "dockerfiles/db/server.mjs": server,
  };
  t.equal((await client.publish("echo", files)).status, 200);
  const echo = async () => {
    const socket = connect(port, "127.0.0.1");
    try {
      socket.end("x");
      let came = "";
      for await (const piece of socket) came += String(piece);
      return came;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? "failed";
    }
  };
  await eventually("the listener", async () => (await echo()) === "x");
  const idle = connect(port, "127.0.0.1");
  const closed = once(idle, "close");
  idle.resume();
  await once(idle, "connect");
  const calls = repeating(echo);
  const before = opened.pid();
  const { code, output } = await opened.upgrade(opened.program("new", "true"), []);
  t.equal(code, 0, output);
  await closed;
  await eventually("the old berth to be gone", async () => (isAlive(before) ? undefined : true));
  const came = await calls.end();
  t.comment(came);
  t.strictSame(Object.keys(came), ["x"]);
});

for (const [what, serve] of [
  ["ends at once", "echo 'berth: no.' >&2; exit 1"],
  ["is killed when control has ended", "while ! grep -q 'handing over' log; do sleep 0.05; done && kill -9 $$ & true"],
] as const) {
  t.test(`where the new program ${what}, the old one serves on, nothing is refused, and upgrade reports it soon`, async (t) => {
    const opened = await openInstallation(t);
    const { client, calls, consoleCalls } = await warm(opened);
    const before = opened.pid();
    const { code, output } = await opened.upgrade(opened.program("new", serve), []);
    t.equal(code, 1);
    t.match(output, /^berth: berth \S+ did not start: The new program ended with .* runs again/s);
    t.ok(isAlive(before));
    t.match(readFileSync(join(opened.folder, "installed"), "utf8"), /^# installed$/m);
    t.equal((await client.call("/users/current")).status, 200);
    t.strictSame(Object.keys(await calls.end()), ["200"]);
    t.strictSame(Object.keys(await consoleCalls.end()), ["200"]);
  });
}

/** Has a program's control answer nothing to `berth running`, as on a machine that is too slow. */
function makeBusy(program: string): string {
  writeFileSync(
    program,
    readFileSync(program, "utf8").replace("unset NODE_OPTIONS", 'if [ "$1" = running ]; then sleep 120; fi\nunset NODE_OPTIONS'),
  );
  return program;
}

t.test("a berth that goes on after a failed handover is not taken for one that does not run, where its control is slow", async (t) => {
  const { folder, program, upgrade, pid } = await openInstallation(t);
  makeBusy(join(folder, "installed"));
  const { code, output } = await upgrade(program("new", "echo 'berth: no.' >&2; exit 1"), []);
  t.equal(code, 1);
  t.match(output, /did not start: The new program ended with .* berth \S+ runs again/s);
  t.ok(isAlive(pid()));
});

t.test("a berth that has taken over stays, also where its control does not answer soon after", async (t) => {
  const opened = await openInstallation(t);
  const { folder, program, upgrade } = opened;
  const before = opened.pid();
  const { code, output } = await upgrade(makeBusy(program("new", "true")), []);
  t.equal(code, 0, output);
  t.match(readFileSync(join(folder, "installed"), "utf8"), /^# new$/m);
  await eventually("the old berth to be gone", async () => !isAlive(before));
  t.match(await opened.users(), /\badmin\b/);
});

t.test("a second upgrade while the first one hands over is refused, and does not restart berth", async (t) => {
  const opened = await openInstallation(t);
  const { folder, program, upgrade } = opened;
  writeFileSync(join(folder, "systemctl"), `#!/bin/sh\ntouch ${folder}/restarted\nexit 1\n`, { mode: 0o755 });
  const first = upgrade(program("new", "touch begun; while [ ! -e go ]; do sleep 0.05; done"), []);
  await eventually("the first one hands over", async () => existsSync(join(folder, "begun")));
  const second = await upgrade(program("newer", "true"), [], { PATH: `${folder}:${process.env["PATH"]}` });
  t.match(second, { code: 1, output: /^berth: Another upgrade .* is under way/ });
  t.notOk(existsSync(join(folder, "restarted")));
  writeFileSync(join(folder, "go"), "");
  const { code, output } = await first;
  t.equal(code, 0, output);
  t.match(readFileSync(join(folder, "installed"), "utf8"), /^# new$/m);
  t.match(readFileSync(join(folder, "installed.before-upgrade"), "utf8"), /^# installed$/m, "what was before is kept");
  t.equal((await upgrade(program("newer", "true"), [])).code, 0, "after it another one may follow");
});
