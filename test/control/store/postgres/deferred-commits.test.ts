import t, { type Test } from "tap";
import { openStore, type Store } from "../../../../control/store/open-store.ts";
import { systemClock } from "../../../../lib/clock.ts";
import { eventually } from "../../../fixtures/eventually.ts";
import { startPgbouncer } from "../../../fixtures/pgbouncer.ts";
import { type PostgresServer, startPostgres, WRITES_LATE } from "../../../fixtures/postgres.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";

const user = (login: string) => ({ id: login, login, friendlyName: login, admin: false, createdOn: 1 });

async function openedStore(t: Test, server: PostgresServer): Promise<Store> {
  const store = await openStore({ folder: tempFolder(t), clock: systemClock(), postgres: await server.database() });
  t.teardown(() => store.close());
  // A connection is used for deferred commits once it is known that no pooler is in between.
  await store.users.insert(user("first"));
  return store;
}

/** Kills the server, and returns which users it has when it is back. */
async function afterCrash(server: PostgresServer, store: Store): Promise<string[]> {
  await server.stop("SIGKILL");
  await server.start();
  return (await store.users.all()).map(({ login }) => login).toSorted();
}

t.test("a crash of the server undoes what was deferred, and nothing that was acknowledged as durable", async (t) => {
  const server = await startPostgres(t, WRITES_LATE);
  const store = await openedStore(t, server);
  const add = (login: string) => store.users.insert(user(login));
  const defer = (login: string) => store.transaction(async () => void (await add(login)), { isDeferred: true });
  let interruptions = 0;
  store.watchInterruptions(() => interruptions++);

  await defer("deferred");
  t.ok(await store.users.find("deferred"), "it is committed");
  t.equal(interruptions, 0);
  t.strictSame(await afterCrash(server, store), ["first"]);
  await eventually("the store reports that it was interrupted", () => interruptions > 0);

  await defer("before-durable");
  await add("durable");
  t.strictSame(await afterCrash(server, store), ["before-durable", "durable", "first"], "a durable commit takes the earlier ones with it");

  await store.transaction(
    async () => {
      await add("required");
      store.requireDurable();
    },
    { isDeferred: true },
  );
  t.strictSame(await afterCrash(server, store), ["before-durable", "durable", "first", "required"]);

  await defer("seen");
  await store.revision();
  t.strictSame(await afterCrash(server, store), ["before-durable", "durable", "first", "required", "seen"], "a gateway may have seen the revision");

  // The first one has the lock: the others wait, and are committed with it.
  await Promise.all([defer("group-a"), add("group-b"), defer("group-c")]);
  t.strictSame(
    await afterCrash(server, store),
    ["before-durable", "durable", "first", "group-a", "group-b", "group-c", "required", "seen"],
    "a group is durable if one of it must be",
  );
});

t.test("behind a pooler, which hides a crash of the server, nothing is deferred", async (t) => {
  const server = await startPostgres(t, WRITES_LATE);
  const { url, connections } = await server.database();
  const pooler = await startPgbouncer(t, server, 20);
  const store = await openStore({ folder: tempFolder(t), clock: systemClock(), postgres: { url: pooler.through(url), connections } });
  t.teardown(() => store.close());
  await store.users.insert(user("first"));
  await store.transaction(async () => void (await store.users.insert(user("deferred"))), { isDeferred: true });
  await server.stop("SIGKILL");
  await server.start();
  t.strictSame(await server.query("SELECT login FROM users ORDER BY login", url), [{ login: "deferred" }, { login: "first" }]);
});
