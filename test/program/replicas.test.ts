import t from "tap";
import { eventually } from "../fixtures/eventually.ts";
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
  const { replicas } = await stand.json<{ replicas: object }>(`/docker/containers/${id}`);
  t.match(replicas, { ready: 3, wanted: 3, max: 3 });
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
    for (let time = 0; time < 4; time++) t.match(await get(`own=1; ${cookie}`), { pid, cookie: "own=1", set: [] });
  }
  const gone = await get("berth-replica-00000000=2; other=2");
  t.equal(gone.cookie, "other=2");
  const other = await get(`${[...pids.values()][0]?.split("=", 1)[0]}=9`);
  t.equal(other.set.length, 1, "a cookie of a replica that is not there is replaced");
});
