/**
 * How the number of replicas follows the load, and that no request fails meanwhile: `npm run bench:replicas`. A container answers after 50 ms; each replica is to
 * have 4 requests, with a window of 6 s. 4, then 24, then 4 clients send one request after another. Fails if a response is not 200.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startBerth } from "../fixtures/berth.ts";
import { eventually } from "../fixtures/eventually.ts";

const APP = `require("node:http").createServer((request, response) => {
  setTimeout(() => response.end("done"), 50);
}).listen(Number(process.env.PORT), "127.0.0.1");`;

/** Clients, and after how many replicas the next phase begins. */
const PHASES = [
  { clients: 4, until: 1 },
  { clients: 24, until: 6 },
  { clients: 4, until: 1 },
];

const data = mkdtempSync(join(tmpdir(), "berth-bench-"));
const berth = await startBerth({ data, env: { BERTH_DRIVER: "process", BERTH_WORKERS: "2" } });
try {
  await berth.publish("bench", {
    "package.json": JSON.stringify({ name: "bench", version: "1.0.0" }),
    "dockerfiles/model/Dockerfile": 'FROM node\nEXPOSE 8080\nCMD ["node", "server.cjs"]\n',
    "dockerfiles/model/server.cjs": APP,
    "dockerfiles/model/container.json": JSON.stringify({ on_demand: true, replicas: { max: 6, target_concurrency: 4, window_seconds: 6 } }),
  });
  const { id } = await eventually("the image", async () => {
    const container = await berth.container("bench-model");
    return container.dockerfile.status === "ready" ? container : undefined;
  });
  const statuses = new Map<number, number>();
  let times: number[] = [];
  const get = async () => {
    const begun = performance.now();
    const response = await fetch(`${berth.api}/docker/containers/proxy/${id}/`, { headers: { authorization: berth.token } });
    await response.text();
    statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
    times.push(performance.now() - begun);
  };
  const ready = async () => ((await (await berth.call(`/docker/containers/${id}`)).json()) as { replicas: { ready: number } }).replicas.ready;
  await get();
  for (const { clients, until } of PHASES) {
    times = [];
    const begun = performance.now();
    const over = new AbortController();
    const running = Array.from({ length: clients }, async () => {
      while (!over.signal.aborted) await get();
    });
    await eventually(`${until} replicas`, async () => performance.now() - begun > 3_000 && (await ready()) === until);
    const seconds = (performance.now() - begun) / 1_000;
    over.abort();
    await Promise.all(running);
    times.sort((one, other) => one - other);
    const at = (part: number) => `${(times[Math.floor((times.length - 1) * part)] ?? 0).toFixed(0)} ms`;
    console.log(`${clients} clients: ${until} replicas after ${seconds.toFixed(1)} s; ${times.length} requests, p50 ${at(0.5)}, p99 ${at(0.99)}`);
  }
  console.log(`responses by status: ${[...statuses].map(([status, count]) => `${status}: ${count}`).join(", ")}`);
  if ([...statuses.keys()].some((status) => status !== 200)) process.exitCode = 1;
  await berth.call(`/docker/containers/${id}/stop?awaitStop=true`);
} finally {
  await berth.stop();
  rmSync(data, { recursive: true });
}
