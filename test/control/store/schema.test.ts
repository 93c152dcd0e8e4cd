import Sqlite, { type Database } from "better-sqlite3";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { migrate, SCHEMA_STEPS } from "../../../control/store/schema.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { createStillClock } from "../../fixtures/clock.ts";

const clock = createStillClock();

/** In the columns of the very first schema, which every later one still has. */
const ROWS = `
  INSERT INTO store (id) VALUES ('the-store');
  INSERT INTO users (id, login, friendly_name, admin, created_on) VALUES ('u', 'ada', 'Ada', 1, 1);
  INSERT INTO dev_keys (digest, user_id) VALUES ('k', 'u');
  INSERT INTO sessions (digest, user_id, expires_on) VALUES ('s', 'u', 9007199254740991);
  INSERT INTO packages (id, name, version, author_id, created_on, updated_on) VALUES ('p', 'demo', '1.0.0', 'u', 1, 1);
  INSERT INTO images (id, package_id, folder, name, friendly_name, description, version, ref, dockerfile, dockerfile_path, files, state, since, exposed,
    logs, created_on, updated_on) VALUES ('i', 'p', 'web', 'demo-web', 'Web', '', '1.0.0', 'datagrok/demo-web:1', '', '', '', 'READY', 1, '[]', '', 1, 1);
  INSERT INTO containers (id, package_id, image_id, folder, name, friendly_name, service, generation, config, env, desired_instances, wished_on, state,
    since, running_generation, attempts, not_before, last_logs, last_active, created_on, updated_on)
    VALUES ('c', 'p', 'i', 'web', 'demo-web', 'Web', 'berth-demo-web', 3, '{"cpu":1}', '{"A":"b"}', 1, 1, 'STARTED', 1, 3, 0, 0, '', 5, 1, 1);
  INSERT INTO tombstones (id, service, removed_on, cleared_on) VALUES ('t', 'berth-gone', 1, NULL);
`;

/** What each table and index is, and how each column is defined. */
const shape = (database: Database) => database.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").all();

for (const from of SCHEMA_STEPS.keys()) {
  t.test(`a store of schema ${from} comes to the newest one with all that was in it`, async (t) => {
    const folder = join(t.testdir(), "data");
    mkdirSync(folder);
    const old = new Sqlite(join(folder, "berth.db"));
    migrate(old, SCHEMA_STEPS.slice(0, from));
    if (from > 0) old.exec(ROWS);
    t.equal(old.pragma("user_version", { simple: true }), from);
    old.close();

    const store = await openStore({ folder, clock });
    t.teardown(() => store.close());
    const raw = new Sqlite(join(folder, "berth.db"), { readonly: true });
    const fresh = new Sqlite(":memory:");
    t.teardown(() => [raw, fresh].forEach((one) => one.close()));
    migrate(fresh);
    t.equal(raw.pragma("user_version", { simple: true }), SCHEMA_STEPS.length);
    t.strictSame(shape(raw), shape(fresh));
    t.strictSame(raw.pragma("foreign_key_check"), []);
    if (from === 0) return;
    t.equal(store.id, "the-store");
    t.match(await store.users.find("u"), { id: "u", login: "ada", friendlyName: "Ada", admin: true, createdOn: 1 });
    t.match(await store.devKeys.byUser("u"), [{ digest: "k", id: /^[0-9a-f]{0,8}$/ }]);
    t.match(await store.sessions.byDigest("s"), { userId: "u", keyDigest: undefined });
    t.match(await store.images.find("i"), {
      state: "READY",
      ref: "datagrok/demo-web:1",
      mutable: false,
      warnings: { length: 0 },
      contentHash: undefined,
      command: { length: 0 },
    });
    t.match(await store.containers.find("c"), {
      state: "STARTED",
      service: "berth-demo-web",
      generation: 3,
      config: { cpu: 1 },
      env: { A: "b" },
      lastActive: 5,
    });
    t.match(await store.tombstones.open(), [{ id: "t", service: "berth-gone" }]);
  });
}

t.test("repositories of an older store belong to who had them first: by publishing, by pushing, by naming them", (t) => {
  const old = new Sqlite(":memory:");
  t.teardown(() => old.close());
  const before = SCHEMA_STEPS.findIndex((step) => step.includes("CREATE TABLE repositories"));
  migrate(old, SCHEMA_STEPS.slice(0, before));
  old.exec(ROWS);
  const images = [
    ["late", "p", "power-grid", "datagrok/power-grid:1", 30],
    ["first", "q", "powergrid", "datagrok/powergrid:1", 20],
    ["names", "p", "demo-worker", "registry.example:5000/datagrok/shared_worker@sha256:00", 10],
    ["later", "q", "powergrid-x", "datagrok/shared-worker:1", 40],
    ["outside", "q", "powergrid-y", "ghcr.io/other/datagrok/deep/er:1", 50],
  ] as const;
  old.exec("INSERT INTO users (id, login, friendly_name, admin, created_on) VALUES ('v', 'eve', 'Eve', 0, 1)");
  old.exec("INSERT INTO packages (id, name, version, author_id, created_on, updated_on) VALUES ('q', '@scope/PowerGrid', '1.0.0', 'v', 1, 1)");
  const insert = old.prepare(
    `INSERT INTO images (id, package_id, folder, name, friendly_name, description, version, ref, dockerfile, dockerfile_path, files, state, since,
      exposed, logs, created_on, updated_on) VALUES (?, ?, ?, ?, '', '', '1', ?, '', '', '', 'READY', 1, '[]', '', ?, 1)`,
  );
  for (const [id, owner, name, ref, at] of images) insert.run(id, owner, id, name, ref, at);
  const push = old.prepare("INSERT INTO audit (seq, at, action, target, login) VALUES (?, ?, 'imagePushed', ?, ?)");
  for (const [seq, target, login] of [
    [1, "datagrok/powergrid:evil", "ada"],
    [2, "datagrok/base@sha256:00", "eve"],
    [3, "datagrok/base:1", "ada"],
    [4, "datagrok/gone:1", "unknown"],
    [5, "library/debian:1", "ada"],
  ] as const)
    push.run(seq, seq, target, login);
  migrate(old);
  const rows = old.prepare("SELECT key, package_id, user_id FROM repositories ORDER BY key").raw().all();
  t.strictSame(rows, [
    ["base", null, "v"],
    ["demo", "p", null],
    ["demoweb", "p", null],
    ["demoworker", "p", null],
    ["powergrid", "q", null],
    ["powergridx", "q", null],
    ["powergridy", "q", null],
    ["sharedworker", "p", null],
  ]);
  t.end();
});

t.test("the address of an older store is the first of its container's list, and no other container's", async (t) => {
  const folder = join(t.testdir(), "data");
  mkdirSync(folder);
  const old = new Sqlite(join(folder, "berth.db"));
  migrate(
    old,
    SCHEMA_STEPS.slice(
      0,
      SCHEMA_STEPS.findIndex((step) => step.includes("TABLE container_addresses")),
    ),
  );
  old.exec(ROWS);
  const copy = (id: string, address: object | null) =>
    old
      .prepare(
        `INSERT INTO containers (id, package_id, image_id, folder, name, friendly_name, service, generation, config, env, desired_instances, wished_on,
          state, since, attempts, not_before, last_logs, last_active, created_on, updated_on, address)
          SELECT ?, package_id, image_id, ?, name, friendly_name, ?, generation, config, env, desired_instances, wished_on, state, since, attempts,
          not_before, last_logs, last_active, created_on, updated_on, ? FROM containers WHERE id = 'c'`,
      )
      .run(id, id, id, address && JSON.stringify(address));
  const own = { host: "10.0.0.1", port: 80, instance: "one" };
  copy("one", own);
  copy("other", { host: "fd00::7", port: 80 });
  copy("none", null);
  old.close();

  const store = await openStore({ folder, clock });
  t.teardown(() => store.close());
  const addressesOf = async (id: string) => (await store.containers.find(id))?.addresses;
  t.strictSame(await addressesOf("one"), [own]);
  t.strictSame(await addressesOf("other"), [{ host: "fd00::7", port: 80 }]);
  t.strictSame(await addressesOf("none"), []);
  t.match(await store.containers.atAddresses([own]), [{ id: "one" }]);
  await t.rejects(store.containers.update("none", { addresses: [own] }), "the database refuses a second owner");
  await store.containers.update("one", { addresses: [{ host: "10.0.0.2", port: 80 }] });
  t.match(await store.containers.update("none", { addresses: [own, { host: "10.0.0.3", port: 80 }] }), { addresses: [own, {}] });
  await t.rejects(
    store.containers.update("other", {
      addresses: [
        { host: "10.0.0.4", port: 80 },
        { host: "10.0.0.3", port: 80 },
      ],
    }),
  );
  t.strictSame(await addressesOf("other"), [{ host: "fd00::7", port: 80 }], "of several, all or none");
  await store.containers.remove("none", 1);
  t.strictSame(await store.containers.atAddresses([own]), []);
});

t.test("a step that fails leaves the store as it was", async (t) => {
  const database = new Sqlite(":memory:");
  migrate(database, ["CREATE TABLE one (a)"]);
  t.throws(() => migrate(database, ["CREATE TABLE one (a)", "CREATE TABLE two (a)", "CREATE TABLE three (a); CREATE TABLE one (a)"]));
  t.equal(database.pragma("user_version", { simple: true }), 1);
  t.strictSame(database.prepare("SELECT name FROM sqlite_schema").pluck().all(), ["one"]);
  database.close();
});
