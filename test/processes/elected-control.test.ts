import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { Client } from "pg";
import t from "tap";
import { openControlCluster } from "../fixtures/control-cluster.ts";
import { eventually } from "../fixtures/eventually.ts";
import { startPostgres } from "../fixtures/postgres.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { packageOf } from "../program/rights/fixtures/stand.ts";

const BERTH = join(import.meta.dirname, "../../berth.ts");

/** Two control processes and a gateway: processes of their own, real PostgreSQL, services that run. */
t.test("control processes with one database", async (t) => {
  const server = await startPostgres(t);
  const postgres = await server.database();
  const cluster = await openControlCluster(t, { folder: tempFolder(t), postgres, controls: 2, gateways: 1, env: { BERTH_LEASE_SECONDS: "3" } });
  const [client] = cluster.gateways;
  if (!client) throw new Error("no gateway");
  const other = (than: object) => cluster.controls.find((control) => control !== than) ?? cluster.controls[0]!;
  const square = async (id: string) => (await client.call(`/docker/containers/proxy/${id}/square?number=4`)).status;
  t.equal((await client.publish("app", packageOf("app", ["one", "two", "three"]))).status, 200);
  const idOf = async (name: string) =>
    (
      await eventually(name, async () => {
        const entity = await client.container(name);
        return entity.dockerfile.status === "ready" ? entity : undefined;
      })
    ).id;
  const ids = [await idOf("app-one"), await idOf("app-two"), await idOf("app-three")] as const;

  t.test("a standby is alive, not ready, and names the leader", async (t) => {
    const leader = await cluster.leader();
    const standby = other(leader);
    t.equal(await standby.readiness(), 503);
    t.equal((await fetch(`${standby.url}/livez`)).status, 200);
    const { hostname, port } = new URL(standby.url);
    const env = { BERTH_ROLE: "control", BERTH_DATABASE_URL: postgres.url, BERTH_GATEWAYS_HOST: hostname, BERTH_GATEWAYS_PORT: port };
    const { stdout } = await promisify(execFile)(process.execPath, [BERTH, "health"], { env: { PATH: process.env["PATH"], ...env } });
    t.equal(stdout, "ready\n", "an orchestrator does not replace it");
    const reply = await eventually("the leader to be named", async () => {
      const response = await fetch(`${standby.url}/api/users/current`);
      const body = (await response.json()) as { leader?: string; code: string };
      return body.leader === undefined ? undefined : { status: response.status, ...body };
    });
    t.match(reply, { status: 503, code: "CONTROL_STANDBY", leader: leader.url });
    const [data, runtime] = ["control", "run"].map((name) => join(cluster.folder, `${name}-${cluster.controls.indexOf(standby)}`));
    const command = { env: { PATH: process.env["PATH"], BERTH_DATA: data, XDG_RUNTIME_DIR: runtime } };
    const status = await promisify(execFile)(process.execPath, [BERTH, "status"], command).catch((error: { stderr: string }) => error);
    t.equal(status.stderr, `berth: This control process is a standby: ${leader.url} leads.\n`, "without a key");
  });

  t.test("after kill -9 of the leader, warm requests go on, and a held request is answered by the next one's start", async (t) => {
    const leader = await cluster.leader();
    t.equal(await square(ids[0]), 200);
    const from = performance.now();
    await leader.stop("SIGKILL");
    const woken = square(ids[1]);
    for (let n = 0; n < 20; n++) t.equal(await square(ids[0]), 200);
    t.equal(await woken, 200);
    t.comment(`wakes were served again after ${Math.round(performance.now() - from)} ms`);
    t.not(await cluster.leader(), leader);
    leader.start();
  });

  t.test("SIGTERM of the leader hands over", async (t) => {
    const leader = await cluster.leader();
    await eventually("a standby", async () => (await other(leader).readiness()) === 503);
    const from = performance.now();
    const stopped = leader.stop("SIGTERM");
    const woken = square(ids[2]);
    t.equal(await woken, 200);
    const ms = performance.now() - from;
    t.comment(`wakes were served again after ${Math.round(ms)} ms`);
    await stopped;
    leader.start();
  });

  t.test("without the database warm requests go on, the API says why, and afterwards one leads again", async (t) => {
    await server.stop("SIGKILL");
    t.equal(await square(ids[0]), 200);
    await eventually("none to lead", async () =>
      (await Promise.all(cluster.controls.map((one) => one.readiness()))).every((status) => status !== 200),
    );
    t.equal(await square(ids[0]), 200);
    // The one that was stopped above may not listen again yet, and the API names that one first.
    const reply = await eventually("the API to say why", async () => {
      const response = await client.call("/users/current");
      const { message } = (await response.json()) as { message: string };
      return message.includes("database") ? { status: response.status, message } : undefined;
    });
    t.match(reply, { status: 503, message: /database/ });
    await server.start();
    await cluster.leader();
    await eventually("the API", async () => (await client.call("/users/current")).status === 200);
  });
});

t.test("a control process that is stopped while it opens its parts releases the lease at once", async (t) => {
  const server = await startPostgres(t);
  const postgres = await server.database();
  const { controls } = await openControlCluster(t, { folder: tempFolder(t), postgres, controls: 1, gateways: 0, env: { BERTH_LEASE_SECONDS: "60" } });
  const [control] = controls;
  if (!control) throw new Error("no control process");
  await eventually("it leads", async () => (await control.readiness()) === 200);
  await control.stop();

  const blocker = new Client({ connectionString: postgres.url });
  await blocker.connect();
  t.teardown(() => blocker.end());
  // What a new leader removes expired sessions from: it cannot go on from there.
  await blocker.query("BEGIN; LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE");
  const lease = async () => {
    const [row] = await server.query("SELECT expires_at > clock_timestamp() AS led, expires_at::text AS until FROM leadership", postgres.url);
    return row as { led: boolean; until: string };
  };
  control.start();
  const { until } = await eventually("it has the lease", async () => {
    const row = await lease();
    return row.led ? row : undefined;
  });
  const stopped = control.stop("SIGTERM");
  const released = await eventually("the lease is released", async () => {
    const row = await lease();
    return row.led ? undefined : row;
  });
  t.ok(released.until < until, "before it expires");
  await blocker.query("ROLLBACK");
  await stopped;
});
