import Sqlite from "better-sqlite3";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync, readdirSync, statSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { beforeStep } from "./store/fixtures/before-step.ts";
import { backUp } from "../../control/store/backup.ts";
import { restore } from "../../control/store/restore.ts";
import { openStore, type Store } from "../../control/store/open-store.ts";
import { remount, smallDisk } from "../fixtures/small-disk.ts";
import { createStillClock } from "../fixtures/clock.ts";
import { type StoreDatabase, storeKinds } from "../fixtures/store-kinds.ts";
import { newContainer, newImage, USER } from "./lifecycle/lifecycle-fixture.ts";

const PACKAGE = "33333333-3333-4333-8333-333333333333";
const clock = createStillClock();

async function opened(t: Test, folder: string, database?: StoreDatabase): Promise<Store> {
  const store = await openStore({ folder, clock, ...database });
  t.teardown(() => store.close());
  return store;
}

/** A store with a user, a package, an image and a container. */
async function filled(t: Test, folder = join(t.testdir(), "data"), database?: StoreDatabase) {
  const store = await opened(t, folder, database);
  await store.users.insert({ id: USER, login: "ada", friendlyName: "Ada", admin: true, createdOn: 1 });
  await store.packages.insert({ id: PACKAGE, name: "demo", version: "1.0.0", authorId: USER, createdOn: 1, updatedOn: 1 });
  const image = await store.images.insert(newImage("web", 7));
  const container = await store.containers.insert(
    newContainer(image, { cpu: 0.25, memoryMb: 1, gpu: 0, shmMb: 1, storageGb: 1, onDemand: true, port: 80 }, 7),
  );
  return { store, image, container, folder };
}

for (const kind of storeKinds(t)) {
  t.test(`${kind.name}: what is written is read back as it was`, async (t) => {
    const { store, image, container } = await filled(t, undefined, await kind.fresh());
    t.strictSame(await store.images.find(image.id), image);
    t.strictSame(await store.containers.find(container.id), container);
    const patch = {
      phases: { queue: 1.4, create: 2.5, boot: 3 },
      addresses: [{ host: "::1", port: 80 }],
      fault: { code: "NO_CAPACITY", message: "Full." },
    } as const;
    t.strictSame(await store.containers.update(container.id, patch), { ...container, ...patch });
    t.strictSame(await store.containers.update(container.id, { phases: undefined, addresses: [], fault: undefined }), container);
    const ada = { id: USER, login: "ada", friendlyName: "Ada", admin: true, createdOn: 1 };
    t.strictSame(await store.users.byLogin("ada"), { ...ada, oidcIssuer: undefined, oidcSubject: undefined, blockedOn: undefined });
    t.strictSame(await store.containers.byImage(image.id), [container]);
    t.equal(await store.containers.find("unknown"), undefined);
  });

  t.test(`${kind.name}: a state moves only from the state that was looked at`, async (t) => {
    const { store, image, container } = await filled(t, undefined, await kind.fresh());
    t.match(await store.containers.move(container.id, "SYSTEM_STOPPED", "PENDING_START", { desiredInstances: 1 }), {
      state: "PENDING_START",
      desiredInstances: 1,
    });
    t.equal(await store.containers.move(container.id, "SYSTEM_STOPPED", "PENDING_START", { desiredInstances: 0 }), undefined);
    t.equal((await store.containers.find(container.id))?.desiredInstances, 1, "and then changes nothing else");
    t.ok(await store.images.move(image.id, "PENDING_VALIDATION", "VALIDATING", {}));
    t.equal(await store.images.move(image.id, "PENDING_VALIDATION", "VALIDATING", {}), undefined);
  });

  t.test(`${kind.name}: the last use never goes back`, async (t) => {
    const { store, container } = await filled(t, undefined, await kind.fresh());
    await store.containers.touch(new Map([[container.id, 50.9]]));
    await store.containers.touch(new Map([[container.id, 20]]));
    t.equal((await store.containers.find(container.id))?.lastActive, 50);
  });

  t.test(`${kind.name}: a transaction that fails leaves nothing behind`, async (t) => {
    const { store, container } = await filled(t, undefined, await kind.fresh());
    await t.rejects(() =>
      store.transaction(async () => {
        await store.containers.update(container.id, { name: "other" });
        throw new Error("no");
      }),
    );
    t.equal((await store.containers.find(container.id))?.name, "web");
  });

  t.test(`${kind.name}: a removed container leaves a tombstone until its service is gone, and its id for good`, async (t) => {
    const { store, container } = await filled(t, undefined, await kind.fresh());
    t.ok(await store.containers.remove(container.id, 9));
    t.notOk(await store.containers.remove(container.id, 10));
    t.strictSame(await store.tombstones.open(), [
      { id: container.id, service: container.service, adopted: undefined, removedOn: 9, clearedOn: undefined },
    ]);
    await store.tombstones.clear(container.id, 11);
    t.strictSame(await store.tombstones.open(), []);
    t.equal((await store.tombstones.find(container.id))?.clearedOn, 11);
  });

  t.test(`${kind.name}: sessions end with their time, their user or by themselves`, async (t) => {
    const { store } = await filled(t, undefined, await kind.fresh());
    for (const [digest, expiresOn] of [
      ["a", 10],
      ["b", 20],
      ["c", 30],
    ] as const)
      await store.sessions.insert({ digest, userId: USER, expiresOn, keyDigest: undefined });
    t.equal(await store.sessions.removeExpired(10), 1);
    t.ok(await store.sessions.remove("b"));
    t.equal((await store.sessions.byDigest("c"))?.expiresOn, 30);
    const key = { digest: "k", userId: USER, id: "1", label: "laptop", createdOn: 7, fromSetting: false };
    await store.devKeys.insert(key);
    t.strictSame(await store.devKeys.byUser(USER), [{ ...key, lastUsedOn: undefined }]);
    await store.devKeys.recordUse("k", 8);
    t.strictSame(await store.devKeys.byUser(USER), [{ ...key, lastUsedOn: 8 }]);
    await store.sessions.insert({ digest: "d", userId: USER, expiresOn: 30, keyDigest: "k" });
    t.ok(await store.devKeys.remove("k"));
    t.equal(await store.sessions.byDigest("d"), undefined, "or with the key that opened them");
    t.equal(await store.sessions.removeByUser(USER), 1);
  });
}

t.test("the store keeps its id, and is for its user only", async (t) => {
  const folder = join(t.testdir(), "deep", "data");
  const first = await openStore({ folder, clock });
  const { id } = first;
  t.equal(statSync(folder).mode & 0o777, 0o700);
  for (const file of readdirSync(folder)) t.equal(statSync(join(folder, file)).mode & 0o777, 0o600, file);
  await first.close();
  t.equal((await opened(t, folder)).id, id);
});

t.test("a second berth on the same folder is refused, and starts once the first was killed", async (t) => {
  const folder = join(t.testdir(), "data");
  const script = `
    import { openStore } from ${JSON.stringify(join(import.meta.dirname, "../../control/store/open-store.ts"))};
    import { systemClock } from ${JSON.stringify(join(import.meta.dirname, "../../lib/clock.ts"))};
    const store = await openStore({ folder: ${JSON.stringify(folder)}, clock: systemClock() });
    await store.users.insert({ id: "killed", login: "killed", friendlyName: "", admin: false, createdOn: 1 });
    console.log("open");
    setInterval(() => {}, 1000);`;
  const other = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  await once(other.stdout, "data");
  await t.rejects(() => openStore({ folder, clock }), { code: "DATA_FOLDER_IN_USE" });
  other.kill("SIGKILL");
  await once(other, "exit");
  t.ok(await (await opened(t, folder)).users.find("killed"), "what it had written is there");
});

t.test("a store of a newer berth is refused, and left as it is", async (t) => {
  const folder = join(t.testdir(), "data");
  await (await openStore({ folder, clock })).close();
  const raw = new Sqlite(join(folder, "berth.db"));
  raw.pragma("user_version = 999");
  raw.close();
  await t.rejects(() => openStore({ folder, clock }), { code: "DATA_FOLDER_UNUSABLE" });
  await t.rejects(() => openStore({ folder, clock }), { code: "DATA_FOLDER_UNUSABLE" }, "the refusal has let go of the lock");
});

t.test("what ran before berth remembered what it deployed is not taken for unused", async (t) => {
  const folder = join(t.testdir(), "data");
  const { store, container, image } = await filled(t, folder);
  await store.containers.move(container.id, "SYSTEM_STOPPED", "STARTED", { runningGeneration: 1 });
  await store.close();
  const raw = new Sqlite(join(folder, "berth.db"));
  beforeStep(raw, "ADD COLUMN deployed");
  raw.close();
  t.same(await (await opened(t, folder)).containers.deployed(), [{ ref: image.ref }]);
});

t.test("a folder that cannot be one is refused", async (t) => {
  const base = t.testdir({ file: "" });
  await t.rejects(() => openStore({ folder: join(base, "file", "data"), clock }), { code: "DATA_FOLDER_UNUSABLE" });
  await t.rejects(() => openStore({ folder: "/proc/berth", clock }), { code: "DATA_FOLDER_UNUSABLE" });
});

t.test("a file that is no database is refused", async (t) => {
  const folder = join(t.testdir(), "data");
  mkdirSync(folder);
  writeFileSync(join(folder, "berth.db"), "this is no database, and long enough to be taken for one".repeat(100));
  await t.rejects(() => openStore({ folder, clock }), { code: "DATA_FOLDER_UNUSABLE" });
});

t.test("a store with a damaged page is refused before anything is done with it, and let go of", async (t) => {
  const folder = join(t.testdir(), "data");
  const { store, image } = await filled(t, folder);
  const config = { cpu: 1, memoryMb: 1, gpu: 0, shmMb: 1, storageGb: 1, onDemand: false };
  for (let index = 0; index < 200; index++) await store.containers.insert({ ...newContainer(image, config, 7), folder: `app/${index}` });
  await store.close();
  const file = join(folder, "berth.db");
  const middle = Math.floor(statSync(file).size / 4096 / 2) * 4096;
  const disk = openSync(file, "r+");
  writeSync(disk, Buffer.alloc(4096, 0xff), 0, 4096, middle);
  closeSync(disk);
  for (const time of ["once", "and again"]) await t.rejects(() => openStore({ folder, clock }), { code: "DATA_FOLDER_UNUSABLE" }, time);
});

t.test("a full disk fails the write that does not fit, loses nothing, and is over when there is space again", async (t) => {
  const disk = smallDisk(t, "size=2m");
  const { store, container } = await filled(t, join(disk, "data"));
  let fault: unknown;
  let kept = 0;
  for (let size = 0; size < 4_000_000 && !fault; size += 100_000) {
    try {
      await store.containers.update(container.id, { lastLogs: "x".repeat(size) });
      kept = size;
    } catch (error) {
      fault = error;
    }
  }
  t.match(fault, { code: "STORE_FULL", status: 507 });
  t.equal((await store.containers.find(container.id))?.lastLogs.length, kept);
  remount(disk, "size=16m");
  t.ok(await store.containers.update(container.id, { lastLogs: "y".repeat(3_000_000) }));
});

t.test("a read-only data folder is refused", async (t) => {
  const disk = smallDisk(t, "size=2m");
  await (await openStore({ folder: join(disk, "data"), clock })).close();
  remount(disk, "ro");
  await t.rejects(() => openStore({ folder: join(disk, "data"), clock }), { code: "STORE_READ_ONLY" });
});

t.test("the revision grows with each change of a container or an image, and is that of the copy that is put back", async (t) => {
  const { store, image, container, folder } = await filled(t);
  const before = await store.revision();
  const copy = join(folder, "../copy.db");
  backUp({ folder, file: copy, version: "0.0.0-test", clock });
  await store.containers.remove(container.id, 9);
  const after = await store.revision();
  t.ok(after > before);
  await store.images.insert({ ...newImage("other", 8), packageId: image.packageId });
  t.ok((await store.revision()) > after);
  await store.close();
  restore({ folder, file: copy, version: "0.0.0-test", clock });
  t.equal(await (await opened(t, folder)).revision(), before);
});
