import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { openCredentials } from "../../../../control/packages/credentials/open-credentials.ts";
import { type KeyFile, newKey, openKeyFile, readKey, writeKey } from "../../../../control/packages/credentials/key-file.ts";
import { openVault } from "../../../../control/packages/credentials/open-vault.ts";
import { openStore, type Store } from "../../../../control/store/open-store.ts";
import type { PostgresOptions } from "../../../../control/store/postgres/address.ts";
import { openLog } from "../../../../lib/log.ts";
import { createStillClock } from "../../../fixtures/clock.ts";
import { startPostgres } from "../../../fixtures/postgres.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";

const clock = createStillClock();
const log = openLog({ level: "silent", name: "test" });
const PACKAGE = { id: "p1", name: "demo", version: "1.0.0", authorId: "u1", createdOn: 1, updatedOn: 1 };
const VALUES = { LOGIN: "reader", PASSWORD: "s3cr3t", PORT: 5432 };
const CREDENTIAL = { LOGIN: "reader", PASSWORD: "s3cr3t", PORT: "5432" };

/** A package with credentials, and as many processes on its data folder as are opened one after the other. */
async function openStand(t: Test, postgres?: PostgresOptions) {
  const folder = mkdtempSync(join(tmpdir(), "berth-vault-"));
  const store = await openStore({ folder, clock, postgres });
  t.teardown(async () => {
    await store.close();
    rmSync(folder, { recursive: true });
  });
  await store.users.insert({ id: "u1", login: "ada", friendlyName: "Ada", admin: false, createdOn: 1 });
  await store.packages.insert(PACKAGE);
  const keyFile = openKeyFile(folder);
  const open = async (more: { store?: Store; keyFile?: KeyFile; given?: string[] } = {}) => {
    const dependencies = { store, keyFile, given: [], log, ...more };
    const vault = await openVault(dependencies);
    return { vault, credentials: openCredentials({ store: dependencies.store, vault, clock }) };
  };
  const environment = async (given: string[] = []) => (await open({ given })).credentials.packageEnv("p1");
  return { folder, store, keyFile, open, environment };
}

const target = { package: PACKAGE, entity: "", name: "demo" };

t.test("what is set is read back by the next process, with a key that is no part of the database", async (t) => {
  const { folder, store, keyFile, open, environment } = await openStand(t);
  t.same(keyFile.read(), [], "there is no key before it is needed");
  await (await open()).credentials.replace(target, VALUES);
  t.same(await environment(), CREDENTIAL);
  t.equal(statSync(keyFile.path).mode & 0o777, 0o600);
  const [key] = keyFile.read();
  t.same(await store.credentials.keyIds(), [key?.id]);
  for (const file of ["berth.db", "berth.db-wal"]) {
    const bytes = readFileSync(join(folder, file));
    t.notOk(bytes.includes("s3cr3t") || bytes.includes(key?.bytes ?? "") || bytes.includes(key ? writeKey(key) : ""), file);
  }
  chmodSync(keyFile.path, 0o644);
  t.same(await environment(), CREDENTIAL);
  t.equal(statSync(keyFile.path).mode & 0o777, 0o600, "others' eyes are shut out again");
});

t.test("a sealed value opens nowhere but where it belongs, and not after a change", async (t) => {
  const { store, open } = await openStand(t);
  await store.packages.insert({ ...PACKAGE, id: "p2", name: "other" });
  const { credentials } = await open();
  await credentials.replace(target, VALUES);
  const [one, two] = await store.credentials.of("p1", "");
  if (!one || !two) throw new Error("nothing was stored");
  for (const [what, swap] of [
    ["another name", () => store.credentials.update(one.id, two)],
    ["another package", () => store.credentials.insert({ ...one, id: "copied", packageId: "p2" })],
    ["a flipped bit", () => store.credentials.update(two.id, { ...two, box: two.box.replace(/^./, (first) => (first === "A" ? "B" : "A")) })],
  ] as const) {
    await swap();
    const owner = what === "another package" ? "p2" : "p1";
    await t.rejects(() => credentials.packageEnv(owner), { code: "CREDENTIALS_UNREADABLE" }, what);
    await store.credentials.update(one.id, one);
  }
});

t.test("a missing or wrong key is a fault that says where the key belongs, and nothing is lost", async (t) => {
  const { store, keyFile, open, environment } = await openStand(t);
  await (await open()).credentials.replace(target, VALUES);
  const text = readFileSync(keyFile.path);
  for (const [what, spoil] of [
    ["missing", () => rmSync(keyFile.path)],
    ["wrong", () => keyFile.write([newKey()])],
  ] as const) {
    spoil();
    const before = await store.credentials.all();
    const { credentials, vault } = await open();
    const fault = { code: "CREDENTIALS_UNREADABLE", message: new RegExp(`${keyFile.path.replaceAll(".", "\\.")}.*nothing is lost`) };
    await t.rejects(() => credentials.packageEnv("p1"), fault, what);
    await t.rejects(() => credentials.merge(target, { NEW: "1" }), fault, `${what}: nothing is sealed beside it under another key`);
    await t.rejects(() => vault.rotate(), fault);
    t.same(await store.credentials.all(), before);
    writeFileSync(keyFile.path, text);
    t.same(await environment(), CREDENTIAL);
  }
  rmSync(keyFile.path);
  const { credentials } = await open();
  await credentials.remove(target);
  await credentials.replace(target, { LOGIN: "anew" });
  t.same(await environment(), { LOGIN: "anew" }, "once what was lost is removed, a new key is made");
  writeFileSync(keyFile.path, "no key\n");
  await t.rejects(() => open(), { code: "DATA_FOLDER_UNUSABLE" });
});

t.test("a rotation that is cut short at any of its writes leaves everything readable, and is finished by the next start", async (t) => {
  const cuts: [string, (store: Store, keyFile: KeyFile) => { store?: Store; keyFile?: KeyFile }][] = [
    ["before the first write of the file", (_, file) => ({ keyFile: failing(file, 1, false) })],
    ["after it", (_, file) => ({ keyFile: failing(file, 1, true) })],
    ["before the commit", (store) => ({ store: cutShort(store, false) })],
    ["after the commit", (store) => ({ store: cutShort(store, true) })],
    ["before the last write of the file", (_, file) => ({ keyFile: failing(file, 2, false) })],
    ["after it", (_, file) => ({ keyFile: failing(file, 2, true) })],
  ];
  for (const [when, cut] of cuts) {
    const { store, keyFile, open, environment } = await openStand(t);
    await (await open()).credentials.replace(target, VALUES);
    const { vault } = await open(cut(store, keyFile));
    await t.rejects(() => vault.rotate(), { message: "killed" }, when);
    t.same(await environment(), CREDENTIAL, when);
    const keys = keyFile.read();
    t.equal(keys.length, 1, "one key is left");
    t.same(await store.credentials.keyIds(), [keys[0]?.id], "and it is the one that all is sealed with");
  }
});

t.test("a rotation leaves the old key without anything to open", async (t) => {
  const { store, keyFile, open, environment } = await openStand(t);
  const { credentials, vault } = await open();
  await credentials.replace(target, VALUES);
  const [old] = keyFile.read();
  t.match(await vault.rotate(), { resealed: 3 });
  t.not(keyFile.read()[0]?.id, old?.id);
  t.notOk((await store.credentials.keyIds()).includes(old?.id ?? ""));
  t.same(await credentials.packageEnv("p1"), CREDENTIAL, "for the process that did it");
  t.same(await environment(), CREDENTIAL, "and for the next");
});

t.test("a key in a setting is rotated by a new one in front of it, and takes over from the file", async (t) => {
  const { store, keyFile, open, environment } = await openStand(t);
  const [first, second] = [newKey(), newKey()];
  await (await open()).credentials.replace(target, VALUES);
  t.same(await environment([writeKey(first)]), CREDENTIAL, "what the file's key sealed is sealed anew");
  t.same(await store.credentials.keyIds(), [first.id]);
  rmSync(keyFile.path);
  t.same(await environment([second.bytes.toString("hex"), writeKey(first)]), CREDENTIAL);
  t.same(await store.credentials.keyIds(), [second.id]);
  t.same(await environment([second.bytes.toString("base64url")]), CREDENTIAL, "the old one can go");
  await t.rejects(async () => (await open({ given: [writeKey(second)] })).vault.rotate(), { code: "REQUEST_INVALID" });
  await t.rejects(() => environment([writeKey(first)]), { code: "CREDENTIALS_UNREADABLE" });
  t.equal(readKey("c2hvcnQ="), undefined);
});

t.test("the key of a shared store is rotated by the setting only, so that another process can lead at any time", async (t) => {
  const server = await startPostgres(t);
  const { keyFile, open } = await openStand(t, await server.database());
  const { credentials, vault } = await open();
  await credentials.replace(target, VALUES);
  const other = openKeyFile(tempFolder(t));
  other.write(keyFile.read());
  const [old] = keyFile.read();

  await t.rejects(() => vault.rotate(), { code: "REQUEST_INVALID", message: /BERTH_CREDENTIALS_KEY/ });
  t.same(keyFile.read(), [old], "no key is made that only one disk has");
  t.same(await (await open({ keyFile: other })).credentials.packageEnv("p1"), CREDENTIAL, "the other process can lead");

  const made = newKey();
  const given = [writeKey(made), writeKey(old ?? made)];
  for (const file of [keyFile, other]) t.same(await (await open({ keyFile: file, given })).credentials.packageEnv("p1"), CREDENTIAL);
  rmSync(keyFile.path);
  rmSync(other.path);
  for (const file of [keyFile, other]) {
    const current = await open({ keyFile: file, given: [writeKey(made)] });
    t.same(await current.credentials.packageEnv("p1"), CREDENTIAL, "the old key can go from each");
  }
});

/** A file whose `nth` write is the last thing its process does. */
function failing(file: KeyFile, nth: number, written: boolean): KeyFile {
  let writes = 0;
  const write: KeyFile["write"] = (keys) => {
    const last = ++writes === nth;
    if (!last || written) file.write(keys);
    if (last) throw new Error("killed");
  };
  return { path: file.path, read: file.read, write };
}

/** A store whose next transaction is the last thing its process does. */
function cutShort(store: Store, committed: boolean): Store {
  return {
    ...store,
    transaction: async (work) =>
      committed
        ? (await store.transaction(work), killed())
        : store.transaction(async () => {
            await work();
            return killed();
          }),
  };
}

function killed(): never {
  throw new Error("killed");
}
