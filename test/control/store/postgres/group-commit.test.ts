import t, { type Test } from "tap";
import { openStore } from "../../../../control/store/open-store.ts";
import { createStillClock } from "../../../fixtures/clock.ts";
import { startPostgres } from "../../../fixtures/postgres.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";
import { newContainer, newImage, PACKAGE, USER } from "../../lifecycle/lifecycle-fixture.ts";

const server = await startPostgres(t, ["track_commit_timestamp=on"]);
const user = (login: string) => ({ id: login, login, friendlyName: login, admin: false, createdOn: 1 });

/** `waitFor`: transactions that begin before it is called wait for one that is open. */
async function openedStore(t: Test) {
  const postgres = await server.database();
  // It stands still: no group ends for its age.
  const store = await openStore({ folder: tempFolder(t), clock: createStillClock(), postgres });
  t.teardown(() => store.close());
  const { promise: gate, resolve: release } = Promise.withResolvers<void>();
  const isOpen = Promise.withResolvers<void>();
  const first = store.transaction(async () => {
    await store.users.insert(user("first"));
    isOpen.resolve();
    await gate;
  });
  await isOpen.promise;
  const commits = async () =>
    Object.fromEntries(
      (await server.query(`SELECT id, pg_xact_commit_timestamp(xmin)::text AS at FROM users`, postgres.url)).map(({ id, at }) => [id, at]),
    ) as Record<string, string>;
  return { postgres, store, first, release, commits };
}

/** A container whose `move` fails by a statement whose result it does not await. */
async function openedContainer(t: Test) {
  const { postgres, store, first, release } = await openedStore(t);
  release();
  await first;
  await store.users.insert({ ...user("ada"), id: USER });
  await store.packages.insert({ id: PACKAGE, name: "demo", version: "1.0.0", authorId: USER, createdOn: 1, updatedOn: 1 });
  const image = await store.images.insert(newImage("web", 7));
  const { id } = await store.containers.insert(newContainer(image, { cpu: 1, memoryMb: 1, gpu: 0, shmMb: 1, storageGb: 1, onDemand: true }, 7));
  await server.query("ALTER TABLE history ADD CHECK (event <> 'refused')", postgres.url);
  const move = () => store.containers.move(id, "SYSTEM_STOPPED", "PENDING_START", {}, { at: 8, event: "refused", byUser: undefined });
  return { store, id, move };
}

t.test("transactions that wait for one another are committed together, and what follows keeps their order", async (t) => {
  const { store, first, release, commits } = await openedStore(t);
  const after: string[] = [];
  const waiting = ["a", "b", "c"].map((login) =>
    store.transaction(async () => {
      store.afterCommit(() => after.push(login));
      await store.users.insert(user(login));
    }),
  );
  const single = store.users.insert(user("single"));
  t.equal(await store.users.find("first"), undefined, "nothing is committed yet");
  release();
  await Promise.all([first, ...waiting, single]);
  t.strictSame(after, ["a", "b", "c"]);
  const times = await commits();
  t.strictSame(Object.keys(times).toSorted(), ["a", "b", "c", "first", "single"]);
  t.equal(new Set(Object.values(times)).size, 1, "by one commit");
});

t.test("a transaction that fails is undone alone", async (t) => {
  const { store, first, release, commits } = await openedStore(t);
  const after: string[] = [];
  const add = (login: string, end: () => Promise<unknown>) =>
    store.transaction(async () => {
      store.afterCommit(() => after.push(login));
      await store.users.insert(user(login));
      await end();
    });
  const good = add("good", async () => undefined);
  const refused = add("refused", () => Promise.reject(new Error("no")));
  const broken = add("broken", () => store.users.insert(user("first")));
  const last = add("last", async () => undefined);
  const expected = Promise.all([t.rejects(refused, { message: "no" }), t.rejects(broken, { code: "23505" })]);
  release();
  await Promise.all([first, good, last, expected]);
  t.strictSame(after, ["good", "last"]);
  const times = await commits();
  t.strictSame(Object.keys(times).toSorted(), ["first", "good", "last"]);
  t.equal(new Set(Object.values(times)).size, 1, "by one commit");
});

t.test("where the commit fails, all of them fail, and nothing of them is stored", async (t) => {
  const { postgres, store, first, release, commits } = await openedStore(t);
  await server.query(
    `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
      CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON group_members DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`,
    postgres.url,
  );
  const after: string[] = [];
  store.afterCommit(() => after.push("outside"));
  const others = ["a", "b"].map((login) =>
    store.transaction(async () => {
      store.afterCommit(() => after.push(login));
      await store.users.insert(user(login));
      if (login === "b") await store.groups.put("a", ["refused"]);
    }),
  );
  const expected = Promise.all([first, ...others].map((one) => t.rejects(one, /no/)));
  release();
  await expected;
  t.strictSame(after, ["outside"]);
  t.strictSame(await commits(), {});
  await store.users.insert(user("later"));
});

t.test("a large transaction is committed alone", async (t) => {
  const { store, first, release, commits } = await openedStore(t);
  const large = store.transaction(async () => void (await store.users.insert(user("large"))), { isLarge: true });
  release();
  await Promise.all([first, large]);
  const times = await commits();
  t.not(times["large"], times["first"]);
});

t.test("a statement whose result is not awaited fails its transaction", async (t) => {
  const { store, id, move } = await openedContainer(t);
  const after: string[] = [];
  const moved = store.transaction(async () => {
    store.afterCommit(() => after.push("never"));
    await move();
  });
  await t.rejects(moved, { code: "23514" });
  t.match(await store.containers.find(id), { state: "SYSTEM_STOPPED" });
  t.strictSame(after, []);
});

t.test("where such a statement is of one of several transactions, all of them fail", async (t) => {
  const { store, id, move } = await openedContainer(t);
  const gate = Promise.withResolvers<void>();
  const isOpen = Promise.withResolvers<void>();
  const head = store.transaction(async () => {
    await store.users.insert(user("head"));
    isOpen.resolve();
    await gate.promise;
  });
  await isOpen.promise;
  const moved = store.transaction(move);
  const next = store.transaction(async () => {
    await store.users.find("head");
    await store.users.insert(user("next"));
  });
  const all = Promise.allSettled([head, moved, next]);
  gate.resolve();
  t.strictSame(
    (await all).map(({ status }) => status),
    ["rejected", "rejected", "rejected"],
  );
  t.match(await store.containers.find(id), { state: "SYSTEM_STOPPED" });
  t.strictSame((await store.users.all()).map(({ login }) => login).toSorted(), ["ada", "first"]);
});
