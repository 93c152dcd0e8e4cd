import t from "tap";
import { openControlCluster } from "../fixtures/control-cluster.ts";
import { eventually } from "../fixtures/eventually.ts";
import { startPostgres } from "../fixtures/postgres.ts";
import { localFolder } from "../fixtures/temp-folder.ts";

/** The longest one. */
const LEASE_SECONDS = 60;

/** Answers after as many milliseconds as its path names; the head of the response comes at once. */
const SERVER = `
  import { createServer } from "node:http";
  process.on("SIGTERM", () => process.exit(0));
  createServer((request, response) => {
    response.flushHeaders();
    setTimeout(() => response.end("served"), Number(request.url.slice(1)));
  }).listen(Number(process.env.PORT));
`;
const FILES = (memory: number) => ({
  "package.json": JSON.stringify({ name: "slow", version: "1.0.0" }),
  "dockerfiles/app/Dockerfile": 'FROM node:26-alpine\nEXPOSE 8080\nCMD ["node", "server.mjs"]\n',
  "dockerfiles/app/container.json": JSON.stringify({ on_demand: true, memory }),
  "dockerfiles/app/server.mjs": SERVER,
});

t.test("a response that is under way when the leader is killed, while its container is replaced, comes to its end", async (t) => {
  const server = await startPostgres(t);
  const cluster = await openControlCluster(t, { folder: localFolder(t), postgres: await server.database(), controls: 1, gateways: 1 });
  const [control] = cluster.controls;
  const [client] = cluster.gateways;
  if (!control || !client) throw new Error("a process is missing");
  await eventually("the API", async () => (await client.call("/users/current")).status === 200);
  t.equal((await client.publish("slow", FILES(512))).status, 200);
  const { id } = await eventually("the image to be ready", async () => {
    const entity = await client.container("slow-app");
    return entity.dockerfile.status === "ready" ? entity : undefined;
  });
  const response = await fetch(`${client.base}/api/docker/containers/proxy/${id}/9000`, { headers: { authorization: client.token } });
  t.equal((await client.publish("slow", FILES(513))).status, 200);
  await eventually("it is about to be replaced", async () => (await client.container("slow-app")).status === "pending system stop");
  await control.stop("SIGKILL");
  control.start();
  t.equal(await response.text(), "served");
});

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
