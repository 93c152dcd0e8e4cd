import { once } from "node:events";
import { PassThrough } from "node:stream";
import t from "tap";
import type WebSocket from "ws";
import { tokenDigest } from "../../../control/identity/sessions.ts";
import type { ExecOptions, ExecSession } from "../../../drivers/driver.ts";
import { CONSOLE_HEADER } from "../../../gateway/contract.ts";
import { systemClock } from "../../../lib/clock.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { ADMIN_KEY, type ApiFixture, openApiFixture } from "./fixtures/open-api-fixture.ts";
import { openShell, requireShell } from "./fixtures/shell-client.ts";

/** In place of a command: it writes back what it reads, and the test ends it. */
function openExec() {
  const opened: {
    service: string;
    options: ExecOptions;
    sizes: object[];
    isClosed: boolean;
    /** The command reads no input, and takes no size, before this resolves. */
    readsFrom: Promise<void>;
    /** So many of the client's messages have reached the command. */
    requests: number;
    write(bytes: Buffer): Promise<void>;
    exit(code: number): void;
  }[] = [];
  /** Of `answersFrom`: the engine does not answer before it resolves. */
  const engine = { answersFrom: Promise.resolve(), calls: 0 };
  const exec = async (service: string, options: ExecOptions): Promise<ExecSession> => {
    engine.calls++;
    await engine.answersFrom;
    const pipe = new PassThrough({ highWaterMark: 65_536 });
    let exitCode: number | undefined;
    const put = (bytes: Uint8Array) => new Promise<void>((resolve) => void (pipe.write(bytes) ? resolve() : pipe.once("drain", resolve)));
    const command = {
      service,
      options,
      sizes: [] as object[],
      isClosed: false,
      readsFrom: Promise.resolve(),
      requests: 0,
      write: put,
      exit: (code: number) => {
        exitCode = code;
        pipe.end();
      },
    };
    opened.push(command);
    async function* output() {
      for await (const bytes of pipe as AsyncIterable<Buffer>) yield { stream: "stdout" as const, bytes };
    }
    return {
      output: output(),
      write: async (bytes) => {
        command.requests++;
        await command.readsFrom;
        await put(bytes);
      },
      endInput: () => command.exit(0),
      resize: async (size) => {
        command.requests++;
        await command.readsFrom;
        command.sizes.push(size);
      },
      exitCode: async () => exitCode,
      close: async () => {
        command.isClosed = true;
        pipe.destroy();
      },
    };
  };
  return { opened, exec, engine };
}

const MINUTE = 60_000;

async function openFixture(
  t: Parameters<typeof openApiFixture>[0],
  { clock = systemClock(), isOn = true, pausesContainers = false, hasExec = true } = {},
) {
  const { opened, exec, engine } = openExec();
  const shell = isOn
    ? { exec: () => (hasExec ? exec : { refusal: "This orchestrator has none." }), idleMs: 15 * MINUTE, pausesContainers }
    : undefined;
  const api = await openApiFixture(t, {}, clock, { shell });
  const anna = await api.addUser("anna");
  await api.publish("tools", { "dockerfiles/box/Dockerfile": "FROM scratch\nEXPOSE 80\n" }, { key: anna.key });
  const [{ id }] = (await api.get("/docker/containers")).json as [{ id: string }];
  await api.store.containers.move(id, "USER_STOPPED", "STARTED", { requestedBy: anna.user.id });
  return {
    ...api,
    opened,
    engine,
    anna,
    id,
    /** Who started it. */
    startedBy: (userId: string) => api.store.containers.update(id, { requestedBy: userId }),
    path: `/docker/containers/${id}/exec`,
    url: (query = "") => `ws+unix:${api.socketPath}:/api/docker/containers/${id}/exec?${query}`,
  };
}

/** The server has handled all messages that came before, and all pongs to pings that it sent before. */
async function roundTrips(socket: WebSocket): Promise<void> {
  // The first brings the server's pings to the client, whose pongs come before the second.
  for (let trip = 0; trip < 2 && socket.readyState === socket.OPEN; trip++) {
    const answered = Promise.race([once(socket, "pong"), once(socket, "close")]);
    socket.ping();
    await answered;
  }
}

/** Waits until a count above 0 no longer grows. */
async function standstill(count: () => number): Promise<number> {
  let before = -1;
  await eventually("a count to stand still", async () => {
    const isStill = before > 0 && count() === before;
    before = count();
    await new Promise((resolve) => setTimeout(resolve, 50));
    return isStill;
  });
  return before;
}

const as = (authorization: string, more: Record<string, string> = {}) => ({ headers: { authorization, ...more } });
const sessionOf = async (api: Pick<ApiFixture, "identity">, userId: string) => api.identity.openSession(userId, undefined, "administration");

t.test("who may open a shell", async (t) => {
  const api = await openFixture(t);
  const { anna, identity, admin, url, path, startedBy, call } = api;
  const [max, uma] = [await api.addUser("max"), await api.addUser("uma")];
  await api.store.groups.put(anna.user.id, ["lab"]);
  await api.store.groups.put(max.user.id, ["lab"]);
  const console = {
    cookie: `berth-console=${await identity.openSession(admin.id, undefined, "console")}`,
    [CONSOLE_HEADER]: "1",
    host: "berth.test",
  };
  const plain = await identity.openSession(admin.id);
  const derived = (await identity.who(await sessionOf(api, anna.user.id)))?.derivedToken ?? "";
  const own = { origin: "http://berth.test" };
  const status = async (headers: Record<string, string>) => {
    const opened = await openShell(t, url("command=cat"), { headers });
    if ("status" in opened) return opened.status;
    opened.socket.terminate();
    return 101;
  };
  const rows: [what: string, headers: Record<string, string>, startedByAnna: number, startedByMax: number][] = [
    ["no credential", {}, 401, 401],
    ["an unknown token", { authorization: "x".repeat(43) }, 401, 401],
    ["an administrator's session of a command line", { authorization: api.token }, 101, 101],
    ["an administrator's developer key", { authorization: `Dev ${ADMIN_KEY}` }, 101, 101],
    ["an administrator's plain session, which containers may have", { authorization: plain }, 403, 403],
    ["an administrator's console", { ...console, ...own }, 101, 101],
    ["the console's cookie from a page of another origin", { ...console, origin: "http://evil.test" }, 403, 403],
    ["the console's cookie without an origin", console, 403, 403],
    ["the console's cookie at the edge", { cookie: console.cookie, host: "berth.test", ...own }, 401, 401],
    ["the author's session of a command line", { authorization: await sessionOf(api, anna.user.id) }, 101, 403],
    ["the author's developer key", { authorization: `Dev ${anna.key}` }, 101, 403],
    ["the author's plain session", { authorization: anna.token }, 403, 403],
    ["the author's cookie at the edge, which pages of containers share", { cookie: `auth=${anna.token}`, host: "berth.test", ...own }, 403, 403],
    ["the token that a container received of its author", { authorization: derived }, 403, 403],
    ["an administrator's session of a command line in the edge's cookie", { cookie: `auth=${api.token}`, host: "berth.test", ...own }, 101, 101],
    ["the same from a page of another origin", { cookie: `auth=${api.token}`, host: "berth.test", origin: "http://evil.test" }, 403, 403],
    ["the same without an origin", { cookie: `auth=${api.token}`, host: "berth.test" }, 403, 403],
    ["a user of the author's group", { authorization: `Dev ${max.key}` }, 403, 403],
    ["another user", { authorization: `Dev ${uma.key}` }, 403, 403],
  ];
  for (const [starter, column] of [[anna.user.id, 2] as const, [max.user.id, 3] as const]) {
    await startedBy(starter);
    for (const row of rows) {
      t.equal(await status(row[1]), row[column], `${row[0]}, started by ${starter === anna.user.id ? "its author" : "another"}`);
      const answer = await call(path, { headers: row[1] });
      if (answer.status === 200) t.equal(answer.json.isAvailable, row[column] === 101, `${row[0]} learns that before`);
    }
  }
});

t.test("an author opens no shell beside the token of another user, whose start was not seen to succeed", async (t) => {
  const { anna, addUser, store, url, path, call, id } = await openFixture(t);
  const uma = await addUser("uma");
  /** As a start of the user gives it to the container. */
  const give = async (userId: string) => {
    const digest = tokenDigest(`of ${userId}`);
    await store.sessions.insert({
      digest,
      userId,
      keyDigest: undefined,
      expiresOn: Number.MAX_SAFE_INTEGER,
      containerId: id,
      start: { generation: 1, sealed: undefined },
    });
    return digest;
  };
  await give(anna.user.id);
  const shell = await requireShell(t, url("command=cat"), as(`Dev ${anna.key}`));
  shell.socket.close();
  const ofUma = await give(uma.user.id);
  t.match(await openShell(t, url(), as(`Dev ${anna.key}`)), { status: 403, body: { code: "NOT_PERMITTED", message: /another user started/ } });
  t.match((await call(path, as(`Dev ${anna.key}`))).json, { isAvailable: false, reason: /Stop it, and start it yourself/ });
  await store.sessions.remove(ofUma);
  (await requireShell(t, url(), as(`Dev ${anna.key}`))).socket.close();
});

t.test("without the setting, where a driver has no such call, and beside frozen containers", async (t) => {
  const off = await openFixture(t, { isOn: false });
  t.match(await openShell(t, off.url(), as(off.token)), { status: 403, body: { code: "SHELL_DISABLED" } });
  t.match((await off.get(off.path)).json, { isAvailable: false, reason: /BERTH_SHELL=on/ });
  const none = await openFixture(t, { hasExec: false });
  t.match(await openShell(t, none.url(), as(none.token)), { status: 501, body: { code: "EXEC_UNAVAILABLE", message: /has none/ } });
  const frozen = await openFixture(t, { pausesContainers: true });
  t.match(await openShell(t, frozen.url(), as(`Dev ${frozen.anna.key}`)), { status: 403, body: { message: /BERTH_PAUSED_MINUTES/ } });
  (await requireShell(t, frozen.url(), as(frozen.token))).socket.close();
});

t.test("bad requests are refused before anything runs", async (t) => {
  const { url, token, opened, store, id, get } = await openFixture(t);
  for (const query of ["command=", "columns=0", "rows=x", `command=${"x".repeat(5_000)}`])
    t.match(await openShell(t, url(query), as(token)), { status: 400, body: { code: "REQUEST_INVALID" } }, query);
  await store.containers.move(id, "STARTED", "SYSTEM_STOPPED", {});
  t.match(await openShell(t, url(), as(token)), { status: 400, body: { code: "CONTAINER_STOPPED", message: /does not run: start it/ } });
  t.match(await get("/docker/containers/3f1c9a52-7b0e-4d16-9a41-0123456789ab/exec"), { status: 404 });
  t.strictSame(opened, []);
});

t.test("messages that are no part of the protocol end the shell, and its command", async (t) => {
  const { url, token, opened } = await openFixture(t);
  for (const message of ["{}", "no json", '{"resize":{"columns":0,"rows":1}}', Buffer.of(7, 1)]) {
    const shell = await requireShell(t, url(), as(token));
    shell.socket.send(message);
    t.match(await shell.ended, { report: { reason: /client sent/ }, code: 1008 }, String(message));
  }
  const shell = await requireShell(t, url(), as(token));
  shell.socket.send(Buffer.alloc(70_000));
  t.equal((await shell.ended).code, 1009, "too large");
  await eventually("all commands to be closed", async () => opened.every(({ isClosed }) => isClosed));
});

t.test("a client that does not read stops the command, and gets every byte when it does", async (t) => {
  const { url, token, opened } = await openFixture(t);
  for (const query of ["command=cat", "command=cat&shown=true"]) {
    const shell = await requireShell(t, url(query), as(token));
    const command = opened.at(-1)!;
    const isReporting = query.includes("shown");
    if (!isReporting) shell.socket.pause();
    let written = 0;
    const chunk = Buffer.alloc(65_536, "x");
    const writing = (async () => {
      for (; written < 50_000_000; written += chunk.length) await command.write(chunk);
      command.exit(0);
    })();
    await standstill(() => written);
    t.ok(written < 20_000_000, `${query}: it waits after ${written} bytes`);
    if (isReporting) shell.send({ shown: 60_000_000 });
    else shell.socket.resume();
    if (isReporting) {
      let reported = 0;
      shell.socket.on("message", (data: Buffer) => (reported += data.length) > 500_000 && (shell.send({ shown: reported }), (reported = 0)));
    }
    await writing;
    t.match(await shell.ended, { report: { exitCode: 0 } });
    t.equal(shell.output().length, written);
  }
});

t.test("an idle shell ends, one that is used does not, and none lasts for more than eight hours", async (t) => {
  const clock = createStillClock();
  const { url, token, opened, commands, id } = await openFixture(t, { clock });
  const idle = await requireShell(t, url(), as(token));
  const used = await requireShell(t, url(), as(token));
  for (let minutes = 0; minutes < 8 * 60; minutes += 10) {
    used.type("x");
    await eventually("the input to come back", async () => used.output().length === minutes / 10 + 1);
    for (let seconds = 0; seconds < 600; seconds += 20) {
      await clock.advance(20_000);
      // Answers to pings are real messages.
      await Promise.all([roundTrips(idle.socket), roundTrips(used.socket)]);
    }
    if (minutes === 10) t.match(await idle.ended, { report: { reason: /Nothing was typed or written for 15 minutes/ }, code: 1001 });
  }
  t.match(await used.ended, { report: { reason: /8 hours at most/ } });
  t.ok(opened.every(({ isClosed }) => isClosed));
  t.ok(commands.includes(`use ${id}`), "it counts as use");
});

t.test("a command that does not read its input for minutes keeps its shell; a client that vanishes loses it", async (t) => {
  const clock = createStillClock();
  const { url, token, opened } = await openFixture(t, { clock });
  const shell = await requireShell(t, url("command=cat"), as(token));
  const [command] = opened;
  const { promise, resolve } = Promise.withResolvers<void>();
  command!.readsFrom = promise;
  shell.type("first");
  await eventually("the input to reach the command", async () => command!.requests === 1);
  for (let seconds = 0; seconds < 300; seconds += 10) await clock.advance(10_000);
  resolve();
  await Promise.race([shell.expect(/first/), shell.ended]);
  shell.type(" second");
  await Promise.race([shell.expect(/first second/), shell.ended]);
  t.equal(shell.output(), "first second");
  shell.socket.pause();
  await clock.advance(60_000);
  await eventually("the command to be closed", async () => command!.isClosed);
});

t.test("messages wait in the client while the command takes none, whatever they are, and one that fails does not stop the next", async (t) => {
  const { url, token, opened } = await openFixture(t);
  const shell = await requireShell(t, url("command=cat&tty=true"), as(token));
  const [command] = opened;
  const { promise, reject } = Promise.withResolvers<void>();
  promise.catch(() => undefined);
  command!.readsFrom = promise;
  const resize = JSON.stringify({ resize: { columns: 90, rows: 30 }, padding: "x".repeat(60_000) });
  let sent = 0;
  const sending = (async () => {
    for (; sent < 400; sent++) await new Promise<void>((done) => shell.socket.send(resize, () => done()));
  })();
  await standstill(() => sent);
  t.ok(sent < 100, `${sent} are sent`);
  t.equal(command!.requests, 1);
  command!.readsFrom = Promise.resolve();
  reject(new Error("no such process"));
  await sending;
  shell.type("after");
  await Promise.race([shell.expect(/after/), shell.ended]);
  t.equal(shell.output(), "after");
  t.equal(command!.sizes.length, 399, "all but the one that failed");
});

t.test("at a stop every shell ends with a reason, its end is in the audit log, and no other begins", async (t) => {
  const { url, token, closeShells, get } = await openFixture(t);
  const shell = await requireShell(t, url("command=cat"), as(token));
  await closeShells();
  t.match(await shell.ended, { report: { reason: /berth stops/ }, code: 1001 });
  t.match((await get("/admin/audit")).json, [{ action: "shellClosed", target: /: cat$/ }, { action: "shellOpened" }]);
  t.match(await openShell(t, url(), as(token)), { status: 503 });
});

t.test("a shell whose command is not yet run at a stop does not begin afterwards", async (t) => {
  const { url, token, closeShells, get, engine, opened } = await openFixture(t);
  const { promise, resolve } = Promise.withResolvers<void>();
  engine.answersFrom = promise;
  const opening = openShell(t, url("command=cat"), as(token));
  await eventually("the engine to be called", async () => engine.calls === 1);
  await closeShells();
  t.match((await get("/admin/audit")).json, [{ action: "shellClosed" }, { action: "shellOpened" }], "its end is recorded before the stop goes on");
  t.match(await opening, { status: 503, body: { code: "CONTROL_AWAY" } });
  resolve();
  await eventually("the late command to be closed", async () => opened.length === 1 && opened[0]!.isClosed);
});

t.test("a user who loses the right loses the shell", async (t) => {
  const clock = createStillClock();
  const { url, anna, startedBy, admin } = await openFixture(t, { clock });
  const shell = await requireShell(t, url(), as(`Dev ${anna.key}`));
  await startedBy(admin.id);
  await clock.advance(6_000);
  t.match(await shell.ended, { report: { reason: /may not use this shell/ }, code: 1001 });
});
