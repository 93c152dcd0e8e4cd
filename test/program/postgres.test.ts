import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { promisify } from "node:util";
import t from "tap";
import { startBerth } from "../fixtures/berth.ts";
import { openEngine, removeInstallation } from "../fixtures/engine.ts";
import { eventually } from "../fixtures/eventually.ts";
import { buildPostgresImage } from "../fixtures/postgres-image.ts";
import { freePort } from "../fixtures/server.ts";

/** A real PostgreSQL in a container of the real engine, and its own client; the server's setting names its image. */
const { docker } = openEngine();
const image = await buildPostgresImage(docker);
const port = await freePort();
const environment = `postgres-${process.pid}`;
const network = `berth-${environment}`;
const PASSWORD = "of-the-database";

const berth = await startBerth({
  data: t.testdir(),
  env: {
    BERTH_DRIVER: "docker",
    BERTH_DOCKER_NETWORK: network,
    GROK_SPAWNER_ENVIRONMENT: environment,
    BERTH_TCP_PORTS: `${port}-${port}`,
    BERTH_TCP_IMAGES: `${image.slice(0, image.lastIndexOf(":"))}:5432`,
  },
});
t.teardown(async () => {
  await berth.stop();
  await removeInstallation(docker, environment, network);
});

const CONNECTION = `host=127.0.0.1 port=${port} user=postgres dbname=postgres connect_timeout=60`;
const ENV = { PATH: process.env["PATH"] ?? "", PGPASSWORD: PASSWORD, LC_ALL: "C" };
const query = async (sql: string, env: NodeJS.ProcessEnv = ENV) => {
  const ran = promisify(execFile)("psql", ["-XAtc", sql, CONNECTION], { env });
  const { stdout } = await ran.catch((error: { stderr: string }) => Promise.reject(new Error(error.stderr)));
  return stdout.trim();
};
const instances = async () => {
  const { id } = await berth.container("dbtests-db");
  return (await docker.listContainers({ filters: { label: [`berth.container=${id}`] } })).map((one) => one.Id);
};

t.test("a package with PostgreSQL gets the address of a listener, and sleeps", async (t) => {
  const container = { image, on_demand: true, shutdown_timeout: 0.1, memory: 256, environmentVars: { POSTGRES_PASSWORD: PASSWORD } };
  const answer = await berth.publish("Dbtests", {
    "package.json": JSON.stringify({ name: "Dbtests", version: "1.0.0" }),
    "dockerfiles/db/container.json": JSON.stringify(container),
  });
  t.equal(answer.status, 200, await answer.clone().text());
  await eventually("the image to be ready", async () => (await berth.container("dbtests-db")).dockerfile.status === "ready");
  t.match(await berth.container("dbtests-db"), { status: "stopped by system", address: "127.0.0.1", port });
});

t.test("psql wakes it, and the password is PostgreSQL's own to check", async (t) => {
  t.equal(await query("select 6 * 7"), "42");
  t.equal((await instances()).length, 1);
  await t.rejects(query("select 1", { ...ENV, PGPASSWORD: "another" }), /password authentication failed/);
});

t.test("it stays awake while a session moves bytes, sleeps when the session is idle, and wakes again", async (t) => {
  const session = spawn("psql", ["-XAt", "-v", "ON_ERROR_STOP=1", CONNECTION], { env: ENV, stdio: ["pipe", "pipe", "pipe"] });
  t.teardown(() => session.kill("SIGKILL"));
  const exited = once(session, "exit") as Promise<[number]>;
  let output = "";
  let errors = "";
  session.stdout.setEncoding("utf8").on("data", (text: string) => void (output += text));
  session.stderr.setEncoding("utf8").on("data", (text: string) => void (errors += text));
  session.stdin.on("error", () => undefined);
  const [instance] = await eventually("it to run", async () => ((await instances()).length === 1 ? instances() : undefined));

  const begun = performance.now();
  let queries = 0;
  await eventually("a session longer than twice its shutdown_timeout", async () => {
    session.stdin.write(`select 'answer ${++queries}';\n`);
    await eventually("the answer", () => output.includes(`answer ${queries}\n`));
    return performance.now() - begun > 13_000;
  });
  t.strictSame(await instances(), [instance], "the same instance");

  await berth.until("dbtests-db", ["stopped by system"]);
  t.strictSame(await instances(), []);
  session.stdin.end("select 'too late';\n");
  t.not((await exited)[0], 0);
  t.match(errors, /closed the connection unexpectedly|terminating connection/);
  t.notMatch(output, /too late/);
  t.equal(await query("select 'awake again'"), "awake again");
});

t.test("a killed database breaks its session, and the next one wakes another", async (t) => {
  const slow = query("select pg_sleep(60)");
  const [instance = ""] = await eventually("the query to run", async () => {
    const running = await query("select count(*) from pg_stat_activity where query like 'select pg_sleep%'");
    return running === "1" ? instances() : undefined;
  });
  const rejected = t.rejects(slow, /closed the connection|reset by peer|could not receive data/);
  await docker.getContainer(instance).kill({ signal: "SIGKILL" });
  await rejected;
  t.equal(await query("select 'another'"), "another");
  t.notMatch(await instances(), [instance]);
});
