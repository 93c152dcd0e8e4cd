import Sqlite from "better-sqlite3";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
  closeSync,
} from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { checkIntegrity } from "../../../control/store/check-integrity.ts";
import { backUp, newestBackup } from "../../../control/store/backup.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { restore } from "../../../control/store/restore.ts";
import { SCHEMA_STEPS } from "../../../control/store/schema.ts";
import { beforeStep } from "./fixtures/before-step.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { newContainer, newImage, USER } from "../lifecycle/lifecycle-fixture.ts";

const clock = createStillClock();
const version = "1.2.3";
const PACKAGE = "33333333-3333-4333-8333-333333333333";
const FILES = `packages/${PACKAGE}/web/${"a".repeat(64)}`;
/** Of the version before, to which the package may return. */
const EARLIER = `packages/${PACKAGE}/web/${"b".repeat(64)}`;

const CONFIG = { cpu: 1, memoryMb: 1, gpu: 0, shmMb: 1, storageGb: 1, onDemand: true };

/** A data folder with a store, a published folder, keys; the store is open. */
async function stand(t: Test) {
  const base = t.testdir();
  const folder = join(base, "data");
  const store = await openStore({ folder, clock });
  t.teardown(() => store.close());
  await store.users.insert({ id: USER, login: "ada", friendlyName: "Ada", admin: true, createdOn: 1 });
  await store.packages.insert({ id: PACKAGE, name: "demo", version: "1.0.0", authorId: USER, createdOn: 1, updatedOn: 1 });
  await store.images.insert({ ...newImage("web", 7), files: FILES });
  await store.sessions.insert({ digest: "signed-in", userId: USER, expiresOn: Number.MAX_SAFE_INTEGER, keyDigest: undefined });
  mkdirSync(join(folder, FILES, "sub"), { recursive: true });
  writeFileSync(join(folder, FILES, ".hidden"), "one");
  writeFileSync(join(folder, FILES, "sub/run.sh"), "two");
  chmodSync(join(folder, FILES, "sub/run.sh"), 0o755);
  writeFileSync(join(folder, "credentials.key"), "the key of the credentials");
  writeFileSync(join(folder, "admin.key"), "the key of the first user");
  return { base, folder, store, file: join(base, "backup.db") };
}

/** The pages of a database's second half turn into noise, as a failing disk leaves them. */
function damage(file: string): void {
  const open = openSync(file, "r+");
  const { size } = statSync(file);
  writeSync(open, Buffer.alloc(Math.floor(size / 2), 0x5a), 0, undefined, Math.ceil(size / 2));
  closeSync(open);
}

t.test("a store that is written to is backed up, and restored elsewhere as it was", async (t) => {
  const { base, folder, store, file } = await stand(t);
  t.match(backUp({ folder, file, version, clock }), { file, bytes: statSync(file).size });
  await store.users.insert({ id: "later", login: "later", friendlyName: "", admin: false, createdOn: 1 });

  const other = join(base, "other");
  t.same(restore({ folder: other, file, version, clock }), { madeOn: clock.now(), kept: undefined });
  t.equal(readFileSync(join(other, FILES, ".hidden"), "utf8"), "one");
  t.equal(readFileSync(join(other, FILES, "sub/run.sh"), "utf8"), "two");
  t.equal(statSync(join(other, FILES, "sub/run.sh")).mode & 0o777, 0o700);
  const restored = await openStore({ folder: other, clock });
  t.teardown(() => restored.close());
  t.equal(restored.id, store.id);
  t.match(await restored.users.find(USER), { login: "ada" });
  t.equal(await restored.users.find("later"), undefined);
  t.equal(await restored.sessions.byDigest("signed-in"), undefined, "no session is restored from an old copy");
  t.notOk(existsSync(join(other, "restoring.db")));
});

t.test("a backup has the files of the versions to which a package may return", async (t) => {
  const { base, folder, store, file } = await stand(t);
  const [image] = await store.images.all();
  const owner = await store.packages.find(PACKAGE);
  if (!image || !owner) throw new Error("nothing is stored");
  await store.containers.insert(newContainer(image, CONFIG, 7));
  await store.images.update(image.id, { files: EARLIER });
  await store.packageVersions.begin({ packageId: PACKAGE, version: "1.1.0", byUser: USER, restores: undefined }, { before: owner, keep: 5, now: 8 });
  await store.images.update(image.id, { files: FILES });
  mkdirSync(join(folder, EARLIER), { recursive: true });
  writeFileSync(join(folder, EARLIER, "run.sh"), "one");
  backUp({ folder, file, version, clock });
  const other = join(base, "other");
  restore({ folder: other, file, version, clock });
  t.equal(readFileSync(join(other, EARLIER, "run.sh"), "utf8"), "one");

  rmSync(join(folder, EARLIER), { recursive: true });
  const without = join(base, "without.db");
  backUp({ folder, file: without, version, clock });
  t.ok(existsSync(without), "files of an earlier version that are lost do not keep the store from a backup");
});

t.test("no key is in a backup, and no other user may read it", async (t) => {
  const { folder, file } = await stand(t);
  backUp({ folder, file, version, clock });
  const bytes = readFileSync(file);
  t.notOk(bytes.includes("the key of"));
  t.equal(statSync(file).mode & 0o777, 0o600);
});

t.test("a backup replaces nothing, and leaves nothing where it cannot be written", async (t) => {
  const { base, folder, file } = await stand(t);
  writeFileSync(file, "mine");
  t.throws(() => backUp({ folder, file, version, clock }), { code: "BACKUP_UNUSABLE" });
  t.equal(readFileSync(file, "utf8"), "mine");
  t.throws(() => backUp({ folder, file: join(base, "no/such/folder.db"), version, clock }), { code: "BACKUP_UNUSABLE" });
  t.throws(() => backUp({ folder: join(base, "nowhere"), file: join(base, "other.db"), version, clock }), { code: "DATA_FOLDER_UNUSABLE" });
  t.same(readdirSync(base).toSorted(), ["backup.db", "data"]);
});

t.test("published files that are missing are no reason for a backup without them", async (t) => {
  const { base, folder, file } = await stand(t);
  rmSync(join(folder, FILES), { recursive: true });
  t.throws(() => backUp({ folder, file, version, clock }), { code: "BACKUP_UNUSABLE" });
  t.same(readdirSync(base), ["data"]);
});

t.test("restoring keeps what was there, as a backup", async (t) => {
  const { folder, store, file } = await stand(t);
  backUp({ folder, file, version, clock });
  await store.users.insert({ id: "later", login: "later", friendlyName: "", admin: false, createdOn: 1 });
  t.throws(() => restore({ folder, file, version, clock }), { code: "DATA_FOLDER_IN_USE" }, "not under a berth that runs");
  await store.close();
  const { kept = "" } = restore({ folder, file, version, clock });
  const after = await openStore({ folder, clock });
  t.equal(await after.users.find("later"), undefined);
  await after.close();
  restore({ folder, file: kept, version, clock });
  const back = await openStore({ folder, clock });
  t.teardown(() => back.close());
  t.match(await back.users.find("later"), { login: "later" });
  t.equal(readFileSync(join(folder, "credentials.key"), "utf8"), "the key of the credentials", "keys stay where they are");
});

t.test("a damaged store is refused at start by a sentence that names the newest backup, which then takes its place", async (t) => {
  const { base, folder, store, file } = await stand(t);
  await store.close();
  const before = readFileSync(join(folder, "berth.db"));
  damage(join(folder, "berth.db"));
  await t.rejects(() => openStore({ folder, clock }), { code: "DATA_FOLDER_UNUSABLE", message: /No backup of it is known/ });
  writeFileSync(join(folder, "berth.db"), before);
  backUp({ folder, file: join(base, "older.db"), version, clock });
  backUp({ folder, file, version, clock });
  damage(join(folder, "berth.db"));
  await t.rejects(() => openStore({ folder, clock }), { code: "DATA_FOLDER_UNUSABLE", message: file });
  t.throws(() => backUp({ folder, file: join(base, "of-damage.db"), version, clock }), { code: "DATA_FOLDER_UNUSABLE" });

  const { kept = "" } = restore({ folder, file, version, clock });
  t.ok(readFileSync(kept).includes(Buffer.alloc(1_000, 0x5a)), "what is left of it is kept as it lies there");
  const restored = await openStore({ folder, clock });
  t.teardown(() => restored.close());
  t.match(await restored.users.find(USER), { login: "ada" });
});

t.test("what is no whole backup of ours is refused, and the store stays", async (t) => {
  const { base, folder, store, file } = await stand(t);
  backUp({ folder, file, version, clock });
  await store.close();
  const spoilt = (name: string, spoil: (path: string) => void) => {
    const path = join(base, name);
    writeFileSync(path, readFileSync(file));
    spoil(path);
    return path;
  };
  const sql = (text: string) => (path: string) => {
    const database = new Sqlite(path);
    database.exec(text);
    database.close();
  };
  const refused = {
    "that is not there": join(base, "no-such.db"),
    "that is no database": spoilt("text", (path) => writeFileSync(path, "no database, and long enough to be taken for one".repeat(100))),
    "that is empty": spoilt("empty", (path) => truncateSync(path, 0)),
    "that was cut off": spoilt("short", (path) => truncateSync(path, 8_192)),
    "that is damaged": spoilt("damaged", damage),
    "of a newer berth": spoilt("newer", sql(`PRAGMA user_version = ${SCHEMA_STEPS.length + 1}`)),
    "that is a bare store": join(folder, "berth.db"),
    "with files for elsewhere": spoilt("elsewhere", sql("UPDATE backup_files SET path = 'packages/../admin.key' WHERE path LIKE '%run.sh'")),
  };
  for (const [what, path] of Object.entries(refused))
    t.throws(() => restore({ folder, file: path, version, clock }), { code: "BACKUP_UNUSABLE" }, what);
  t.equal(readFileSync(join(folder, "admin.key"), "utf8"), "the key of the first user");
  const same = await openStore({ folder, clock });
  t.teardown(() => same.close());
  t.match(await same.sessions.byDigest("signed-in"), { userId: USER }, "sessions stay too");
  t.same(
    readdirSync(folder).filter((name) => /restor/.test(name)),
    [],
  );
});

t.test("a backup of an older schema comes to the newest one", async (t) => {
  const { base, folder, file } = await stand(t);
  backUp({ folder, file, version, clock });
  const raw = new Sqlite(file);
  beforeStep(raw, "ADD COLUMN deployed");
  raw.close();
  restore({ folder: join(base, "other"), file, version, clock });
  const restored = await openStore({ folder: join(base, "other"), clock });
  t.teardown(() => restored.close());
  t.match(await restored.users.find(USER), { login: "ada" });
});

t.test("a damaged store is backed up only on request, and its newest good backup is named", async (t) => {
  const { folder, store, file, base } = await stand(t);
  backUp({ folder, file, version, clock });
  await store.close();
  // The table goes on as it was, and its index lacks a row: nothing that a copy would notice, since that makes indexes anew.
  const raw = new Sqlite(join(folder, "berth.db"));
  raw.unsafeMode(true);
  raw.pragma("writable_schema = ON");
  raw.exec("CREATE TABLE scratch (n INTEGER); CREATE INDEX scratch_n ON scratch (n); INSERT INTO scratch VALUES (1)");
  raw.exec("UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'audit_by_time') WHERE name = 'scratch_n'");
  raw.close();
  t.not(checkIntegrity(folder).length, 0);
  const other = join(base, "other.db");
  t.throws(() => backUp({ folder, file: other, version, clock }), { code: "DATA_FOLDER_UNUSABLE", message: new RegExp(`berth restore ${file}`) });
  t.notOk(existsSync(other));
  backUp({ folder, file: other, version, clock, isDamaged: true });
  t.ok(existsSync(other));
  t.equal(newestBackup(folder), file, "which is not the newest good one");
});

t.test("a value that was altered within its row is not found: SQLite has no checksums", async (t) => {
  const { folder, store } = await stand(t);
  await store.close();
  const path = join(folder, "berth.db");
  const bytes = readFileSync(path);
  bytes.write("Adb", bytes.indexOf("Ada"));
  writeFileSync(path, bytes);
  t.same(checkIntegrity(folder), []);
});
