import Sqlite from "better-sqlite3";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { type Berth, startBerth } from "../../../fixtures/berth.ts";
import { eventually } from "../../../fixtures/eventually.ts";

// Containers are real processes here: what one says of its variables is what it was given.
const env = { BERTH_DRIVER: "process", BERTH_API_URL: "http://api.example/api" };
const ROOT = join(import.meta.dirname, "../../../..");
const BROUGHT = "s3cr3t-in-the-zip";
const CONNECTION_SECRET = 's3cr3t-of-"the"-database';
const PACKAGE_SECRET = "s3cr3t-of-the-package";
const NAME = "cred-walk-env";
const PACKAGE = "@scope/cred-walk";

const SERVER = `
  import { createServer } from "node:http";
  createServer((request, response) => {
    if (request.url === "/exit") process.exit(3);
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(process.env));
  }).listen(process.env.PORT);
  process.on("SIGTERM", () => process.exit(0));`;

const ENTITY = {
  "#type": "DataConnection",
  name: "PostgresNorthwind",
  parameters: { server: "db.example", port: 54322 },
  dataSource: "Postgres",
};

const FILES = {
  "package.json": JSON.stringify({ name: PACKAGE, version: "1.2.3" }),
  "connections/postgres-northwind.json": JSON.stringify({ ...ENTITY, credentials: { parameters: { login: "reader", password: BROUGHT } } }),
  "dockerfiles/env/Dockerfile": 'FROM node:26\nWORKDIR /app\nCOPY server.mjs .\nEXPOSE 80\nCMD ["node", "server.mjs"]\n',
  "dockerfiles/env/server.mjs": SERVER,
  "dockerfiles/env/container.json": JSON.stringify({
    on_demand: true,
    cpu: 1.5,
    env: { CONN: "#{x.CredWalk:PostgresNorthwind}", TEXT: "<#{x.postgresnorthwind}>", LOGIN: "own", OTHER: "#{y}" },
  }),
};

type Walk = { berth: Berth; data: string; id: string; variables(): Promise<Record<string, string>> };

async function openWalk(t: Test, data: string): Promise<Walk> {
  const berth = await startBerth({ data, env });
  t.teardown(() => berth.stop());
  const published = await berth.publish(PACKAGE, FILES);
  t.equal(published.status, 200, await published.text());
  const { id } = await berth.container(NAME);
  return { berth, data, id, variables: async () => (await (await berth.call(`/docker/containers/proxy/${id}/`)).json()) as never };
}

function folder(t: Test): string {
  const data = mkdtempSync(join(tmpdir(), "berth-cred-"));
  t.teardown(() => rmSync(data, { recursive: true }));
  return data;
}

/** What `berth credentials …` prints, and how it ends. */
function credentials(data: string, args: string[], input = "", more: Record<string, string> = {}) {
  const command = [join(ROOT, "berth.ts"), "credentials", ...args];
  const settings = { PATH: process.env["PATH"] ?? "", BERTH_DATA: join(data, "berth-data"), BERTH_ADMIN_KEY: "test-admin-key", ...more };
  const { status, stdout, stderr } = spawnSync(process.execPath, command, { cwd: data, env: settings, input, encoding: "utf8" });
  return { status, output: stdout + stderr };
}

const whoIs = async (berth: Berth, token = "") => (await fetch(`${berth.api}/users/current`, { headers: { authorization: token } })).status;

/** Sessions of containers in the store of a berth that runs. */
function sessions(data: string): number {
  const database = new Sqlite(join(data, "berth-data/berth.db"), { readonly: true });
  try {
    return (database.prepare("SELECT count(*) AS count FROM sessions WHERE container_id IS NOT NULL").get() as { count: number }).count;
  } finally {
    database.close();
  }
}

/** The files below a folder that hold a text. */
function holders(at: string, text: string): string[] {
  return readdirSync(at, { recursive: true, encoding: "utf8" }).filter((name) => {
    const path = join(at, name);
    return statSync(path).isFile() && readFileSync(path).includes(text);
  });
}

t.test("a container gets its installation's, its package's and its own variables, and no other container sees a secret", async (t) => {
  const { berth, data, id, variables } = await openWalk(t, folder(t));
  const shown: string[] = [];
  const call = async (path: string, init?: RequestInit) => {
    const answer = await berth.call(path, init);
    shown.push(await answer.text());
    return answer.status;
  };

  await t.test("the package's own values count until a user sets some", async (t) => {
    const before = await variables();
    t.same(JSON.parse(before["CONN"] ?? ""), { ...ENTITY, credentials: { parameters: { login: "reader", password: BROUGHT } } });
    t.equal(before["TEXT"], `<${before["CONN"]}>`);
    await berth.call(`/docker/containers/${id}/stop?awaitStop=true`);
  });

  const body = JSON.stringify({ password: CONNECTION_SECRET });
  t.equal(await call(`/credentials/for/${PACKAGE}.PostgresNorthwind`, { method: "POST", body }), 200);
  const own = credentials(data, ["set", PACKAGE], JSON.stringify({ LOGIN: "package", API_SECRET: PACKAGE_SECRET, DATAGROK_PIPE_HOST: "mine" }));
  t.equal(own.status, 0, own.output);
  shown.push(own.output, credentials(data, ["list", PACKAGE]).output, credentials(data, ["list", `${PACKAGE}.PostgresNorthwind`]).output);
  t.equal(await call(`/credentials/for/${PACKAGE}`), 200);
  t.equal(await call("/credentials/for/%40scope%2Fcred-walk.PostgresNorthwind"), 200);

  const given = await variables();
  t.match(given, {
    DATAGROK_AMPQ_HOST: "rabbitmq",
    DATAGROK_AMPQ_TLS: "false",
    DATAGROK_PIPE_HOST: "mine",
    DATAGROK_PIPE_PORT: "3000",
    DATAGROK_API_URL: "http://api.example/api",
    API_SECRET: PACKAGE_SECRET,
    LOGIN: "own",
    OTHER: "#{y}",
    DATAGROK_CELERY_NAME: "cred_walk_env",
    TASK_QUEUE_NAME: "cred-walk-env",
    CELERY_HOSTNAME: (await berth.container(NAME)).serviceName,
    WORKERS_PROCESSES: "3",
    DATAGROK_PACKAGE_NAME: "cred-walk",
    DATAGROK_PACKAGE_VERSION: "1.2.3",
  });
  t.same(JSON.parse(given["CONN"] ?? ""), { ...ENTITY, credentials: { parameters: { password: CONNECTION_SECRET } } });

  await t.test("its token is the user's for as long as it runs, and each start has another", async (t) => {
    const token = given["USER_API_KEY"];
    t.equal(await whoIs(berth, token), 200);
    await berth.call(`/docker/containers/${id}/stop?awaitStop=true`);
    t.equal(await whoIs(berth, token), 401);
    t.equal(sessions(data), 0);
    const next = (await variables())["USER_API_KEY"];
    t.not(next, token);
    t.equal(await whoIs(berth, next), 200);
    t.equal(sessions(data), 1);
  });

  await t.test("one that ends by itself takes its token along", async (t) => {
    const token = (await variables())["USER_API_KEY"];
    await berth.call(`/docker/containers/proxy/${id}/exit`);
    await eventually("its token to be refused", async () => (await whoIs(berth, token)) === 401);
    // It is silenced at once, and forgotten when berth has found that it rests.
    t.ok(await eventually("its session to be forgotten", async () => sessions(data) === 0));
  });

  await t.test("a template without a value is reported at publish, and as the cause before anything is started", async (t) => {
    const files = {
      ...FILES,
      "package.json": JSON.stringify({ name: "broken", version: "1.0.0" }),
      "dockerfiles/env/container.json": JSON.stringify({ env: { CONN: "#{x.CredWalk:PostgresNorthwind}", GONE: "#{x.Nowhere:PostgresNorthwind}" } }),
    };
    const published = (await (await berth.publish("broken", files)).json()) as { warnings: string[] };
    t.match(published.warnings, [/broken-env.*#\{x\.Nowhere:PostgresNorthwind\}.*GONE/]);
    const broken = await berth.container("broken-env");
    const run = await berth.call(`/docker/containers/${broken.id}/run?awaitStart=true`);
    t.equal(run.status, 500);
    t.match(await run.json(), { code: "CREDENTIAL_NOT_FOUND", message: /#\{x\.Nowhere:PostgresNorthwind\}/ });
    t.equal((await berth.container("broken-env")).status, "error");
    t.notOk(readdirSync(join(data, "berth-data/processes")).some((name) => name.startsWith(broken.serviceName)));
    t.equal(sessions(data), 0);
  });

  await t.test("another package gets the entity without its credentials", async (t) => {
    const files = {
      ...FILES,
      "package.json": JSON.stringify({ name: "other", version: "1.0.0" }),
      "dockerfiles/env/container.json": JSON.stringify({
        on_demand: true,
        env: { CONN: "#{x.CredWalk:PostgresNorthwind}", OWN: "#{x.PostgresNorthwind}" },
      }),
    };
    t.same(((await (await berth.publish("other", files)).json()) as { warnings: string[] }).warnings, []);
    const other = await berth.container("other-env");
    const received = (await (await berth.call(`/docker/containers/proxy/${other.id}/`)).json()) as Record<string, string>;
    t.same(JSON.parse(received["CONN"] ?? ""), ENTITY);
    t.same(JSON.parse(received["OWN"] ?? "").credentials.parameters, { login: "reader", password: BROUGHT });
    await berth.call(`/docker/containers/${other.id}/stop?awaitStop=true`);
  });

  t.equal(await call(`/credentials/for/${PACKAGE}.PostgresNorthwind`, { method: "PATCH", body: `{"password": ${PACKAGE_SECRET}` }), 400);
  t.equal(await call(`/credentials/for/${PACKAGE}.PostgresNorthwind`, { method: "PATCH", body: `{"a=b": "${PACKAGE_SECRET}"}` }), 400);
  for (const path of ["/docker/containers", `/docker/containers/${id}`, "/docker/images", `/docker/containers/${id}/logs`]) await call(path);
  shown.push(execFileSync(process.execPath, [join(ROOT, "berth.ts"), "config"], { env: { BERTH_DATA: data }, encoding: "utf8" }));
  await berth.call(`/docker/containers/${id}/stop?awaitStop=true`);
  for (const secret of [BROUGHT, CONNECTION_SECRET, "s3cr3t-of", PACKAGE_SECRET]) {
    t.same(holders(join(data, "berth-data"), secret), [], `${secret} lies in no file`);
    t.notOk(shown.join("\n").includes(secret), `${secret} is in no answer`);
    t.notOk(berth.output().includes(secret), `${secret} is in no line of the log`);
  }
  t.equal(statSync(join(data, "berth-data/credentials.key")).mode & 0o777, 0o600);
});

t.test("a container that outlives berth keeps its token, and is given no second one", async (t) => {
  const data = folder(t);
  const first = await openWalk(t, data);
  const { USER_API_KEY: token } = await first.variables();
  await first.berth.kill();
  const second = await startBerth({ data, env });
  t.teardown(async () => {
    await second.call(`/docker/containers/${first.id}/stop?awaitStop=true`);
    await second.stop();
  });
  await second.until(NAME, ["started"]);
  const again = (await (await second.call(`/docker/containers/proxy/${first.id}/`)).json()) as Record<string, string>;
  t.equal(again["USER_API_KEY"], token);
  t.equal(await whoIs(second, token), 200);
  t.equal(sessions(data), 1);

  await t.test("credentials typed into a command line, and sealed with a new key, reach its next start", async (t) => {
    const lines = ["login=abc", "password=x=y"].join("\n");
    t.match(credentials(data, ["set", `${PACKAGE}.PostgresNorthwind`, "-"], lines), { status: 0, output: /password = \*\*\*/ });
    t.match(credentials(data, ["rotate"]), { status: 0, output: /2 credentials/ });
    await second.call(`/docker/containers/${first.id}/stop?awaitStop=true`);
    const rotated = (await (await second.call(`/docker/containers/proxy/${first.id}/`)).json()) as Record<string, string>;
    t.same(JSON.parse(rotated["CONN"] ?? "").credentials.parameters, { login: "abc", password: "x=y" });
  });

  await t.test("what cannot be is one sentence, and ends with a number of its own", async (t) => {
    t.match(credentials(data, ["list", `${PACKAGE}.nothing`]), { status: 3, output: /PostgresNorthwind/ });
    t.match(credentials(data, ["list", PACKAGE], "", { BERTH_DATA: join(data, "elsewhere") }), { status: 5, output: /elsewhere/ });
  });
});
