import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import t, { type Test } from "tap";
import { systemClock } from "../../../lib/clock.ts";
import { readSettings } from "../../../conf/read-settings.ts";
import type { Log } from "../../../lib/log.ts";
import { findDistribution } from "../../../processes/distribution/distribution-program.ts";
import { requestCollection, openMaintenance } from "../../../processes/distribution/maintenance.ts";
import { openDistribution, type OwnRegistry } from "../../../processes/distribution/open-distribution.ts";
import { registryPlace, storageName } from "../../../processes/distribution/registry-storage.ts";

import { tempFolder } from "../../fixtures/temp-folder.ts";
import { imageFolder } from "./image-folder.ts";
import { run } from "./run.ts";
import { openStand, plainUpstream } from "./stand.ts";
import { DEV_KEY } from "./token-server.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** Debian's docker-registry, kept by berth on a Unix socket. */
const path = process.env["PATH"] ?? "";

type Line = { level: string; sentence: string; fields: Record<string, unknown> };

function lines(logged: Line[] = []): { log: Log; logged: Line[] } {
  const write = (level: string) => (fields: Record<string, unknown>, sentence: string) => void logged.push({ level, sentence, fields });
  const log: Log = { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error"), child: () => log };
  return { log, logged };
}

async function open(
  t: Test,
  folder = tempFolder(t),
): Promise<{ registry: OwnRegistry; folder: string; socket: string; logged: Line[]; pid(): number }> {
  const socket = join(folder, "registry.sock");
  const { log, logged } = lines();
  const at = join(folder, "registry");
  const registry = await openDistribution({
    folder: at,
    storage: { kind: "folder", folder: join(at, "images"), isShared: false },
    socket,
    path,
    level: "info",
    clock: systemClock(),
    log,
  });
  t.teardown(() => registry.close());
  const pid = () => (JSON.parse(readFileSync(join(at, "writable.pid"), "utf8")) as { pid: number }).pid;
  return { registry, folder, socket, logged, pid };
}

function ask(socketPath: string, path: string, method = "GET"): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, path, method, agent: false }, (answer: IncomingMessage) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    sent.on("error", reject);
    sent.end();
  });
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

const answers = (socket: string) =>
  ask(socket, "/v2/").then(
    (status) => status === 200 || undefined,
    () => undefined,
  );

t.test("it answers as soon as it is open, says what runs, and keeps its files to this user", async (t) => {
  const { socket, folder, logged } = await open(t);
  t.equal(await ask(socket, "/v2/"), 200);
  t.equal(await ask(socket, "/v2/a/blobs/uploads/", "POST"), 202);
  t.equal(statSync(socket).mode & 0o777, 0o600);
  for (const name of ["writable.yml", "secret", "writable.pid"]) t.equal(statSync(join(folder, "registry", name)).mode & 0o777, 0o600, name);
  const start = logged.find(({ fields }) => fields["program"] !== undefined);
  t.match(start, { level: "info", fields: { version: /^\d+\.\d+/ } });
});

t.test("one that dies is started again, and answers at the same place", async (t) => {
  const { socket, pid } = await open(t);
  const first = pid();
  process.kill(first, "SIGKILL");
  await eventually("another process", async () => (pid() === first ? undefined : true));
  await eventually("an answer", () => answers(socket));
});

t.test("a push that Distribution dies in fails, and succeeds when it is tried again: it has restarted by then", async (t) => {
  const { socket, folder, pid } = await open(t);
  const stand = await openStand(t, { port: 0 }, { upstream: { ...plainUpstream(0), target: { socketPath: socket } } });
  const uploads = join(folder, "registry/images/docker/registry/v2/repositories/datagrok/a/_uploads");
  const arrived = () => {
    const files = existsSync(uploads) ? readdirSync(uploads, { recursive: true, encoding: "utf8" }) : [];
    return files.some((name) => name.endsWith("/data") && sizeOf(join(uploads, name)) > 1_000_000) || undefined;
  };
  const image = `docker://${stand.host}/datagrok/a:1`;
  const from = imageFolder(t, randomBytes(100_000_000));
  const policy = ["--insecure-policy", "--tmpdir", tempFolder(t)];
  const push = () => run("skopeo", [...policy, "copy", "--dest-tls-verify=false", "--dest-creds", `any:${DEV_KEY}`, `dir:${from}`, image]);
  const first = pid();
  const pushing = push();
  await eventually("a part of the layer", async () => arrived());
  process.kill(first, "SIGKILL");
  t.not((await pushing).code, 0);
  await eventually("another process", () => answers(socket));
  const { code, output } = await push();
  t.equal(code, 0, output);
  t.match(await (await stand.call("/v2/datagrok/a/tags/list")).json(), { tags: ["1"] });
});

t.test("while it is read-only, every read succeeds and every write fails", async (t) => {
  const { registry, socket } = await open(t);
  const over = new AbortController();
  const statuses: unknown[] = [];
  const reads = (async () => {
    while (!over.signal.aborted) statuses.push(await ask(socket, "/v2/").catch((error: unknown) => error));
  })();
  await registry.whileReadOnly(async () => {
    t.equal(await ask(socket, "/v2/a/blobs/uploads/", "POST"), 405);
    await t.rejects(
      registry.whileReadOnly(async () => {}),
      { code: "REGISTRY_BUSY" },
    );
  });
  over.abort();
  await reads;
  t.same([...new Set(statuses)], [200]);
  t.equal(await ask(socket, "/v2/a/blobs/uploads/", "POST"), 202);
});

t.test("a push during garbage collection has to retry, and a read notices nothing", async (t) => {
  const { registry, socket } = await open(t);
  const { call } = await openStand(t, { port: 0 }, { own: registry, upstream: { ...plainUpstream(0), target: { socketPath: socket } } });
  const scopes = ["repository:a:pull,push,delete"];
  const writes = () => [
    call("/v2/a/blobs/uploads/", { method: "POST", scopes }),
    call("/v2/a/manifests/1", { method: "PUT", scopes, body: "{}" }),
    call(`/v2/a/manifests/sha256:${"0".repeat(64)}`, { method: "DELETE", scopes }),
  ];
  await registry.whileReadOnly(async () => {
    for (const answer of await Promise.all(writes())) {
      t.match({ status: answer.status, after: answer.headers.get("retry-after") }, { status: 503, after: "60" });
      t.match(await answer.json(), { errors: [{ code: "UNAVAILABLE", message: /Garbage is being collected/ }] });
    }
    t.equal((await call("/v2/a/tags/list")).status, 404);
  });
  t.same(
    (await Promise.all(writes())).map(({ status }) => status),
    [202, 400, 404],
  );
});

t.test("that garbage is collected already is for who asks a second time to know, and no failure of ours", async (t) => {
  const { registry, folder, socket, logged } = await open(t);
  const { log } = lines(logged);
  const at = join(folder, "admin.sock");
  const maintenance = await openMaintenance({ socket: at, registry, registrySocket: socket, clock: systemClock(), log });
  t.teardown(() => maintenance.close());
  await registry.whileReadOnly(() => t.rejects(requestCollection(at, systemClock()), { code: "REGISTRY_BUSY" }));
  t.same(await requestCollection(at, systemClock()), { blobs: [], bytes: 0 });
  t.notOk(logged.some(({ level }) => level === "error"));
});

t.test("where it cannot take pushes again after a collection, that is tried until it can", async (t) => {
  const { registry, socket, logged } = await open(t);
  // Nothing can listen where a folder is.
  const inTheWay = `${socket}.writable`;
  const collected = registry.whileReadOnly(async () => mkdirSync(inTheWay));
  await eventually("the failure", async () => logged.find(({ level, fields }) => level === "error" && fields["retryInMs"] !== undefined));
  t.equal(await ask(socket, "/v2/"), 200);
  rmdirSync(inTheWay);
  await collected;
  t.equal(await ask(socket, "/v2/a/blobs/uploads/", "POST"), 202);
});

t.test("one that cannot take pushes again ends on request all the same", async (t) => {
  const { registry, socket, logged, folder } = await open(t);
  const collected = registry.whileReadOnly(async () => mkdirSync(`${socket}.writable`));
  const refused = t.rejects(collected, { code: "REGISTRY_FAILED" });
  await eventually("the failure", async () => logged.find(({ level, fields }) => level === "error" && fields["retryInMs"] !== undefined));
  const last = (JSON.parse(readFileSync(join(folder, "registry/readonly.pid"), "utf8")) as { pid: number }).pid;
  await registry.close();
  await refused;
  t.throws(() => process.kill(last, 0));
});

t.test("its lines come in our log at their level, and what clients get wrong is no error", async (t) => {
  const { socket, logged } = await open(t);
  t.equal(await ask(socket, "/v2/a/manifests/none"), 404);
  await eventually("the line", async () => logged.find(({ fields }) => fields["err.code"] === "manifest unknown"));
  t.equal(logged.find(({ fields }) => fields["err.code"] === "manifest unknown")?.level, "debug");
  t.same(
    logged.filter(({ level }) => level === "error"),
    [],
  );
  t.ok(logged.some(({ level, sentence }) => level === "info" && sentence.startsWith("listening on")));
});

t.test("a second berth is kept off the same images; what a killed one left behind is ended", async (t) => {
  const folder = tempFolder(t);
  const { registry, pid } = await open(t, folder);
  await t.rejects(open(t, folder), { code: "DATA_FOLDER_IN_USE" });
  t.ok(pid() > 0, "the first one still runs");
  await registry.close();

  // As a killed berth leaves it: a process, and the file that says which.
  const left = spawn("sleep", ["60"], { stdio: "ignore" });
  t.teardown(() => left.kill("SIGKILL"));
  const ended = new Promise((resolve) => left.once("exit", (_code, signal) => resolve(signal)));
  const stat = readFileSync(`/proc/${left.pid}/stat`, "utf8");
  const began = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  writeFileSync(join(folder, "registry/garbage.pid"), JSON.stringify({ pid: left.pid, began }));
  await open(t, folder);
  t.equal(await ended, "SIGKILL");
});

t.test("a process that only got the id of one that was left behind is none of our business", async (t) => {
  const folder = tempFolder(t);
  const { registry } = await open(t, folder);
  await registry.close();
  writeFileSync(join(folder, "registry/writable.pid"), JSON.stringify({ pid: process.pid, began: "1" }));
  t.equal(await answers((await open(t, folder)).socket), true);
});

t.test("once closed, nothing of it runs and nothing listens", async (t) => {
  const { registry, socket, pid } = await open(t);
  const last = pid();
  await registry.close();
  t.notOk(existsSync(socket));
  t.throws(() => process.kill(last, 0));
});

t.test("berth registry takes over the volume of a grok_registry if there is one, unless a setting names another", async (t) => {
  const folder = tempFolder(t);
  const read = (env: Record<string, string>) => readSettings({ env: { BERTH_DATA: join(folder, "data"), ...env }, file: undefined }).settings;
  const storage = (env: Record<string, string>, volume: string) => storageName(registryPlace(read(env), volume).storage);
  const own = join(folder, "data/registry/images");
  t.equal(storage({}, folder), folder);
  t.equal(storage({}, join(folder, "none")), own);
  t.equal(storage({ BERTH_REGISTRY: "embedded" }, folder), own);
  t.equal(storage({ BERTH_REGISTRY_FOLDER: "/elsewhere" }, folder), "/elsewhere");
});

t.test("version 3 is preferred wherever it is on the PATH, and other programs of that name are passed over", async (t) => {
  const folder = t.testdir({ one: { registry: "#!/bin/sh\necho a registry of companies" }, two: {}, three: {} });
  const program = (at: string, says: string) => {
    writeFileSync(join(folder, at), `#!/bin/sh\necho ${says}\n`);
    chmodSync(join(folder, at), 0o755);
  };
  chmodSync(join(folder, "one/registry"), 0o755);
  const folders = ["one", "two", "three"].map((name) => join(folder, name)).join(":");
  await t.rejects(findDistribution(folders), { code: "REGISTRY_PROGRAM_MISSING" });
  program("two/docker-registry", "docker-registry github.com/docker/distribution 2.8.3+ds1");
  t.match(await findDistribution(folders), { version: "2.8.3+ds1", lacks: ["referrers", "sha512 digests"] });
  program("three/registry", "registry github.com/distribution/distribution/v3 v3.0.0");
  t.match(await findDistribution(folders), { program: join(folder, "three/registry"), version: "3.0.0", lacks: { length: 0 } });
});
