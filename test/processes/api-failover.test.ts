import { readFileSync } from "node:fs";
import { request } from "node:http";
import { text } from "node:stream/consumers";
import { setTimeout as pause } from "node:timers/promises";
import { Client } from "pg";
import t from "tap";
import { FAILS_OVER_HEADER, GATEWAY_TOKEN_HEADER } from "../../gateway/contract.ts";
import { openControlCluster } from "../fixtures/control-cluster.ts";
import { eventually } from "../fixtures/eventually.ts";
import { startPostgres } from "../fixtures/postgres.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

/** Two control processes and a gateway with real PostgreSQL: what becomes of calls that the leader has when it ends. */
t.setTimeout(180_000);

/** Between two requests of one client: enough of them to meet each moment, without the whole of a processor that other tests share. */
const PAUSE_MS = 10;

const server = await startPostgres(t);
const postgres = await server.database();
const cluster = await openControlCluster(t, { folder: tempFolder(t), postgres, controls: 2, gateways: 1 });
const [client] = cluster.gateways;
if (!client) throw new Error("no gateway");

const UNCLEAR = /was lost before it responded: it may have carried out the request/;
const PADDING = "x".repeat(3_000);

/** How many connections to a port of this machine have bytes of a padded request that its process has not read. */
function unreadAt(port: number): number {
  const local = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const lines = readFileSync("/proc/net/tcp", "utf8").split("\n");
  return lines.filter((line) => {
    const [, address = "", , state, queues = ""] = line.trim().split(/\s+/);
    return address.endsWith(local) && state === "01" && Number.parseInt(queues.split(":")[1] ?? "0", 16) >= PADDING.length;
  }).length;
}

const call = async (path: string, init: RequestInit = {}) => {
  const response = await client.call(path, {
    ...init,
    headers: { ...(init.body ? { "content-type": "application/json" } : {}), "x-padding": PADDING },
  });
  return { status: response.status, body: await response.text() };
};
const createUser = (login: string) => call("/users", { method: "POST", body: JSON.stringify({ login }) });

/** A request whose body does not end. */
function beginUpload(path: string): Promise<{ status: number | undefined; body: string }> {
  const headers = { authorization: client?.token, "content-type": "application/json", "content-length": 1_000_000, "x-padding": PADDING };
  const sent = request(`${client?.base}/api${path}`, { method: "POST", headers });
  sent.write(PADDING);
  return new Promise((resolve, reject) => {
    sent.once("error", reject);
    sent.once("response", (response) => {
      text(response)
        .then((body) => resolve({ status: response.statusCode, body }), reject)
        .finally(() => sent.destroy());
    });
  });
}

t.test("after kill -9 of the leader, a call that changes nothing is sent to the next one, and another call fails with the reason", async (t) => {
  const leader = await cluster.leader();
  // Connections that were used before may be repeated for another reason.
  await eventually("the API", async () => (await call("/users/current")).status === 200);
  leader.signal("SIGSTOP");
  const reads = [call("/users/current"), call("/users/current"), call("/docker/containers")];
  const removed = call("/users/missing", { method: "DELETE" });
  const created = createUser("mary");
  await eventually("the leader to have all", () => unreadAt(Number(new URL(leader.url).port)) === 5);
  await leader.stop("SIGKILL");
  leader.start();
  for (const read of reads) t.match(await read, { status: 200 });
  t.match(await removed, { status: 404 }, "repeating a deletion changes nothing");
  t.match(await created, { status: 503, body: UNCLEAR });
  t.match(await createUser("mary"), { status: 200 }, "it had not been carried out");
});

t.test("a call that changes nothing outlives two leaders", async (t) => {
  const lock = new Client(postgres.url);
  await lock.connect();
  t.teardown(() => lock.end());
  await cluster.leader();
  await lock.query("BEGIN; LOCK TABLE audit IN ACCESS EXCLUSIVE MODE");
  // A session of a leader that ended still waits. On a busy machine another one may lead in between, whose read waits as well.
  const ended: unknown[] = [];
  const waiting = async () => {
    const rows = await server.query("SELECT DISTINCT pid FROM pg_locks WHERE NOT granted AND relation = 'audit'::regclass", postgres.url);
    return rows.map(({ pid }) => pid).filter((pid) => !ended.includes(pid));
  };
  const read = call("/admin/audit");
  for (const name of ["first", "second"]) {
    await eventually(`the ${name} leader to read`, async () => (await waiting()).length > 0);
    const leader = await cluster.leader();
    ended.push(...(await waiting()));
    await leader.stop("SIGKILL");
    leader.start();
  }
  await eventually("the third leader to read", async () => (await waiting()).length > 0);
  await lock.query("COMMIT");
  t.match(await read, { status: 200 });
});

t.test("a standby lets go of a call that its gateway sends to the leader, and refuses every other one with the reason", async (t) => {
  await cluster.leader();
  const standby = await eventually("a standby", async () => {
    const states = await Promise.all(cluster.controls.map((one) => one.readiness()));
    return cluster.controls[states.indexOf(503)];
  });
  const headers = { [GATEWAY_TOKEN_HEADER]: `api ${cluster.token}`, [FAILS_OVER_HEADER]: "1" };
  const at = `${standby.url}/api/users/current`;
  await t.rejects(fetch(at, { headers }), { cause: { code: "UND_ERR_SOCKET" } });
  for (const other of [{ headers: { [GATEWAY_TOKEN_HEADER]: `api ${cluster.token}` } }, { method: "POST", body: "{}", headers }])
    t.match(await (await fetch(at, other)).json(), { code: "CONTROL_STANDBY" });
});

t.test("calls to a leader that stands still, or whose machine is lost, end as soon as another one leads", async (t) => {
  const leader = await cluster.leader();
  await eventually("a standby", async () => (await Promise.all(cluster.controls.map((one) => one.readiness()))).includes(503));
  leader.signal("SIGSTOP");
  const read = call("/users/current");
  const created = createUser("john");
  const upload = beginUpload("/users");
  await eventually("the leader to have all", () => unreadAt(Number(new URL(leader.url).port)) === 3);
  t.match(await read, { status: 200 });
  for (const refused of [created, upload]) t.match(await refused, { status: 503, body: UNCLEAR });
  t.match(await createUser("john"), { status: 200 }, "it had not been carried out");
  leader.signal("SIGCONT");
  await eventually("the deposed leader to be a standby", async () => (await leader.readiness()) === 503);
});

t.test("through a hand-over each call is answered, or fails with a reason", async (t) => {
  const leader = await cluster.leader();
  await eventually("a standby", async () => (await Promise.all(cluster.controls.map((one) => one.readiness()))).includes(503));
  const over = new AbortController();
  let users = 0;
  const reads: number[] = [];
  const writes: { status: number; body: string }[] = [];
  const loop = async (act: () => Promise<unknown>) => {
    while (!over.signal.aborted) {
      await act();
      await pause(PAUSE_MS);
    }
  };
  const loops = [
    ...[1, 2, 3].map(() => loop(async () => reads.push((await call("/users/current")).status))),
    ...[1, 2].map(() => loop(async () => writes.push(await createUser(`user-${users++}`)))),
  ];
  await eventually("calls", () => reads.length > 10 && writes.length > 5);
  await leader.stop("SIGTERM");
  leader.start();
  const [readsBefore, writesBefore] = [reads.length, writes.length];
  await eventually("calls to the next leader", () => reads.length > readsBefore + 10 && writes.length > writesBefore + 5);
  over.abort();
  await Promise.all(loops);
  t.same(new Set(reads), new Set([200]));
  const refused = writes.filter(({ status }) => status !== 200);
  t.comment(`${refused.length} of ${writes.length} writes refused`);
  for (const { status, body } of refused) {
    t.equal(status, 503);
    t.match(body, /leads|was lost before it responded/);
  }
});
