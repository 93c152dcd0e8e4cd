import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import Sqlite from "better-sqlite3";
import { dirname, join } from "node:path";
import t, { type Test } from "tap";
import { openStore, type Store } from "../../../../control/store/open-store.ts";
import { backUpPostgres, copyFromPostgres, copyToPostgres, restorePostgres } from "../../../../control/store/postgres/move-store.ts";
import { COPIED } from "../../../../control/store/postgres/copy.ts";
import { restore } from "../../../../control/store/restore.ts";
import { migrate } from "../../../../control/store/schema.ts";
import { systemClock } from "../../../../lib/clock.ts";
import { startPostgres } from "../../../fixtures/postgres.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";
import { newContainer, newImage, PACKAGE, USER } from "../../lifecycle/lifecycle-fixture.ts";

const server = await startPostgres(t);
const clock = systemClock();
const version = "1.2.3";
const FILES = `packages/${PACKAGE}/web/${"a".repeat(64)}`;
/** Of the version before, to which the package may return. */
const EARLIER = `packages/${PACKAGE}/web/${"b".repeat(64)}`;
const CONFIG = { cpu: 1, memoryMb: 1, gpu: 0, shmMb: 1, storageGb: 1, onDemand: true };
/** More than one part of a file. */
const LARGE = Buffer.alloc(1_500_000, "berth ");

/** Some of everything, with texts that PostgreSQL stores otherwise. */
async function fill(store: Store): Promise<void> {
  await store.users.insert({ id: USER, login: "ada", friendlyName: "A\0da", admin: true, createdOn: 1 });
  await store.groups.put(USER, ["one", "Other"]);
  await store.devKeys.insert({ digest: "k", userId: USER, id: "1", label: "laptop", createdOn: 7, fromSetting: false });
  await store.sessions.insert({ digest: "s", userId: USER, expiresOn: Number.MAX_SAFE_INTEGER, keyDigest: "k" });
  await store.packages.insert({ id: PACKAGE, name: "demo", version: "1.0.0", authorId: USER, createdOn: 1, updatedOn: 1 });
  const owner = await store.packages.find(PACKAGE);
  const image = await store.images.insert({ ...newImage("Web", 7), files: EARLIER });
  for (let index = 0; index < 250; index++) {
    const container = newContainer({ ...image, name: `web-${index}` }, CONFIG, 7);
    await store.containers.insert({ ...container, addresses: [{ host: "10.0.0.1", port: 1_000 + index }] });
    if (index === 0)
      await store.packageVersions.begin(
        { packageId: PACKAGE, version: "1.1.0", byUser: USER, restores: undefined },
        { before: owner, keep: 5, now: 8 },
      );
    if (index % 10 === 0) await store.containers.move(container.id, "SYSTEM_STOPPED", "PENDING_START", {}, { at: 8, event: "x", byUser: undefined });
  }
  await store.images.update(image.id, { files: FILES });
  await store.audit.append(
    {
      at: 1,
      action: "imagePushed",
      target: "datagrok/web:1",
      userId: USER,
      login: "ada",
      via: undefined,
      address: "::1",
      requestId: undefined,
      status: 200,
    },
    0,
  );
}

async function filledFolder(t: Test): Promise<string> {
  const folder = join(tempFolder(t), "data");
  const store = await openStore({ folder, clock });
  await fill(store);
  await store.close();
  mkdirSync(join(folder, FILES, "sub"), { recursive: true });
  writeFileSync(join(folder, FILES, "sub/run.sh"), "two", { mode: 0o755 });
  writeFileSync(join(folder, FILES, "large.bin"), LARGE);
  mkdirSync(join(folder, EARLIER), { recursive: true });
  writeFileSync(join(folder, EARLIER, "run.sh"), "one");
  writeFileSync(join(folder, "gateways.token"), `${"0".repeat(64)}\n`, { mode: 0o600 });
  return folder;
}

const contentOf = async (store: Store) => ({
  id: store.id,
  users: await store.users.all(),
  containers: await store.containers.all(),
  images: await store.images.all(),
  groups: await store.groups.ofUser(USER),
  audit: await store.audit.list({ limit: 10 }),
});

t.test("every table is copied but those that follow from others", (t) => {
  const sqlite = new Sqlite(":memory:");
  migrate(sqlite);
  const tables = sqlite.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'container_addresses' ORDER BY name").pluck().all();
  t.strictSame(COPIED.map(({ table }) => table as string).toSorted(), tables);
  sqlite.close();
  t.end();
});

t.test("a store comes to PostgreSQL and back with all rows and files", async (t) => {
  const folder = await filledFolder(t);
  const postgres = await server.database();
  const { rows, files } = await copyToPostgres({ folder, postgres, clock });
  t.ok(rows > 280, `${rows} rows`);
  t.equal(files, 4);
  await t.rejects(copyToPostgres({ folder, postgres, clock }), { code: "BACKUP_UNUSABLE" }, "only into an empty database");

  const [own, copy] = [await openStore({ folder, clock }), await openStore({ folder: tempFolder(t), clock, postgres })];
  await t.rejects(copyToPostgres({ folder, postgres, clock }), { code: "DATA_FOLDER_IN_USE" }, "not under a berth that runs");
  const expected = JSON.parse(JSON.stringify(await contentOf(own)).replaceAll("\\u0000", "\u{FFFD}")) as object;
  t.same(await contentOf(copy), expected);
  const [first] = await copy.containers.all();
  await copy.containers.move(first?.id ?? "", "SYSTEM_STOPPED", "PENDING_START", {}, { at: 9, event: "new", byUser: undefined });
  await Promise.all([own.close(), copy.close()]);

  const back = join(tempFolder(t), "data");
  await copyFromPostgres({ folder: back, postgres, clock });
  const returned = await openStore({ folder: back, clock });
  t.teardown(() => returned.close());
  t.match((await returned.containers.find(first?.id ?? ""))?.state, "PENDING_START");
  t.equal((await returned.containers.all()).length, 250);
  t.equal(readFileSync(join(back, FILES, "sub/run.sh"), "utf8"), "two");
  t.equal(readFileSync(join(back, EARLIER, "run.sh"), "utf8"), "one", "of the version before too");
  t.equal(statSync(join(back, FILES, "sub/run.sh")).mode & 0o777, 0o700);
  t.ok(readFileSync(join(back, FILES, "large.bin")).equals(LARGE));
  t.equal(readFileSync(join(back, "gateways.token"), "utf8"), readFileSync(join(folder, "gateways.token"), "utf8"));
});

t.test("a backup of PostgreSQL is restored into PostgreSQL, which keeps what was there, and into a data folder", async (t) => {
  const folder = tempFolder(t);
  const postgres = await server.database();
  await copyToPostgres({ folder: await filledFolder(t), postgres, clock });
  const store = await openStore({ folder, clock, postgres });
  const before = await contentOf(store);
  const file = join(tempFolder(t), "backup.db");
  const [made] = await Promise.all([
    backUpPostgres({ folder, postgres, file, version, clock }),
    store.users.update(USER, { friendlyName: "Meanwhile" }),
  ]);
  t.equal(statSync(file).size, made.bytes);
  t.equal(statSync(file).mode & 0o777, 0o600);
  await store.users.insert({ id: "later", login: "later", friendlyName: "", admin: false, createdOn: 1 });
  await store.close();

  await server.query(
    "CREATE TABLE leadership (expires_at timestamptz); INSERT INTO leadership VALUES (clock_timestamp() + interval '1 hour')",
    postgres.url,
  );
  await t.rejects(
    restorePostgres({ folder, postgres, file, version, clock }),
    { code: "DATA_FOLDER_IN_USE" },
    "not under a control process that leads",
  );
  await server.query("UPDATE leadership SET expires_at = 'epoch'", postgres.url);
  const { kept = "" } = await restorePostgres({ folder, postgres, file, version, clock });
  t.ok(existsSync(kept));
  const after = await openStore({ folder, clock, postgres });
  t.same((await contentOf(after)).containers, before.containers);
  t.equal(await after.users.find("later"), undefined);
  t.equal(await after.sessions.byDigest("s"), undefined, "no session is restored from an old copy");
  await after.publishedFiles.fetch(FILES);
  t.ok(readFileSync(join(folder, FILES, "large.bin")).equals(LARGE));
  await after.publishedFiles.fetch(EARLIER);
  t.equal(readFileSync(join(folder, EARLIER, "run.sh"), "utf8"), "one");
  await after.close();
  await restorePostgres({ folder, postgres, file: kept, version, clock });
  const again = await openStore({ folder, clock, postgres });
  t.ok(await again.users.find("later"));
  await again.close();

  const single = join(tempFolder(t), "data");
  restore({ folder: single, file, version, clock });
  const restored = await openStore({ folder: single, clock });
  t.teardown(() => restored.close());
  t.same((await contentOf(restored)).containers, before.containers);
  t.equal(readFileSync(join(single, FILES, "sub/run.sh"), "utf8"), "two");
  t.equal(readFileSync(join(single, EARLIER, "run.sh"), "utf8"), "one");
});

const PROGRAM = join(import.meta.dirname, "../../../../berth.ts");
const command = (data: string, ...args: string[]) =>
  new Promise<{ code: number; output: string }>((resolve) => {
    const options = { env: { PATH: process.env["PATH"], BERTH_DATA: data }, cwd: dirname(data) };
    execFile(process.execPath, [PROGRAM, ...args], options, (error, stdout, stderr) => resolve({ code: error ? 1 : 0, output: stdout + stderr }));
  });

t.test("a row that differs or is missing is reported with its table and key, and nothing is copied", async (t) => {
  const folder = await filledFolder(t);
  const { url, connections } = await server.database();
  await (await openStore({ folder: tempFolder(t), clock, postgres: { url, connections } })).close();
  const isEmpty = async () =>
    t.match(
      await server.query("SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM containers) + (SELECT count(*) FROM audit) AS count", url),
      [{ count: "0" }],
    );
  const change = (table: string, body: string) =>
    server.query(
      `CREATE OR REPLACE FUNCTION change_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${body} END $$;
        CREATE TRIGGER change_row BEFORE INSERT ON ${table} FOR EACH ROW EXECUTE FUNCTION change_row()`,
      url,
    );
  const secret = "the-password-of-the-database";
  const copy = () => command(folder, "store", "copy", "--to", url.replace("postgres@", `postgres:${secret}@`));

  await change("users", "NEW.friendly_name := 'Eve'; RETURN NEW;");
  const differs = await copy();
  t.match(differs, { code: 1, output: `The copy differs in a row of users (${USER})` });
  t.notMatch(differs.output, secret);
  await isEmpty();
  await server.query("DROP TRIGGER change_row ON users", url);

  await change("history", "IF NEW.seq = 3 THEN RETURN NULL; END IF; RETURN NEW;");
  t.match(await copy(), { code: 1, output: /The copy differs in a row of history \([34]\)/ });
  await isEmpty();
  await server.query("DROP TRIGGER change_row ON history", url);

  t.match(await copy(), { code: 0, output: "all rows are equal" });
  t.match(await copy(), { code: 1, output: "copy into an empty database" });
});

t.test("a row that a database returns differently the second time is reported, and the data folder stays empty", async (t) => {
  const { url, connections } = await server.database();
  await copyToPostgres({ folder: await filledFolder(t), postgres: { url, connections }, clock });
  const folder = join(tempFolder(t), "data");
  const secret = "the-password-of-the-database";
  const copy = () => command(folder, "store", "copy", "--from", url.replace("postgres@", `postgres:${secret}@`));
  /** How often the view below was read in this session. */
  const reads = "set_config('test.reads', (coalesce(nullif(current_setting('test.reads', true), ''), '0')::int + 1)::text, false)::int";
  const replaceByView = (table: string, select: string) =>
    server.query(`ALTER TABLE ${table} RENAME TO original; CREATE VIEW ${table} AS ${select}`, url);
  const restoreTable = (table: string) => server.query(`DROP VIEW ${table}; ALTER TABLE original RENAME TO ${table}`, url);
  const refused = async (output: string | RegExp) => {
    const result = await copy();
    t.match(result, { code: 1, output });
    t.notMatch(result.output, secret);
    t.notOk(existsSync(join(folder, "packages")), "no file is copied");
    t.same(
      readdirSync(folder).filter((name) => name.startsWith("copying.db")),
      [],
      "no draft is left",
    );
    t.equal(statSync(join(folder, "berth.db")).size, 0);
  };

  const users = (await server.query("SELECT column_name AS name FROM information_schema.columns WHERE table_name = 'users'", url)).map(({ name }) =>
    name === "friendly_name" ? `${reads}::text AS friendly_name` : String(name),
  );
  await replaceByView("users", `SELECT ${users.join(", ")} FROM original`);
  await refused(`The copy differs in a row of users (${USER})`);
  await restoreTable("users");

  // Missing in the database when it is compared, and missing in the copy.
  for (const present of [1, 2]) {
    await replaceByView("history", `SELECT * FROM original WHERE seq <> 3 OR ${reads} = ${present}`);
    await refused(/The copy differs in a row of history \([34]\)/);
    await restoreTable("history");
  }

  t.match(await copy(), { code: 0, output: "all rows are equal" });
  t.match(await copy(), { code: 1, output: "copy into an empty data folder" });
});

t.test("a database without space is named in one sentence, and stays empty", async (t) => {
  const postgres = await server.database();
  await (await openStore({ folder: tempFolder(t), clock, postgres })).close();
  await server.query(
    `CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no space' USING ERRCODE = '53100'; END $$;
      CREATE TRIGGER no_space BEFORE INSERT ON containers FOR EACH ROW EXECUTE FUNCTION no_space()`,
    postgres.url,
  );
  await t.rejects(copyToPostgres({ folder: await filledFolder(t), postgres, clock }), { code: "STORE_FULL" });
  t.same(await server.query("SELECT * FROM users", postgres.url), []);
});
