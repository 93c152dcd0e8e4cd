import t from "tap";
import { openControlCluster } from "../fixtures/control-cluster.ts";
import { eventually } from "../fixtures/eventually.ts";
import { startPostgres } from "../fixtures/postgres.ts";
import { localFolder } from "../fixtures/temp-folder.ts";

/** The longest one. */
const LEASE_SECONDS = 60;

t.test("a control process that is killed and started again leads at once, and does not wait for the end of its last lease", async (t) => {
  const server = await startPostgres(t);
  const cluster = await openControlCluster(t, {
    folder: localFolder(t),
    postgres: await server.database(),
    controls: 1,
    gateways: 1,
    env: { BERTH_LEASE_SECONDS: String(LEASE_SECONDS) },
  });
  const [control] = cluster.controls;
  const [client] = cluster.gateways;
  if (!control || !client) throw new Error("a process is missing");
  const called = async () => (await client.call("/users/current")).status;
  await eventually("the API", async () => (await called()) === 200);
  const epochs = () => [...control.output().matchAll(/"epoch":(\d+),"msg":"this control process leads"/g)].map(([, epoch]) => Number(epoch));
  t.same(epochs(), [1]);
  await control.stop("SIGKILL");
  control.start();
  await eventually("the API of the next one", async () => epochs().length === 2 && (await called()) === 200);
  t.same(epochs(), [1, 2]);
  t.match(control.output(), /lease of an ended process released/);
});
