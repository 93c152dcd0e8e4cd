import t from "tap";
import type { PoolClient } from "pg";
import { openStore } from "../../../../control/store/open-store.ts";
import { parsePostgresAddress } from "../../../../control/store/postgres/address.ts";
import { openPostgresPool, type PostgresPool } from "../../../../control/store/postgres/pool.ts";
import { systemClock } from "../../../../lib/clock.ts";
import { startPostgres } from "../../../fixtures/postgres.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";

const server = await startPostgres(t);
const clock = systemClock();
const user = (login: string) => ({ id: login, login, friendlyName: login, admin: false, createdOn: 1 });

async function openedPool(t: { teardown(end: () => unknown): void }): Promise<PostgresPool> {
  const pool = await openPostgresPool(parsePostgresAddress(await server.database()), { connections: 2, clock });
  t.teardown(() => pool.close());
  return pool;
}

/** Statements of one turn, with their results or errors, and how many messages the server was sent for them. */
async function inOneTurn(pool: PostgresPool, client: PoolClient, statements: readonly (string | [sql: string, ...parameters: unknown[]])[]) {
  const { connection } = client;
  const write = connection.stream.write.bind(connection.stream);
  let syncs = 0;
  connection.stream.write = ((piece: Buffer) => {
    // "S": what pg sends before it awaits a response.
    if (piece[0] === 0x53) syncs++;
    return write(piece);
  }) as typeof write;
  const run = (one: (typeof statements)[number]) => {
    const [sql, ...parameters] = typeof one === "string" ? [one] : one;
    return pool.queryOn(client, { sql, parameters });
  };
  const settled = await Promise.allSettled(statements.map(run));
  connection.stream.write = write;
  return { syncs, results: settled.map((one) => (one.status === "fulfilled" ? one.value : (one.reason as Error).message)) };
}

t.test("the statements of one turn are one message, and each has its result", async (t) => {
  const pool = await openedPool(t);
  await pool.use(async (client) => {
    const bytes = Buffer.from([0, 255, 39]);
    // Three times: from then on they are prepared; and then they are not described again.
    for (const _ of [1, 2, 3, 4, 5]) {
      const { syncs, results } = await inOneTurn(pool, client, [
        "BEGIN",
        "CREATE TEMPORARY TABLE one (name text, size bigint, bytes bytea, rate float8, is_kept boolean) ON COMMIT DROP",
        ["INSERT INTO one VALUES ($1, $2, $3, $4, $5), ('b', 2, NULL, NULL, false)", "a\0", 2 ** 40, bytes, 0.5, true],
        "SELECT * FROM one ORDER BY size DESC",
        ["UPDATE one SET size = 3 WHERE name = $1", "missing"],
        "SELECT name FROM one WHERE size = 1",
        "",
        "COMMIT",
      ]);
      t.equal(syncs, 1);
      const [, , inserted, rows, updated, none, , committed] = results;
      t.match(inserted, { command: "INSERT", rowCount: 2 });
      t.strictSame(rows, {
        command: "SELECT",
        rowCount: 2,
        rows: [
          { name: "a\u{FFFD}", size: 2 ** 40, bytes, rate: 0.5, is_kept: true },
          { name: "b", size: 2, bytes: null, rate: null, is_kept: false },
        ],
      });
      t.match(updated, { command: "UPDATE", rowCount: 0 });
      t.strictSame(none, { command: "SELECT", rowCount: 0, rows: [] });
      t.match(committed, { command: "COMMIT" });
    }
  });
});

t.test("where one fails, those after it are not run, and the connection can be used", async (t) => {
  const pool = await openedPool(t);
  await pool.use(async (client) => {
    for (const _ of [1, 2, 3, 4, 5]) {
      const failing = await inOneTurn(pool, client, ["BEGIN", "SELECT 1 AS one", "SELECT 1 / 0", "SELECT 2 AS two", "COMMIT"]);
      t.match(failing.results[1], { rows: [{ one: 1 }] });
      t.strictSame(failing.results.slice(2), ["division by zero", "division by zero", "division by zero"]);
      t.match((await inOneTurn(pool, client, ["SELECT 2 AS two"])).results, [/current transaction is aborted/], "it was not committed");
      t.match((await inOneTurn(pool, client, ["ROLLBACK", "SELECT 2 AS two"])).results[1], { rows: [{ two: 2 }] });
    }
  });
});

t.test("a write of which no result is awaited fails the commit of its turn, and the store goes on", async (t) => {
  const store = await openStore({ folder: tempFolder(t), clock, postgres: { ...(await server.database()), connections: 2 } });
  t.teardown(() => store.close());
  const session = { expiresOn: 1, keyDigest: undefined, parent: undefined, derivedDigest: undefined, containerId: undefined, start: undefined };
  // More often than there are connections.
  for (let n = 0; n < 5; n++) {
    const failing = store.transaction(async () => {
      await store.users.insert(user(`user-${n}`));
      await store.sessions.insert({ ...session, digest: `${n}`, userId: "missing" });
    });
    await t.rejects(failing, /foreign key/);
  }
  t.strictSame(await store.users.all(), []);
  await store.users.insert(user("last"));
  t.equal((await store.users.all()).length, 1);
});
