import { Client } from "pg";
import t from "tap";
import { openStore } from "../../../../control/store/open-store.ts";
import { systemClock } from "../../../../lib/clock.ts";
import { eventually } from "../../../fixtures/eventually.ts";
import { startPostgres } from "../../../fixtures/postgres.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";

t.test("a list that PostgreSQL takes long for delays no write, and no read that begins meanwhile", async (t) => {
  const server = await startPostgres(t);
  const postgres = await server.database();
  const store = await openStore({ folder: tempFolder(t), clock: systemClock(), postgres });
  t.teardown(() => store.close());
  const other = new Client({ connectionString: postgres.url });
  await other.connect();
  t.teardown(() => other.end());
  await other.query("BEGIN; LOCK TABLE containers, audit IN ACCESS EXCLUSIVE MODE");

  const lists = Promise.all([
    store.containers.ids({ where: [] }),
    store.containers.count({ where: [] }),
    store.containers.some(["one"]),
    store.audit.list({ limit: 10 }),
  ]);
  await eventually("the lists wait in the database", async () => {
    const [row] = await server.query("SELECT count(*)::int AS waiting FROM pg_locks WHERE NOT granted", postgres.url);
    return row?.["waiting"] === 4;
  });
  await store.users.insert({ id: "ada", login: "ada", friendlyName: "Ada", admin: false, createdOn: 1 });
  t.match(await store.users.find("ada"), { login: "ada" });
  await other.query("ROLLBACK");
  t.strictSame(await lists, [[], 0, [], []]);
});
