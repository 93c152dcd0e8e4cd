import { readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { openStore } from "../../../../control/store/open-store.ts";
import type { PostgresOptions } from "../../../../control/store/postgres/address.ts";
import { systemClock } from "../../../../lib/clock.ts";
import { openControlCluster } from "../../../fixtures/control-cluster.ts";
import { eventually } from "../../../fixtures/eventually.ts";
import { startPgbouncer } from "../../../fixtures/pgbouncer.ts";
import { startPostgres } from "../../../fixtures/postgres.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";
import { packageOf } from "../../../program/rights/fixtures/stand.ts";

const server = await startPostgres(t, ["log_statement=all"]);
/** As many connections as docs/store.md asks for: each transaction gets another one. */
const pooler = await startPgbouncer(t, server, 20);
const clock = systemClock();
const user = (login: string) => ({ id: login, login, friendlyName: login, admin: false, createdOn: 1 });

async function opened(t: Test, postgres: PostgresOptions) {
  const store = await openStore({ folder: tempFolder(t), clock, postgres });
  t.teardown(() => store.close());
  return store;
}

const serverLog = () => readFileSync(join(server.folder, "log"), "utf8");
const prepared = () => serverLog().match(/execute berth_\d+: /g)?.length ?? 0;

t.test("several stores share the connections of a pooler, and none prepares a statement there", async (t) => {
  const { url, connections } = await server.database();
  const direct = await opened(t, { url, connections });
  const stores = await Promise.all([1, 2, 3].map(() => opened(t, { url: pooler.through(url), connections })));
  const before = prepared();
  const work = (store: typeof direct, name: string) =>
    Promise.all(
      Array.from({ length: 15 }, async (_, at) => {
        await store.transaction(async () => {
          const count = (await store.users.all()).length;
          await store.users.insert(user(`${name}-${at}-${count}`));
        });
        await store.users.all();
        await store.users.find(`${name}-${at}`);
      }),
    );
  await Promise.all(stores.map((store, index) => work(store, String(index))));
  t.equal((await direct.users.all()).length, 45);
  const counts = (await direct.users.all()).map(({ id }) => Number(id.split("-")[2])).toSorted((a, b) => a - b);
  t.strictSame(
    counts,
    Array.from({ length: 45 }, (_, at) => at),
    "none has read what another one changed meanwhile",
  );
  t.equal(prepared(), before, "behind the pooler nothing is prepared");
  await work(direct, "direct");
  t.ok(prepared() > before, "on connections of its own it is");
});

t.test("control processes elect a leader through it, and serve", async (t) => {
  const { url, connections } = await server.database();
  const postgres = { url: pooler.through(url), connections };
  const env = { BERTH_LEASE_SECONDS: "3" };
  const listening = () => serverLog().match(/statement: LISTEN/g)?.length ?? 0;
  const cluster = await openControlCluster(t, { folder: tempFolder(t), postgres, controls: 2, gateways: 1, env });
  const [client] = cluster.gateways;
  if (!client) throw new Error("no gateway");
  t.equal((await client.publish("app", packageOf("app", ["one", "two"]))).status, 200);
  const square = async (name: string) => {
    const { id } = await eventually(name, async () => {
      const entity = await client.container(name);
      return entity.dockerfile.status === "ready" ? entity : undefined;
    });
    return (await client.call(`/docker/containers/proxy/${id}/square?number=4`)).status;
  };
  t.equal(await square("app-one"), 200);
  const leader = await cluster.leader();
  await eventually("a standby", async () => (await Promise.all(cluster.controls.map((one) => one.readiness()))).includes(503));
  await leader.stop("SIGTERM");
  t.equal(await square("app-two"), 200, "the standby leads: a timer finds the released lease");
  t.not(await cluster.leader(), leader);
  t.equal(listening(), 0, "no connection of the pooler listens for a client that has it no more");
});
