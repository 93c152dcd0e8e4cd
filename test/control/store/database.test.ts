import Sqlite from "better-sqlite3";
import { join } from "node:path";
import t, { type Test } from "tap";
import { createCommitGate } from "../../../control/store/commit-gate.ts";
import { openStore, type Store, type StoreOptions } from "../../../control/store/open-store.ts";
import { newContainer, newImage, PACKAGE, USER } from "../lifecycle/lifecycle-fixture.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { type StoreDatabase, storeKinds } from "../../fixtures/store-kinds.ts";

const user = (login: string) => ({ id: login, login, friendlyName: login, admin: false, createdOn: 1 });

async function filledStore(t: Test, database: StoreDatabase & Pick<StoreOptions, "log">) {
  const store = await openStore({ folder: join(t.testdir(), "data"), clock: createStillClock(), ...database });
  t.teardown(() => store.close());
  await store.users.insert({ ...user("ada"), id: USER });
  await store.packages.insert({ id: PACKAGE, name: "demo", version: "1.0.0", authorId: USER, createdOn: 1, updatedOn: 1 });
  const image = await store.images.insert(newImage("web", 7));
  const container = await store.containers.insert(newContainer(image, { cpu: 1, memoryMb: 1, gpu: 0, shmMb: 1, storageGb: 1, onDemand: true }, 7));
  return { store, container };
}

/** A transaction that others wait for until `end`. */
async function openTransaction(store: Pick<Store, "transaction">) {
  const [begun, ended] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const transaction = store.transaction(async () => {
    begun.resolve();
    await ended.promise;
  });
  await begun.promise;
  return { transaction, end: ended.resolve };
}

for (const kind of storeKinds(t)) {
  t.test(`${kind.name}: transactions run one after the other, and others see only what is committed`, async (t) => {
    const { store } = await filledStore(t, await kind.fresh());
    const { promise: gate, resolve: open } = Promise.withResolvers<void>();
    const steps: string[] = [];
    const first = store.transaction(async () => {
      await store.users.insert(user("first"));
      steps.push("first inserted");
      await gate;
      t.ok(await store.users.find("first"), "it sees its own writes");
      steps.push("first ends");
    });
    const second = store.transaction(async () => {
      steps.push("second begins");
      t.ok(await store.users.find("first"));
    });
    const single = store.users.insert(user("single")).then(() => steps.push("single write"));
    while (steps.length === 0) await new Promise(setImmediate);
    t.equal(await store.users.find("first"), undefined);
    open();
    await Promise.all([first, second, single]);
    t.strictSame(steps, ["first inserted", "first ends", "second begins", "single write"]);
  });

  t.test(`${kind.name}: a nested transaction that fails undoes all of the outer one, even where the error is caught`, async (t) => {
    const { store } = await filledStore(t, await kind.fresh());
    const fails = store.transaction(async () => {
      await store.users.insert(user("outer"));
      const nested = store.transaction(async () => {
        await store.users.insert(user("inner"));
        throw new Error("no");
      });
      await nested.catch(() => undefined);
    });
    await t.rejects(fails, { message: "no" });
    t.strictSame([await store.users.find("outer"), await store.users.find("inner")], [undefined, undefined]);
    await store.users.insert(user("outer"));
  });

  t.test(`${kind.name}: what fails after a commit is in the log; the transaction succeeded, and the rest follows it`, async (t) => {
    const logged: unknown[] = [];
    const { store } = await filledStore(t, { ...(await kind.fresh()), log: { error: ({ err }) => void logged.push(err) } });
    const bug = new Error("a listener's bug");
    const ran: string[] = [];
    const result = await store.transaction(async () => {
      await store.users.insert(user("one"));
      store.afterCommit(() => {
        throw bug;
      });
      store.afterCommit(() => ran.push("after"));
      return "done";
    });
    t.equal(result, "done");
    t.strictSame([ran, logged], [["after"], [bug]]);
    t.ok(await store.users.find("one"));
    await store.users.insert(user("two"));
  });

  t.test(`${kind.name}: what follows a commit runs once it is durable, and never after a rollback`, async (t) => {
    const { store } = await filledStore(t, await kind.fresh());
    const ran: string[] = [];
    await store.transaction(async () => {
      store.afterCommit(() => ran.push("after"));
      await store.users.insert(user("one"));
      ran.push("in it");
    });
    const gate = Promise.withResolvers<void>();
    let late: Promise<void> | undefined;
    await t.rejects(
      store.transaction(async () => {
        store.afterCommit(() => ran.push("never"));
        late = gate.promise.then(() => store.afterCommit(() => ran.push("outlives it")));
        await store.users.insert(user("two"));
        throw new Error("no");
      }),
    );
    gate.resolve();
    await late;
    t.strictSame(ran, ["in it", "after", "outlives it"]);
  });

  t.test(`${kind.name}: a write beside an open transaction waits for it, and both are kept`, async (t) => {
    const { store, container } = await filledStore(t, await kind.fresh());
    const begun = Promise.withResolvers<void>();
    const ran: string[] = [];
    const transaction = store.transaction(async () => {
      await store.users.insert(user("transaction"));
      begun.resolve();
      store.afterCommit(() => ran.push("after"));
      await new Promise(setImmediate);
      await store.users.update("transaction", { friendlyName: "Changed" });
    });
    await begun.promise;
    const write = store.containers.update(container.id, { name: "other" }).then(() => ran.push("write"));
    t.equal((await store.containers.find(container.id))?.name, container.name, "it is not written yet");
    await transaction;
    await write;
    t.strictSame(ran, ["after", "write"]);
    t.equal((await store.containers.find(container.id))?.name, "other");
    t.match(await store.users.find("transaction"), { friendlyName: "Changed" });
  });

  t.test(`${kind.name}: a write gives up after ten seconds of waiting for others, and says why; those after it go on`, async (t) => {
    const clock = createStillClock();
    const store = await openStore({ folder: join(t.testdir(), "data"), clock, ...(await kind.fresh()) });
    t.teardown(() => store.close());
    const [begun, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const slow = store.transaction(async () => {
      await store.users.insert(user("slow"));
      begun.resolve();
      await gate.promise;
    });
    await begun.promise;
    const early = store.users.insert(user("early"));
    await clock.advance(6_000);
    const late = store.users.insert(user("late"));
    const rejected = t.rejects(early, { code: "STORE_UNAVAILABLE", message: /waited 10 s for others/ });
    await clock.advance(4_000);
    await rejected;
    gate.resolve();
    await Promise.all([slow, late]);
    t.equal(await store.users.find("early"), undefined);
    t.ok(await store.users.find("late"));
    const again = await openTransaction(store);
    const next = store.users.insert(user("next"));
    await clock.advance(9_000);
    again.end();
    await Promise.all([again.transaction, next]);
    t.ok(await store.users.find("next"), "a write that did not wait for so long keeps its place, whatever waited before");
  });

  t.test(`${kind.name}: of the writes that wait only so many are taken`, async (t) => {
    const { store } = await filledStore(t, await kind.fresh());
    const { transaction, end } = await openTransaction(store);
    const taken = Array.from({ length: 2_000 }, () => store.users.update("ada", { friendlyName: "Ada" }));
    await t.rejects(store.users.update("ada", { friendlyName: "Ada" }), { code: "STORE_UNAVAILABLE", message: /2000 others wait/ });
    end();
    await Promise.all([transaction, ...taken]);
  });

  t.test(`${kind.name}: users take turns with their writes, and one cannot have those of another refused`, async (t) => {
    const { store } = await filledStore(t, await kind.fresh());
    const { transaction, end } = await openTransaction(store);
    const order: string[] = [];
    const write = (by: string | undefined) =>
      store.queueAs(
        () => by,
        () => store.transaction(async () => void order.push(by ?? "control")),
      );
    const many = Array.from({ length: 2_000 }, () => write("ada"));
    await t.rejects(write("ada"), { code: "STORE_UNAVAILABLE", message: /2000 others wait/ });
    const others = [write("bea"), write(undefined), write("bea")];
    end();
    await Promise.all([transaction, ...many, ...others]);
    t.strictSame(order.slice(0, 6), ["ada", "bea", "control", "ada", "bea", "ada"]);
    t.equal(order.length, 2_003);
  });

  t.test(`${kind.name}: a move is refused where what it was decided on has changed`, async (t) => {
    const { store, container } = await filledStore(t, await kind.fresh());
    const { id, state, desiredInstances, stopFor, generation } = container;
    const decidedOn = { desiredInstances, stopFor, generation };
    for (const change of [{ desiredInstances: 1 }, { stopFor: "user" }, { stopFor: undefined }, { generation: generation + 1 }] as const) {
      await store.containers.update(id, change);
      t.equal(await store.containers.move(id, state, "PENDING_START", {}, undefined, decidedOn), undefined, JSON.stringify(change));
      await store.containers.update(id, decidedOn);
    }
    t.match(await store.containers.move(id, state, "PENDING_START", {}, undefined, decidedOn), { state: "PENDING_START" });
  });

  t.test(`${kind.name}: what is to follow a commit does not wait for the transaction of another function`, async (t) => {
    const { store } = await filledStore(t, await kind.fresh());
    const { promise: gate, resolve: open } = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const transaction = store.transaction(async () => {
      await store.users.insert(user("slow"));
      begun.resolve();
      await gate;
    });
    await begun.promise;
    let ran = false;
    store.afterCommit(() => (ran = true));
    t.ok(ran, "it has no transaction around it");
    open();
    await transaction;
  });
}

t.test("a commit waits a second for a read at most, and the read is repeated after it, once", async (t) => {
  const still = createStillClock();
  const gate = createCommitGate(still);
  const answers = ["first", "second", "third"].map((value) => ({ value, ...Promise.withResolvers<void>() }));
  let calls = 0;
  const read = gate.read(async () => {
    const answer = answers[calls++];
    await answer?.promise;
    return answer?.value;
  });
  let commits = 0;
  const commit = () => gate.commit(async () => void commits++);
  const overtaking = commit();
  await still.advance(900);
  t.equal(commits, 0);
  await still.advance(100);
  await overtaking;
  t.equal(commits, 1);

  answers[0]?.resolve();
  await eventually("the read is repeated", () => calls === 2);
  const waiting = commit();
  await still.advance(5_000);
  t.equal(commits, 1, "the next commit waits");
  answers[1]?.resolve();
  await waiting;
  t.equal(await read, "second");
  t.equal(commits, 2);
  t.equal(still.pending(), 0);
});

t.test("slow writes to the file share the event loop with everything else, also those of one transaction", async (t) => {
  let elapsed = 0;
  // Each statement takes 10 ms.
  const clock = { ...createStillClock(), monotonic: () => (elapsed += 10) };
  const store = await openStore({ folder: join(t.testdir(), "data"), clock });
  t.teardown(() => store.close());
  const logins = Array.from({ length: 20 }, (_, index) => `user${index}`);
  const turnsOf = async (work: () => Promise<unknown>) => {
    const done = new AbortController();
    const ended = work().finally(() => done.abort());
    let turns = 0;
    for (; !done.signal.aborted; turns++) await new Promise(setImmediate);
    await ended;
    return turns;
  };
  t.ok((await turnsOf(() => Promise.all(logins.map((login) => store.users.insert(user(login)))))) >= logins.length);
  const rename = async () => {
    for (const login of logins) await store.users.update(login, { friendlyName: "Other" });
  };
  t.ok((await turnsOf(() => store.transaction(rename))) >= logins.length);
  t.equal(await turnsOf(() => Promise.all(logins.map((login) => store.users.find(login)))), 1, "reads do not wait");
});

t.test("writes wait for another program's lock of the file, and hold neither reads nor the event loop", async (t) => {
  const still = createStillClock();
  const folder = join(t.testdir(), "data");
  const store = await openStore({ folder, clock: still });
  t.teardown(() => store.close());
  const other = new Sqlite(join(folder, "berth.db"));
  t.teardown(() => other.close());

  other.exec("BEGIN IMMEDIATE");
  const single = store.users.insert(user("single"));
  const transaction = store.transaction(async () => {
    await store.users.insert(user("first"));
    await store.users.insert(user("second"));
  });
  await still.advance(1_000);
  t.equal(await store.users.find("single"), undefined, "reads wait for nothing");
  other.exec("ROLLBACK");
  await still.advance(100);
  await Promise.all([single, transaction]);
  for (const login of ["single", "first", "second"]) t.ok(await store.users.find(login));

  other.exec("BEGIN IMMEDIATE");
  const refused = [
    t.rejects(
      store.transaction(() => store.users.insert(user("third"))),
      { code: "STORE_UNAVAILABLE" },
    ),
  ];
  refused.push(t.rejects(store.users.insert(user("fourth")), { code: "STORE_UNAVAILABLE" }));
  await still.advance(11_000);
  await Promise.all(refused);
  other.exec("ROLLBACK");
  await store.users.insert(user("third"));
  t.equal(await store.users.find("fourth"), undefined);
  t.equal(still.pending(), 0);
});
