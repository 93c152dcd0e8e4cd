import { connect, createServer, type Socket } from "node:net";
import t, { type Test } from "tap";
import { openStore, type Store } from "../../../../control/store/open-store.ts";
import { systemClock } from "../../../../lib/clock.ts";
import { Fault } from "../../../../lib/fault.ts";
import { eventually } from "../../../fixtures/eventually.ts";
import { startPostgres, WRITES_LATE } from "../../../fixtures/postgres.ts";
import { startSynchronousStandby } from "../../../fixtures/postgres-standby.ts";
import { listen } from "../../../fixtures/server.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";

/** Writes until the returned function is called; it returns those that were acknowledged, and what the others failed with. */
function startWriting(store: Store, writers: number) {
  const acknowledged: string[] = [];
  const faults = new Set<string>();
  const over = new AbortController();
  const write = async (writer: number) => {
    for (let count = 0; !over.signal.aborted; count++) {
      const id = `${writer}-${count}`;
      try {
        await store.users.insert({ id, login: id, friendlyName: "", admin: false, createdOn: 1 });
        acknowledged.push(id);
      } catch (error) {
        faults.add(error instanceof Fault ? error.code : String(error));
        await new Promise(setImmediate);
      }
    }
  };
  const all = Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)));
  const end = async () => {
    over.abort();
    await all;
    return { acknowledged, faults: [...faults] };
  };
  return { acknowledged, end };
}

/** Ends the writing, and looks for what was acknowledged. */
async function checkWritten(t: Test, store: Store, writing: ReturnType<typeof startWriting>): Promise<void> {
  const { acknowledged, faults } = await writing.end();
  const stored = new Set((await store.users.all()).map(({ id }) => id));
  t.strictSame(
    acknowledged.filter((id) => !stored.has(id)),
    [],
    `${acknowledged.length} acknowledged writes are all there`,
  );
  t.strictSame(
    faults.filter((code) => code !== "STORE_UNAVAILABLE"),
    [],
    "the others failed with the reason",
  );
}

t.test("no acknowledged write is lost when PostgreSQL fails over to its synchronous standby, at the same address", async (t) => {
  const primary = await startPostgres(t);
  const { url, connections } = await primary.database();
  const standby = await startSynchronousStandby(t, primary);
  let port = primary.port;
  const sockets = new Set<Socket>();
  const address = createServer((client) => {
    const upstream = connect(port, "127.0.0.1");
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(one);
      one.on("error", () => undefined).on("close", () => other.destroy());
      one.pipe(other);
    }
  });
  t.teardown(() => sockets.forEach((socket) => socket.destroy()));
  const { port: moving } = await listen(t, address);
  const postgres = { url: url.replace(`:${primary.port}/`, `:${moving}/`), connections };
  const store = await openStore({ folder: tempFolder(t), clock: systemClock(), postgres });
  t.teardown(() => store.close());

  const writing = startWriting(store, 8);
  await eventually("writes on the primary", () => writing.acknowledged.length > 100);
  await primary.stop("SIGKILL");
  // Clients reach it before it takes writes.
  port = standby.port;
  await standby.promote();
  const before = writing.acknowledged.length;
  await eventually("writes on the standby", () => writing.acknowledged.length > before + 100);
  await checkWritten(t, store, writing);
});

t.test("no acknowledged write is lost when PostgreSQL is killed and starts again", async (t) => {
  const server = await startPostgres(t, ["fsync=on"], {}, { isOnDisk: true });
  const store = await openStore({ folder: tempFolder(t), clock: systemClock(), postgres: await server.database() });
  t.teardown(() => store.close());
  const writing = startWriting(store, 8);
  for (let kills = 0; kills < 3; kills++) {
    const before = writing.acknowledged.length;
    await eventually("writes", () => writing.acknowledged.length > before + 50);
    await server.stop("SIGKILL");
    await server.start();
  }
  const last = writing.acknowledged.length;
  await eventually("writes after the last start", () => writing.acknowledged.length > last + 50);
  await checkWritten(t, store, writing);
});

t.test("a commit that a crash of one process of the server undoes is not taken for another one's", async (t) => {
  const server = await startPostgres(t, WRITES_LATE);
  const postgres = await server.database();
  const store = await openStore({ folder: tempFolder(t), clock: systemClock(), postgres });
  t.teardown(() => store.close());
  const add = (login: string) => store.users.insert({ id: login, login, friendlyName: "", admin: false, createdOn: 1 });
  await add("first");
  let interruptions = 0;
  store.watchInterruptions(() => interruptions++);
  const number = async () => BigInt(String((await server.query("SELECT pg_current_xact_id()::text AS id", postgres.url))[0]?.["id"]));
  const lost = store.transaction(async () => {
    await add("lost");
    const [row] = await server.query("SELECT backend_xid::text AS id FROM pg_stat_activity WHERE backend_xid IS NOT NULL", postgres.url);
    const own = BigInt(String(row?.["id"]));
    const [writer] = await server.query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'background writer'");
    // The server ends all of its processes, and recovers without a new start.
    process.kill(Number(writer?.["pid"]), "SIGKILL");
    await eventually("the connection breaks", () => interruptions > 0);
    const next = await eventually("the server recovers", () => number().catch(() => undefined));
    t.ok(next <= own, `the server gives the number ${own} to another transaction`);
    for (let last = next; last < own;) last = await number();
  });
  await t.rejects(lost, { code: "STORE_UNAVAILABLE" }, "it is not acknowledged");
  t.equal(await store.users.find("lost"), undefined);
  await add("later");
  t.ok(await store.users.find("later"));
});
