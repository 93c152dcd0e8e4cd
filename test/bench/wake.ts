/**
 * How long a sleeping container takes to answer: `npm run bench:wake [rounds] [--database postgres]`. A container whose application needs 1 s to
 * boot, on a real Docker engine, woken by one request a round; then 1 000 requests at once against it asleep.
 *
 * - total: from the request to the whole response.
 * - overhead: total less the application's own boot (from the start of its process until it listens).
 * - release: from the moment the application listens until the response is there.
 * - engine alone: what the engine takes to create and start the same container through its own API, in turn with the rounds. What
 *   of the overhead is above that is ours.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Berth, startBerth } from "../fixtures/berth.ts";
import { openEngine } from "../fixtures/engine.ts";
import { buildTestImages } from "../fixtures/images.ts";
import { openBenchDatabase } from "./bench-database.ts";
import { pause } from "../fixtures/clock.ts";

const database = await openBenchDatabase();
const ROUNDS = Number(database.words[0] ?? 20);
const CROWD = 1_000;
const NAME = "bench-slow";
const TARGETS = { overheadMs: 300, releaseP99Ms: 100 };

type Times = { startedAt: number; listeningAt: number };

const engine = openEngine();
const images = await buildTestImages(engine.docker);
const data = mkdtempSync(join(tmpdir(), "berth-bench-"));
const environment = `bench-${process.pid}`;
const network = `berth-bench-${process.pid}`;
const berth = await startBerth({
  data,
  env: { BERTH_DRIVER: "docker", BERTH_DOCKER_NETWORK: network, GROK_SPAWNER_ENVIRONMENT: environment, ...(await database.fresh()).env },
});

try {
  await berth.publish("bench", {
    "package.json": JSON.stringify({ name: "bench", version: "1.0.0" }),
    "dockerfiles/slow/container.json": JSON.stringify({ image: images.slow, on_demand: true }),
  });
  const { id } = await readyImage(berth);
  const url = `${berth.api}/docker/containers/proxy/${id}/times`;

  const rounds: { total: number; overhead: number; release: number; phases: string }[] = [];
  // Once without counting: the network is made, the page cache filled.
  await berth.call(`/docker/containers/proxy/${id}/times`);
  const alone: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    await berth.call(`/docker/containers/${id}/stop?awaitStop=true`);
    alone.push(await engineAlone());
    const begun = performance.now();
    const answer = await berth.call(`/docker/containers/proxy/${id}/times`);
    const times = (await answer.json()) as Times;
    const total = performance.now() - begun;
    rounds.push({
      total,
      overhead: total - (times.listeningAt - times.startedAt),
      release: Date.now() - times.listeningAt,
      phases: answer.headers.get("server-timing") ?? "",
    });
  }
  console.log(`a container whose application boots in 1 s, ${ROUNDS} rounds, ${database.name}, ms`);
  console.log(row("", ["median", "p99", "target"]));
  console.log(row("total", [...figures(rounds.map((one) => one.total)), ""]));
  console.log(row("overhead", [...figures(rounds.map((one) => one.overhead)), `<= ${TARGETS.overheadMs}`]));
  console.log(row("engine alone", [...figures(alone), ""]));
  console.log(row("release", [...figures(rounds.map((one) => one.release)), `p99 <= ${TARGETS.releaseP99Ms}`]));
  console.log(`last Server-Timing: ${rounds.at(-1)?.phases}`);

  await berth.call(`/docker/containers/${id}/stop?awaitStop=true`);
  const startsBefore = await starts();
  const begun = performance.now();
  const statuses = await crowd(url, berth.token);
  const took = performance.now() - begun;
  console.log(
    `\n${CROWD} requests at once against it asleep: ${(took / 1000).toFixed(2)} s, ${(await starts()) - startsBefore} start, ${statuses.filter((status) => status !== 200).length} failures`,
  );
} finally {
  await berth.stop();
  await database.close();
  for (const one of await engine.docker.listContainers({ all: true, filters: { label: [`berth.environment=${environment}`] } })) {
    await engine.docker.getContainer(one.Id).remove({ force: true });
  }
  await engine.docker.getNetwork(network).remove();
  rmSync(data, { recursive: true, force: true });
}

/** The same image, network and limits, without berth. */
async function engineAlone(): Promise<number> {
  const begun = performance.now();
  const HostConfig = { NetworkMode: network, NanoCpus: 250_000_000, Memory: 512 * 1_048_576, MemorySwap: 512 * 1_048_576 };
  const container = await engine.docker.createContainer({ Image: images.slow, HostConfig });
  await container.start();
  const took = performance.now() - begun;
  await container.remove({ force: true });
  return took;
}

async function readyImage(on: Berth) {
  for (;;) {
    const entity = await on.container(NAME);
    if (entity.dockerfile.status === "ready") return entity;
    await pause(50);
  }
}

/** How many containers of this berth the engine has started so far, by its own event log. */
async function starts(): Promise<number> {
  const events = await engine.docker.getEvents({
    since: 0,
    until: Math.ceil(Date.now() / 1000),
    filters: { event: ["start"], label: [`berth.environment=${environment}`] },
  });
  let lines = 0;
  for await (const piece of events) lines += String(piece).split("\n").filter(Boolean).length;
  return lines;
}

async function crowd(url: string, token: string): Promise<number[]> {
  const agent = new Agent({ maxSockets: CROWD });
  const one = () =>
    new Promise<number>((resolve) => {
      request(url, { agent, headers: { authorization: token } }, (answer) => {
        answer.resume();
        answer.once("end", () => resolve(answer.statusCode ?? 0));
      })
        .once("error", () => resolve(0))
        .end();
    });
  const statuses = await Promise.all(Array.from({ length: CROWD }, one));
  agent.destroy();
  return statuses;
}

function figures(values: number[]): string[] {
  const sorted = values.toSorted((a, b) => a - b);
  return [0.5, 0.99].map((part) => (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0).toFixed(0));
}

function row(name: string, cells: string[]): string {
  return name.padEnd(14) + cells.map((cell) => cell.padStart(12)).join("");
}
