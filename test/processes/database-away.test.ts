import t from "tap";
import { pause } from "../fixtures/clock.ts";
import { openControlCluster } from "../fixtures/control-cluster.ts";
import { eventually } from "../fixtures/eventually.ts";
import { startPostgres } from "../fixtures/postgres.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { packageOf } from "../program/rights/fixtures/stand.ts";

/**
 * Processes of their own and a real PostgreSQL, which ends by `kill -9`. One gateway has a short limit, the other one the default of five minutes. The lease is
 * long: for a part of the time, a leader without a database still leads.
 */
const LIMIT_MS = 12_000;
const server = await startPostgres(t);
const limit = { GROK_PARAMETERS_DOCKER_SETTINGS__PROXY_REQUEST_TIMEOUT: String(LIMIT_MS) };
const cluster = await openControlCluster(t, {
  folder: tempFolder(t),
  postgres: await server.database(),
  controls: 2,
  gateways: 2,
  env: { BERTH_LEASE_SECONDS: "20" },
  places: { controls: [], gateways: [{ host: "127.0.0.1", command: [], env: limit }] },
});
const [impatient, patient] = cluster.gateways;
if (!impatient || !patient) throw new Error("a gateway is missing");
const square = (client: typeof patient, id: string) => client.call(`/docker/containers/proxy/${id}/square?number=4`);
const REASON = /PostgreSQL|The database 127\.0\.0\.1:\d+\/berth_1 cannot be used/;

t.test("while the database is away, warm requests are served, others are held up to the limit, and the API names the reason", async (t) => {
  t.equal((await patient.publish("app", packageOf("app", ["warm", "cold", "late", "later"]))).status, 200);
  const idOf = (name: string) =>
    eventually(name, async () => {
      const { id, dockerfile } = await patient.container(name);
      return dockerfile.status === "ready" ? id : undefined;
    });
  const [warm, cold, late, later] = [await idOf("app-warm"), await idOf("app-cold"), await idOf("app-late"), await idOf("app-later")];
  for (const client of cluster.gateways) t.equal((await square(client, warm)).status, 200);

  await server.stop("SIGKILL");
  const from = performance.now();
  const over: string[] = [];
  const track = <T>(name: string, work: Promise<T>) => work.finally(() => over.push(name));
  const held = track("cold", square(impatient, cold));
  const longHeld = [track("late", square(patient, late))];
  // A call that the leader has when it ends names no reason.
  await eventually("the API to name the reason", async () => {
    const refused = await patient.call("/users/current");
    t.equal(refused.status, 503);
    return REASON.test(await refused.text());
  });
  // Control answers at once from now on.
  longHeld.push(track("later", square(patient, later)));

  let served = 0;
  while (!over.includes("cold")) {
    for (const client of cluster.gateways) t.equal((await square(client, warm)).status, 200, `warm request ${++served}`);
    await pause(100);
  }
  const response = await held;
  t.match({ status: response.status, body: await response.text() }, { status: 504, body: REASON });
  t.ok(performance.now() - from > LIMIT_MS * 0.95, "it was held for the whole limit");
  t.same(over, ["cold"], "the other gateway holds its requests");

  await server.start();
  for (const answered of await Promise.all(longHeld)) t.equal(answered.status, 200, await answered.text());
  await eventually("the API", async () => (await patient.call("/users/current")).status === 200);
  t.equal((await square(impatient, cold)).status, 200);
});
