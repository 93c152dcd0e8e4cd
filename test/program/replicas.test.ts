import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { typeBerth } from "../cli/fixtures/type-berth.ts";
import { ADMIN_KEY } from "../fixtures/berth.ts";
import { eventually } from "../fixtures/eventually.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { openStand } from "./contract/stand.ts";

/** Takes a while for each request, and says which process served it, and what cookies it got. */
const SLOW = `require("node:http").createServer((request, response) => {
  const ms = Number(new URL(request.url, "http://x").searchParams.get("ms") ?? 20);
  setTimeout(() => response.end(JSON.stringify({ pid: process.pid, cookie: request.headers.cookie ?? "" })), ms);
}).listen(Number(process.env.PORT), "127.0.0.1");`;

function appFiles(container: object): Record<string, string> {
  return {
    "dockerfiles/model/Dockerfile": 'FROM node\nEXPOSE 8080\nCMD ["node", "server.cjs"]\n',
    "dockerfiles/model/server.cjs": SLOW,
    "dockerfiles/model/container.json": JSON.stringify(container),
  };
}

type Reply = { pid: number; cookie: string };

t.test("replicas come with the load and go after it, and no request fails", async (t) => {
  const stand = await openStand(t);
  await stand.published("app", appFiles({ on_demand: true, replicas: { max: 3, target_concurrency: 4, window_seconds: 6 } }));
  const { id } = await stand.container("app-model");
  const { token } = await stand.person("ada");
  const get = async (ms: number): Promise<Reply> => {
    const response = await fetch(`${stand.api}/docker/containers/proxy/${id}/?ms=${ms}`, { headers: { authorization: token } });
    statuses.add(response.status);
    return (await response.json()) as Reply;
  };
  const statuses = new Set<number>();
  const first = await get(0);
  const pids = new Set<number>();
  const stop = new AbortController();
  const clients = Array.from({ length: 12 }, async () => {
    while (!stop.signal.aborted) pids.add((await get(50)).pid);
  });
  await eventually("three replicas to serve", () => pids.size === 3);
  // Where the clients get too little of the processor, fewer replicas are wanted for a while.
  const replicas = await eventually("three replicas to be reported", async () => {
    const report = await stand.json<{ replicas: { ready: number; wanted: number } }>(`/docker/containers/${id}`);
    return report.replicas.ready === 3 && report.replicas.wanted === 3 ? report.replicas : undefined;
  });
  t.match(replicas, { max: 3 });
  stop.abort();
  await Promise.all(clients);
  const served = async () => (await stand.json<{ replicas: { ready: number } }>(`/docker/containers/${id}`)).replicas.ready;
  await eventually("one to be left", async () => {
    await get(20);
    return (await served()) === 1;
  });
  t.equal((await get(0)).pid, first.pid, "the first one is left");
  t.same([...statuses], [200]);
});

t.test("a browser reaches the same replica again, and the container never sees berth's cookie", async (t) => {
  const stand = await openStand(t);
  await stand.published("app", appFiles({ on_demand: true, replicas: { min: 3, max: 3, affinity: "cookie" } }));
  const { id } = await stand.container("app-model");
  const { token } = await stand.person("ada");
  const get = async (cookie?: string) => {
    const headers = { authorization: token, ...(cookie === undefined ? {} : { cookie }) };
    const response = await fetch(`${stand.api}/docker/containers/proxy/${id}/`, { headers });
    t.equal(response.status, 200);
    return { ...((await response.json()) as Reply), set: response.headers.getSetCookie() };
  };
  const pids = new Map<number, string>();
  await eventually("three replicas to serve", async () => {
    const { pid, set } = await get();
    pids.set(pid, set[0] ?? "");
    return pids.size === 3;
  });
  for (const [pid, line] of pids) {
    t.match(line, /^berth-replica-[\da-f]{8}=[123]; Path=\/; HttpOnly; SameSite=Lax$/);
    const [cookie = ""] = line.split(";", 1);
    for (let time = 0; time < 4; time++) t.match(await get(`own=1; ${cookie}`), { pid, cookie: "own=1", set: { length: 0 } });
  }
  const gone = await get("berth-replica-00000000=2; other=2");
  t.equal(gone.cookie, "other=2");
  const other = await get(`${[...pids.values()][0]?.split("=", 1)[0]}=9`);
  t.equal(other.set.length, 1, "a cookie of a replica that is not there is replaced");
});

t.test("a newer version replaces replicas one after another, and every request is answered", async (t) => {
  const stand = await openStand(t);
  const files = (version: string) => ({
    ...appFiles({ replicas: { min: 2, max: 2 } }),
    "dockerfiles/model/server.cjs": `// ${version}\n${SLOW.replace("pid: process.pid", `version: "${version}", pid: process.pid`)}`,
  });
  await stand.published("app", files("1"));
  const { id } = await stand.container("app-model");
  await stand.call(`/docker/containers/${id}/run?awaitStart=true`);
  const ready = async () => (await stand.json<{ replicas: { ready: number } }>(`/docker/containers/${id}`)).replicas.ready;
  await eventually("both to serve", async () => (await ready()) === 2);
  const statuses = new Set<number>();
  const versions: string[] = [];
  const stop = new AbortController();
  const clients = Array.from({ length: 4 }, async () => {
    while (!stop.signal.aborted) {
      const response = await fetch(`${stand.api}/docker/containers/proxy/${id}/?ms=100`, { headers: { authorization: stand.token } });
      statuses.add(response.status);
      versions.push(((await response.json()) as { version: string }).version);
    }
  });
  await stand.published("app", files("2"));
  await eventually("only the newer version to answer", () => versions.length > 50 && versions.slice(-50).every((version) => version === "2"));
  await eventually("both to serve", async () => (await ready()) === 2);
  stop.abort();
  await Promise.all(clients);
  t.same([...statuses], [200]);
});

t.test("berth stop and berth wait return when all replicas have stopped, and logs show a single one", async (t) => {
  const stand = await openStand(t);
  const files = appFiles({ replicas: { min: 3, max: 3 }, shutdown_grace_seconds: 100 });
  const held = tempFolder(t);
  // Half a second after SIGTERM, but not while there is a file of its number.
  const isHeld = `require("node:fs").existsSync(${JSON.stringify(held)} + "/" + process.pid)`;
  const ends = `process.on("SIGTERM", () => setInterval(() => ${isHeld} || process.exit(0), 500));`;
  files["dockerfiles/model/server.cjs"] = `console.log("process " + process.pid + " began");\n${ends}\n${SLOW}`;
  await stand.published("app", files);
  const { id } = await stand.container("app-model");
  const env = { PATH: process.env["PATH"] ?? "", HOME: stand.data, BERTH_DATA: join(stand.data, "berth-data"), BERTH_ADMIN_KEY: ADMIN_KEY };
  const type = (...args: string[]) => typeBerth(args, { env });
  t.match(await type("run", "app-model"), { code: 0 });
  type Each = { replica: number; status: string }[];
  const each = async () => (await stand.json<{ replicas: { each: Each } }>(`/docker/containers/${id}`)).replicas.each;
  await eventually("all to be started", async () => (await each()).filter(({ status }) => status === "started").length === 3);
  const logs = new Set<string>();
  const pids: string[] = [];
  for (const replica of ["1", "2", "3"]) {
    const { stdout } = await type("logs", "app-model", "--replica", replica);
    t.match(stdout, /^process \d+ began\n$/);
    logs.add(stdout);
    pids.push(/^process (\d+) began/.exec(stdout)?.[1] ?? "");
  }
  t.equal(logs.size, 3, "each replica has lines of its own");
  t.match(await type("logs", "app-model", "--replica", "7"), { code: 1, stderr: /app-model has no replica 7\. It has 1, 2, 3\./ });
  t.match(await type("logs", "app-model", "--replica", "two"), { code: 2, stderr: /--replica takes the number of a replica/ });
  for (const pid of pids.slice(1)) writeFileSync(join(held, pid), "");
  t.match(await type("stop", "app-model", "--no-wait"), { code: 0 });
  await eventually("replica 1 to be stopped", async () => (await each())[0]?.status === "stopped by user");
  t.match(await type("wait", "app-model", "--for", "stopped", "--timeout", "1s"), {
    code: 1,
    stderr: /app-model is not stopped after 1s: its status is stopped by user, replicas 2, 3 still stop/,
  });
  for (const pid of pids.slice(1)) rmSync(join(held, pid));
  t.match(await type("wait", "app-model", "--for", "stopped"), { code: 0, stdout: /app-model is stopped by user/ });
  t.ok((await each()).every(({ status }) => status === "stopped by user"));
  t.match(await type("run", "app-model"), { code: 0 });
  await eventually("all to be started", async () => (await each()).filter(({ status }) => status === "started").length === 3);
  t.match(await type("stop", "app-model"), { code: 0, stdout: /app-model has stopped/ });
  t.same(
    (await each()).map(({ status }) => status),
    Array.from({ length: 3 }, () => "stopped by user"),
  );
  t.match(await type("run", "app-model"), { code: 0 });
  await eventually("all to be started", async () => (await each()).filter(({ status }) => status === "started").length === 3);
  const stopped = await stand.call(`/docker/containers/${id}/stop?awaitStop=true`);
  t.equal(stopped.status, 200);
  t.ok((await each()).every(({ status }) => status === "stopped by user"));
});
