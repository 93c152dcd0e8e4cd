import { Client } from "pg";
import t, { type Test } from "tap";
import { openStore } from "../../../../control/store/open-store.ts";
import { parsePostgresAddress } from "../../../../control/store/postgres/address.ts";
import { openPostgresPool } from "../../../../control/store/postgres/pool.ts";
import { migratePostgres } from "../../../../control/store/postgres/schema.ts";
import { SCHEMA_STEPS } from "../../../../control/store/schema.ts";
import { systemClock } from "../../../../lib/clock.ts";
import { createStillClock } from "../../../fixtures/clock.ts";
import { eventually } from "../../../fixtures/eventually.ts";
import { startPostgres } from "../../../fixtures/postgres.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";

const server = await startPostgres(t);

/** A store, some of whose tables another program has locked. `waiting`: statements that wait for the lock. */
async function openLocked(t: Test, tables: string) {
  const postgres = await server.database();
  const store = await openStore({ folder: tempFolder(t), clock: systemClock(), postgres });
  t.teardown(() => store.close());
  const other = new Client({ connectionString: postgres.url });
  await other.connect();
  t.teardown(() => other.end());
  await other.query(`BEGIN; LOCK TABLE ${tables} IN ACCESS EXCLUSIVE MODE`);
  const waiting = async () => {
    const [row] = await server.query("SELECT count(*)::int AS waiting FROM pg_locks WHERE NOT granted", postgres.url);
    return Number(row?.["waiting"]);
  };
  return { store, connections: postgres.connections, waiting, unlock: () => other.query("ROLLBACK") };
}

t.test("a list that PostgreSQL takes long for delays no write, and no read that begins meanwhile", async (t) => {
  const { store, connections, waiting, unlock } = await openLocked(t, "containers, audit");

  const lists = Promise.all([
    store.containers.ids({ where: [] }),
    store.containers.count({ where: [] }),
    store.containers.some(["one"]),
    store.audit.list({ limit: 10 }),
  ]);
  await eventually("as many lists as may, wait in the database", async () => (await waiting()) === connections - 2);
  await store.users.insert({ id: "ada", login: "ada", friendlyName: "Ada", admin: false, createdOn: 1 });
  t.match(await store.users.find("ada"), { login: "ada" });
  await unlock();
  t.strictSame(await lists, [[], 0, [], []]);
});

t.test("a read that waits for the lock of another program delays a write by a second, and is up to date", async (t) => {
  const { store, waiting, unlock } = await openLocked(t, "sessions");
  const read = store.sessions.ofContainers();
  await eventually("the read waits in the database", async () => (await waiting()) === 1);
  await store.users.insert({ id: "ada", login: "ada", friendlyName: "Ada", admin: false, createdOn: 1 });
  t.equal(await waiting(), 1, "the read waits still");
  await unlock();
  t.strictSame(await read, []);
});

t.test("lists that take long leave a connection to writes, and one to other reads", async (t) => {
  const { store, connections, waiting, unlock } = await openLocked(t, "audit");
  const lists = Promise.all(Array.from({ length: 3 * connections }, () => store.audit.list({ limit: 10 })));
  lists.catch(() => undefined);
  await eventually("lists wait in the database", async () => (await waiting()) >= connections - 2);
  await store.users.insert({ id: "ada", login: "ada", friendlyName: "Ada", admin: false, createdOn: 1 });
  t.match(await store.users.find("ada"), { login: "ada" });
  await unlock();
  t.equal((await lists).length, 3 * connections);
});

t.test("a statement that takes too long fails, and its process at the server ends with it", async (t) => {
  const postgres = await server.database();
  const pool = await openPostgresPool(parsePostgresAddress(postgres), { connections: 2, clock: systemClock(), statementMs: 300 });
  t.teardown(() => pool.close());
  await pool.query({ sql: "SELECT 1", parameters: [] });
  await t.rejects(pool.query({ sql: "SELECT pg_sleep(600)", parameters: [] }), { code: "STORE_UNAVAILABLE", message: /57014/ });
  t.strictSame(
    await server.query("SELECT count(*)::int AS left FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()"),
    [{ left: 0 }],
  );
});

t.test("a statement that fails on each connection is not repeated for ever", async (t) => {
  const still = createStillClock();
  const pool = await openPostgresPool(parsePostgresAddress(await server.database()), { connections: 2, clock: still });
  t.teardown(() => pool.close());
  let attempts = 0;
  let outcome: unknown;
  // As a table whose file cannot be read.
  const work = async () => {
    attempts++;
    throw Object.assign(new Error("could not read block 1"), { code: "58030" });
  };
  pool.use(work).catch((error: unknown) => (outcome = error));
  await eventually("it gives up", async () => {
    await still.advance(100);
    return outcome !== undefined;
  });
  t.match(outcome, { code: "STORE_UNAVAILABLE", message: /58030/ });
  t.ok(attempts > 1, "a moment's failure is outlasted");
});

t.test("a step of the schema may take longer than another statement", async (t) => {
  const postgres = await server.database();
  const pool = await openPostgresPool(parsePostgresAddress(postgres), { connections: 2, clock: systemClock(), statementMs: 300 });
  t.teardown(() => pool.close());
  await migratePostgres(pool, [...SCHEMA_STEPS, "SELECT pg_sleep(1.5)"]);
  t.match(await server.query("SELECT steps::int FROM schema_version", postgres.url), [{ steps: SCHEMA_STEPS.length + 1 }]);
});

t.test("a database of another encoding is refused before a name fails in it", async (t) => {
  await server.query("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
  const postgres = { url: `postgres://postgres@127.0.0.1:${server.port}/latin`, connections: 2 };
  await t.rejects(openStore({ folder: tempFolder(t), clock: systemClock(), postgres }), { code: "SETTINGS_INVALID", message: /LATIN1/ });
});
