import Sqlite from "better-sqlite3";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { Client } from "pg";
import t, { type Test } from "tap";
import { checkDatabase } from "../../../cli/doctor/database.ts";
import type { Settings } from "../../../conf/settings.ts";
import { openStore, type StoreOptions } from "../../../control/store/open-store.ts";
import { migrate, SCHEMA_STEPS } from "../../../control/store/schema.ts";
import { Fault } from "../../../lib/fault.ts";
import { systemClock } from "../../../lib/clock.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { startPostgres } from "../../fixtures/postgres.ts";
import { listen } from "../../fixtures/server.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";

const server = await startPostgres(t);
const clock = systemClock();
const user = (login: string) => ({ id: login, login, friendlyName: login, admin: false, createdOn: 1 });

async function opened(t: Test, options: Partial<StoreOptions> & Pick<StoreOptions, "postgres">) {
  const store = await openStore({ folder: tempFolder(t), clock, ...options });
  t.teardown(() => store.close());
  return store;
}

t.test("its tables have the columns of the SQLite store", async (t) => {
  const postgres = await server.database();
  await opened(t, { postgres });
  const columns = await server.query(
    `SELECT table_name AS "table", column_name AS name, data_type AS type, is_nullable = 'NO' AS required FROM information_schema.columns
      WHERE table_schema = 'public' AND column_name <> 'rowid' AND table_name NOT LIKE 'staged%' AND table_name NOT IN ('schema_version', 'server_run')`,
    postgres.url,
  );
  const sqlite = new Sqlite(":memory:");
  t.teardown(() => sqlite.close());
  migrate(sqlite);
  const expected = sqlite
    .prepare(
      `SELECT tables.name AS "table", columns.name, columns.type, columns."notnull" OR columns.pk AS required FROM pragma_table_list AS tables,
        pragma_table_info(tables.name) AS columns WHERE tables.schema = 'main' AND tables.name NOT LIKE 'sqlite%'`,
    )
    .all() as { table: string; name: string; type: string; required: number }[];
  const types: Record<string, string> = { TEXT: "text", INTEGER: "bigint", BLOB: "bytea" };
  const inWords = ({ table, name, type, required }: Record<string, unknown>) =>
    `${String(table)}.${String(name)} ${String(type)}${required === true ? " NOT NULL" : ""}`;
  t.strictSame(
    columns.map(inWords).toSorted(),
    expected.map((one) => inWords({ ...one, type: types[one.type], required: one.required === 1 })).toSorted(),
  );
  t.strictSame(await server.query("SELECT steps FROM schema_version", postgres.url), [{ steps: String(SCHEMA_STEPS.length) }]);
});

t.test("its keys, references, defaults and indexes are those of the SQLite store", async (t) => {
  const postgres = await server.database();
  await opened(t, { postgres });
  const sqlite = new Sqlite(":memory:");
  t.teardown(() => sqlite.close());
  migrate(sqlite);
  t.strictSame((await postgresRules(postgres.url)).toSorted(), sqliteRules(sqlite).toSorted());
});

t.test("a store of a newer berth is refused, and two that open a new database at once have one store", async (t) => {
  const postgres = await server.database();
  const both = await Promise.all([opened(t, { postgres }), opened(t, { postgres })]);
  t.equal(both[0].id, both[1].id);
  await server.query("UPDATE schema_version SET steps = 999", postgres.url);
  await t.rejects(opened(t, { postgres }), { code: "DATA_FOLDER_UNUSABLE" });
});

t.test("write transactions of several processes run one after the other", async (t) => {
  const postgres = await server.database();
  const [one, other] = [await opened(t, { postgres }), await opened(t, { postgres })];
  const add = (store: typeof one) =>
    store.transaction(async () => {
      const count = (await store.users.all()).length;
      await store.users.insert(user(String(count)));
    });
  await Promise.all(Array.from({ length: 20 }, (_, index) => add(index % 2 === 0 ? one : other)));
  t.equal((await one.users.all()).length, 20, "none has read what another one changed meanwhile");
});

t.test("with a fence, no write of a process that is not the leader any more is made", async (t) => {
  const postgres = await server.database();
  await server.query("CREATE TABLE leader (epoch INT); INSERT INTO leader VALUES (1)", postgres.url);
  const fence = {
    statement: "SELECT epoch FROM leader FOR SHARE",
    check: ([row]: readonly object[]) => {
      if ((row as { epoch: number }).epoch !== 1) throw new Fault("CONTROL_AWAY", "Another process leads.");
    },
  };
  const store = await opened(t, { postgres, fence: () => fence });
  await store.users.insert(user("before"));
  await server.query("UPDATE leader SET epoch = 2", postgres.url);
  const after: string[] = [];
  await t.rejects(store.users.insert(user("single")), { code: "CONTROL_AWAY" });
  await t.rejects(
    store.transaction(async () => {
      store.afterCommit(() => after.push("never"));
      await store.users.insert(user("transaction"));
    }),
    { code: "CONTROL_AWAY" },
  );
  t.strictSame(
    (await store.users.all()).map(({ id }) => id),
    ["before"],
  );
  t.strictSame(after, []);
});

t.test("a statement that fails in a transaction fails all of it, also where the error is caught", async (t) => {
  const store = await opened(t, { postgres: await server.database() });
  await store.users.insert(user("ada"));
  await t.rejects(
    store.transaction(async () => {
      await store.users.insert(user("eve"));
      await store.users.insert(user("ada")).catch(() => undefined);
    }),
  );
  t.equal(await store.users.find("eve"), undefined);
  await store.users.insert(user("eve"));
});

t.test("logs with NUL and half characters are stored", async (t) => {
  const store = await opened(t, { postgres: await server.database() });
  await store.users.insert({ ...user("ada"), friendlyName: "a\0b" });
  t.equal((await store.users.find("ada"))?.friendlyName, "a\u{FFFD}b");
  await store.packages.insert({ id: "p", name: "demo", version: "1", authorId: "ada", createdOn: 1, updatedOn: 1 });
  await store.connections.insert({ id: "c", packageId: "p", key: "k", name: "n", entity: { text: "a\0b \\u0000 \ud800", other: "x" } });
  t.strictSame((await store.connections.find("p", "k"))?.entity, { text: "a\u{FFFD}b \\u0000 \u{FFFD}", other: "x" });
});

/** Timers of two calls that wait for the server. */
const BOTH_WAIT = 2;

t.test("reads and writes wait for a server that restarts", async (t) => {
  // How long they wait does not depend on how long a busy machine takes to start the server.
  const still = createStillClock();
  const store = await opened(t, { clock: still, postgres: await server.database() });
  await store.users.insert(user("before"));
  await server.stop("SIGKILL");
  const written = store.users.insert(user("during"));
  const read = store.users.find("before");
  await eventually("both wait", () => still.pending() >= BOTH_WAIT);
  await server.start();
  let isOver = false;
  const both = Promise.all([written, read]).finally(() => (isOver = true));
  await eventually("both to end", async () => {
    // Not while an attempt is in progress.
    if (still.pending() > BOTH_WAIT) await still.advance(50);
    return isOver;
  });
  t.match(await both, [{ login: "during" }, { login: "before" }]);
});

t.test("reads and writes fail with a sentence where the server stays away", async (t) => {
  const postgres = await server.database();
  const secret = "the-password-of-the-database";
  const store = await opened(t, { postgres: { ...postgres, url: postgres.url.replace("postgres@", `postgres:${secret}@`) } });
  await store.users.insert(user("before"));
  await server.stop();
  const failed = await store.users.insert(user("late")).then(
    () => undefined,
    (error: unknown) => error as Fault,
  );
  t.match(failed, { code: "STORE_UNAVAILABLE", status: 503 });
  t.match(failed?.message, `127.0.0.1:${server.port}`);
  t.notMatch(`${failed?.message} ${JSON.stringify(failed)}`, secret);
  const begun = performance.now();
  await t.rejects(store.users.find("before"), { code: "STORE_UNAVAILABLE" });
  t.ok(performance.now() - begun < 1_000, "later calls fail at once");
  await server.start();
  await eventually("the store to be back", () =>
    store.users.insert(user("again")).then(
      () => true,
      () => false,
    ),
  );
  t.equal(await store.users.find("late"), undefined);
});

t.test("where the connection breaks during a commit, the store finds out whether it was committed", async (t) => {
  const postgres = await server.database();
  const store = await opened(t, { postgres });
  await store.users.insert(user("first"));
  const other = new Client({ connectionString: postgres.url });
  await other.connect();
  t.teardown(() => other.end());
  await other.query("SELECT pg_advisory_lock(1)");
  await server.query(
    // Checked when the transaction is committed: it waits until it is broken off.
    `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$;
      CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()`,
    postgres.url,
  );
  const after: string[] = [];
  const write = store.transaction(async () => {
    store.afterCommit(() => after.push("committed"));
    await store.users.insert(user("broken"));
  });
  const failing = t.rejects(write, { code: "STORE_UNAVAILABLE" });
  const committing = "SELECT pid FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active' AND datname = current_database()";
  await eventually("the commit to be under way", async () => (await server.query(committing, postgres.url)).length > 0);
  await server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'COMMIT' AND datname = current_database()", postgres.url);
  await failing;
  t.equal(await store.users.find("broken"), undefined);
  t.strictSame(after, []);
});

t.test("a commit whose confirmation is lost counts, once the server confirms it on another connection", async (t) => {
  const { url, connections } = await server.database();
  let isCutting = false;
  const proxy = createServer((client) => {
    const upstream = connect(server.port, "127.0.0.1");
    let isLost = false;
    client.on("data", (data) => {
      if (isCutting && data.includes("COMMIT\0")) [isLost, isCutting] = [true, false];
      upstream.write(data);
    });
    upstream.on("data", (data) => {
      if (isLost) client.destroy();
      else client.write(data);
    });
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const)
      one.on("error", () => undefined).on("close", () => other.destroy());
  });
  const { port } = await listen(t, proxy);
  const store = await opened(t, { postgres: { url: url.replace(String(server.port), String(port)), connections } });
  const after: string[] = [];
  isCutting = true;
  await store.transaction(async () => {
    store.afterCommit(() => after.push("committed"));
    await store.users.insert(user("ada"));
  });
  t.strictSame(after, ["committed"]);
  t.match(await store.users.find("ada"), { login: "ada" });
});

t.test("settings are checked, and messages do not have the password", async (t) => {
  const open = (url: string, more: object = {}) => openStore({ folder: tempFolder(t), clock, postgres: { url, connections: 2, ...more } });
  for (const url of ["postgres://127.0.0.1/berth", "postgres://u@h/d?sslmode=prefer", "postgres://u@h/d?options=-c", "mysql://u@h/d"])
    await t.rejects(open(url), { code: "SETTINGS_INVALID" }, url);
  await t.rejects(open("postgres://u@127.0.0.1/d", { passwordFile: "/nowhere" }), { code: "SETTINGS_INVALID" });
  const unknown = await open(`postgres://postgres:a-secret@127.0.0.1:${server.port}/no_such`).catch((error: unknown) => error as Fault);
  t.match(unknown, { code: "STORE_UNAVAILABLE", message: /no such database/ });
  t.notMatch((unknown as Fault).message, "a-secret");
});

t.test("over TLS it verifies the server's certificate by the authorities of the settings", async (t) => {
  const folder = tempFolder(t);
  const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"];
  execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, ...subject], { stdio: "ignore" });
  const tls = await startPostgres(t, ["ssl=on"], { "server.crt": cert, "server.key": key });
  const { url } = await tls.database();
  const open = (parameters: string, host = "localhost", caFile?: string) =>
    opened(t, { postgres: { url: `${url.replace("127.0.0.1", host)}?${parameters}`, caFile, connections: 2 } });
  const isEncrypted = "SELECT count(*)::int AS encrypted FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND application_name = 'berth'";
  await open("sslmode=verify-full", "localhost", cert);
  t.match(await tls.query(isEncrypted), [{ encrypted: /^[1-9]/ }]);
  await open("sslmode=verify-ca", "127.0.0.1", cert);
  await open("sslmode=require", "127.0.0.1");
  await t.rejects(open("sslmode=verify-full", "127.0.0.1", cert), { code: "STORE_UNAVAILABLE", message: /another host/ });
  writeFileSync(join(folder, "other.pem"), "");
  await t.rejects(open("sslmode=verify-full"), { code: "STORE_UNAVAILABLE", message: /not trusted/ });
});

t.test("berth doctor says which database has the store, and what is wrong with it", async (t) => {
  const { url, connections } = await server.database();
  const check = async (database: Partial<Settings["database"]>) => {
    const settings = { database: { passwordFile: undefined, ca: undefined, connections, ...database } } as Settings;
    const result = await checkDatabase({ settings, clock });
    // Of a busy machine.
    return result && "problems" in result ? { ...result, problems: result.problems?.filter(({ what }) => !what.startsWith("A round trip")) } : result;
  };
  t.equal(await check({ url: undefined }), undefined);
  t.match(await check({ url }), { says: /^PostgreSQL \d+.* at 127\.0\.0\.1:\d+\/berth_\d+, no store yet/ });
  await opened(t, { postgres: { url, connections } });
  t.match(await check({ url, connections: 1_000 }), { problems: [{ what: /fsync/ }, { what: /one control process may need 1003\./ }] });
  await server.query("UPDATE schema_version SET steps = 999", url);
  t.match(await check({ url }), { problems: [{ what: /fsync/ }, { what: /newer berth/ }] });
  t.match(await check({ url: "postgres://berth:a-secret@127.0.0.1:9/berth" }), {
    problems: [{ what: /accepts no connection \(127\.0\.0\.1:9\/berth/ }],
  });
});

/** In one spelling: what the databases say of the same condition or default. */
const spelled = (text: string) =>
  text
    .replaceAll(/ARRAY\[([^\]]*)\]/g, "$1")
    .replaceAll(/::[a-z ]+(\[\])?|COLLATE "C"/gi, "")
    .replaceAll(/= ANY\b/g, "in")
    .replaceAll(/<> ALL\b/g, "not in")
    .replaceAll(/["(),]/g, " ")
    .replaceAll(/\s+/g, " ")
    .trim()
    .toLowerCase();
const OWN_TABLES = new Set(["schema_version", "staged_images", "staged_containers"]);
const isOwn = ({ table, rule }: { table: string; rule: string }) => OWN_TABLES.has(table) || /\browid\b/.test(rule);

async function postgresRules(url: string): Promise<string[]> {
  const rules = (await server.query(
    `SELECT c.relname AS "table", CASE con.contype WHEN 'f' THEN 'references ' || f.relname || ' by ' || key.names || CASE con.confdeltype WHEN 'c' THEN ' cascade' ELSE '' END
        ELSE (CASE con.contype WHEN 'p' THEN 'key ' ELSE 'unique ' END) || key.names END AS rule
      FROM pg_constraint con JOIN pg_class c ON c.oid = con.conrelid LEFT JOIN pg_class f ON f.oid = con.confrelid,
        LATERAL (SELECT string_agg(a.attname, ', ' ORDER BY k.at) AS names FROM unnest(con.conkey) WITH ORDINALITY AS k(num, at)
          JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.num) AS key
      WHERE con.connamespace = 'public'::regnamespace AND con.contype IN ('p', 'u', 'f')
    UNION ALL SELECT c.relname, 'default ' || a.attname || ' ' || pg_get_expr(d.adbin, d.adrelid)
      FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE a.attidentity = ''
    UNION ALL SELECT c.relname, CASE WHEN i.indisunique THEN 'unique index ' ELSE 'index ' END || name.relname || ' on ' ||
        (SELECT string_agg(pg_get_indexdef(i.indexrelid, n, true), ', ' ORDER BY n) FROM generate_series(1, i.indnatts) AS n)
        || coalesce(' where ' || pg_get_expr(i.indpred, i.indrelid), '')
      FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class name ON name.oid = i.indexrelid
      WHERE c.relnamespace = 'public'::regnamespace AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = i.indexrelid)`,
    url,
  )) as { table: string; rule: string }[];
  return rules.filter((one) => !isOwn(one)).map(({ table, rule }) => `${table}: ${spelled(rule)}`);
}

function sqliteRules(sqlite: Sqlite.Database): string[] {
  const pragma = (name: string, of: string) => sqlite.prepare(`SELECT * FROM pragma_${name}(?)`).all(of) as Record<string, string | number | null>[];
  const tables = sqlite.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'").pluck().all() as string[];
  const sqlOf = sqlite.prepare("SELECT sql FROM sqlite_schema WHERE name = ?").pluck();
  return tables.flatMap((table) => {
    const columns = pragma("table_info", table);
    const key = columns.filter(({ pk }) => Number(pk) > 0).toSorted((a, b) => Number(a["pk"]) - Number(b["pk"]));
    const foreign = pragma("foreign_key_list", table).map(
      ({ table: other, from, on_delete: action }) => `references ${other} by ${from}${action === "CASCADE" ? " cascade" : ""}`,
    );
    const indexes = pragma("index_list", table)
      .filter(({ origin }) => origin !== "pk")
      .map(({ name, unique, origin }) => {
        if (origin === "u")
          return `unique ${pragma("index_info", String(name))
            .map((one) => one["name"])
            .join(", ")}`;
        const [, on = ""] = /\bON \w+ ?(\(.*)$/is.exec(String(sqlOf.get(name))) ?? [];
        return `${unique === 1 ? "unique " : ""}index ${name} on ${on.replaceAll(/(\w+) COLLATE NOCASE/gi, "lower($1)")}`;
      });
    const defaults = columns.filter((one) => one["dflt_value"] !== null).map(({ name, dflt_value: value }) => `default ${name} ${value}`);
    return [...(key.length > 0 ? [`key ${key.map(({ name }) => name).join(", ")}`] : []), ...foreign, ...indexes, ...defaults].map(
      (rule) => `${table}: ${spelled(rule)}`,
    );
  });
}
