/**
 * What a storm does to a stand: `npm run bench:storm [containers]`. On a real Docker engine (that of DOCKER_HOST, else one of its own, which takes root), one user calls 100
 * sleeping containers at once and publishes a package of 500 image containers. Meanwhile another user calls a sleeping container of his, stops another one, and calls a third
 * that runs, and the API. Beside that, in the same run: the same starts by plain engine calls, on the same network, and that user's wake and stop with nothing else going on. The other
 * user's wake is measured three times in the storm; what is compared is the median. Milliseconds depend on what else the machine does; calls to the engine and processor time do so less.
 * `CPU_PROFILES=<folder>` writes a profile of each process there.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { ADMIN_KEY, type BerthClient, openClient, startBerth } from "../fixtures/berth.ts";
import { openEngine as openClientOf } from "../fixtures/engine.ts";
import { buildTestImages } from "../fixtures/images.ts";
import { type MetricsSample, scrape, total } from "../fixtures/metrics-page.ts";
import { openEngine } from "../run/engine.ts";
import { enterOwnNetwork } from "../run/own-network.ts";
import { cpuSeconds, cpuSince } from "./storm/cpu-time.ts";
import { engineAlone } from "./storm/engine-alone.ts";
import { countCalls } from "./storm/engine-calls.ts";
import { type Figures, figuresOf, startTraffic } from "./storm/traffic.ts";
import { eventually } from "../fixtures/eventually.ts";

const named = process.env["DOCKER_HOST"] ?? "";
if (named === "") enterOwnNetwork();

const COUNT = Number(process.argv[2] ?? 100);
const PUBLISHED = 500;
/** With fewer the engine is no faster. */
const AT_ONCE = 8;
const WORKERS = 2;
const TARGETS = { served: 1.5, p99Ms: 250, otherWake: 2, stopMs: 2_000 };

const engine = await openEngine(named);
process.env["DOCKER_HOST"] = engine.host;
const { docker } = openClientOf();
const images = await buildTestImages(docker, ["onDemand"]);
const data = mkdtempSync(join(tmpdir(), "berth-storm-"));
const environment = `storm-${process.pid}`;
const network = `berth-${environment}`;
const profiles = process.env["CPU_PROFILES"];
const callsFile = join(data, "calls");
const command = [
  process.execPath,
  `--import=${join(import.meta.dirname, "storm/engine-calls.ts")}`,
  ...(profiles ? ["--cpu-prof", `--cpu-prof-dir=${profiles}`] : []),
  join(import.meta.dirname, "../../berth.ts"),
];
const env = {
  BERTH_DRIVER: "docker",
  BERTH_DOCKER_NETWORK: network,
  GROK_SPAWNER_ENVIRONMENT: environment,
  BERTH_WORKERS: String(WORKERS),
  BERTH_METRICS_PORT: "0",
  ENGINE_CALLS: callsFile,
};
const berth = await startBerth({ data, env, command });

try {
  const other = await anotherUser();
  await publish(
    berth,
    "storm",
    Array.from({ length: COUNT }, (_, n) => `w${n}`),
  );
  await publish(other, "other", ["wake", "wake2", "wake3", "stop", "warm"]);
  const ids = await Promise.all(Array.from({ length: COUNT }, (_, n) => readyId(berth, `storm-w${n}`)));
  const [stop = "", warm = "", ...wakes] = await Promise.all(
    ["stop", "warm", "wake", "wake2", "wake3"].map((name) => readyId(other, `other-${name}`)),
  );
  const [wake = ""] = wakes;

  // Once without counting: what is loaded at the first start is loaded.
  await timed(() => proxied(other, wake));
  await stopped(other, wake);
  const lone = { wake: [] as number[], stop: [] as number[] };
  for (let round = 0; round < 5; round++) {
    lone.wake.push(await timed(() => proxied(other, wake)));
    lone.stop.push(await timed(() => stopped(other, wake)));
  }
  const loads = [load()];
  const roles = rolesOf(engine.host.replace(/^unix:\/\//, "").replace(/docker\.sock$/, ""), berth.pid);
  const before = cpuSeconds(roles);
  let cpuAlone: Record<string, number> = {};
  const onReady = () => (cpuAlone = cpuSince(before, roles));
  const alone = await engineAlone(docker, { image: images.onDemand, network, count: COUNT, atOnce: AT_ONCE, onReady });
  await Promise.all([proxied(other, warm), proxied(other, stop)]);

  loads.push(load());
  const writesBefore = writesOf(await scrape(berth));
  const target = (path: string) => ({ origin: berth.base, path: `/api/docker/containers/${path}`, token: other.token });
  const warmTraffic = startTraffic(target(`proxy/${warm}/square?number=3`), { clients: 4, pauseMs: 20 });
  const apiTraffic = startTraffic(target(warm), { clients: 2, pauseMs: 50 });
  const begin = cpuSeconds(roles);
  const beganOn = Date.now();
  const began = performance.now();
  let answered = 0;
  const quarters = [1, 2, 3].map((part) => ({ at: Math.floor((COUNT * part) / 4), reached: Promise.withResolvers<void>() }));
  const statuses: number[] = [];
  const storm = ids.map(async (id) => {
    const ms = await timed(async () => {
      const answer = await proxied(berth, id).catch((error: unknown) => error);
      // A connection that is closed counts as not served, and does not end the run.
      statuses.push(answer instanceof Response ? answer.status : 0);
      if (!(answer instanceof Response)) console.log(`no response: ${String((answer as Error).cause ?? answer)}`);
      return answer;
    });
    answered++;
    for (const { at, reached } of quarters) if (answered >= at) reached.resolve();
    return ms;
  });
  const publishing = timed(() =>
    publish(
      berth,
      "many",
      Array.from({ length: PUBLISHED }, (_, n) => `p${n}`),
    ),
  );
  const phases: string[] = [];
  const wakesMs: number[] = [];
  let stopMs = 0;
  for (const [index, { reached }] of quarters.entries()) {
    await reached.promise;
    const wakeOther = timed(async () => {
      const answer = await proxied(other, wakes[index] ?? "");
      phases.push(answer.headers.get("server-timing") ?? "");
      return answer;
    });
    if (index === 0) stopMs = await timed(() => stopped(other, stop));
    wakesMs.push(await wakeOther);
  }
  const times = await Promise.all(storm);
  const tookMs = performance.now() - began;
  const cpuStorm = cpuSince(begin, roles);
  const publishMs = await publishing;
  const warmFigures = await warmTraffic.stop();
  const apiFigures = await apiTraffic.stop();
  const delays = await scrape(berth);
  const writes = writesOf(delays) - writesBefore;
  loads.push(load());

  const served = statuses.filter((status) => status === 200).length;
  const calls = countCalls(readFileSync(callsFile, "utf8"), beganOn);
  const loneWake = figuresOf(lone.wake).p50;
  const wakeMs = figuresOf(wakesMs).p50;
  const all = figuresOf(times);
  console.log(
    `${COUNT} containers woken at once by one user, ${PUBLISHED} image containers published meanwhile; load ${loads.join(", ")} before, between, after`,
  );
  console.log(`served           ${served} of ${COUNT} in ${s(tookMs)}; p50 ${s(all.p50)}, p99 ${s(all.p99)}`);
  console.log(`engine alone     ${s(alone)}, ${AT_ONCE} at a time: ${times1(tookMs / alone)} (target <= ${TARGETS.served})`);
  console.log(
    `another's wake   ${ms(wakeMs)} (${wakesMs.map(ms).join(", ")}), alone ${ms(loneWake)} (${lone.wake.map(ms).join(", ")}): ${times1(wakeMs / loneWake)} (target <= ${TARGETS.otherWake})`,
  );
  console.log(`  its phases     ${phases.join(" | ")}`);
  console.log(`another's stop   ${ms(stopMs)}, alone ${ms(figuresOf(lone.stop).p50)} (target <= ${TARGETS.stopMs} ms)`);
  console.log(`publish of ${PUBLISHED}   ${s(publishMs)}`);
  console.log(`warm calls       ${line(warmFigures)} (target p99 <= ${TARGETS.p99Ms})`);
  console.log(`API calls        ${line(apiFigures)} (target p99 <= ${TARGETS.p99Ms})`);
  console.log(`engine calls     ${calls}`);
  console.log(`store writes     ${writes}`);
  console.log(`CPU seconds      ${secondsOf(cpuStorm)}`);
  console.log(`  engine alone   ${secondsOf(cpuAlone)}`);
  for (const process of ["control", "gateway"]) {
    const [p50, p99, max] = ["p50", "p99", "max"].map((part) => {
      const sample = delays.find(
        ({ name, labels }) => name === "berth_event_loop_delay_seconds" && labels["process"] === process && labels["part"] === part,
      );
      return ms((sample?.value ?? 0) * 1_000);
    });
    console.log(`event loop       ${process}: p50 ${p50}, p99 ${p99}, max ${max}`);
  }
  if (served < COUNT) console.log(`other statuses: ${[...new Set(statuses)].join(", ")}`);
} finally {
  await berth.stop();
  for (const one of await docker.listContainers({ all: true, filters: { label: [`berth.environment=${environment}`] } }))
    await docker.getContainer(one.Id).remove({ force: true });
  await docker.getNetwork(network).remove();
  await engine.close();
  rmSync(data, { recursive: true, force: true });
}

function writesOf(samples: readonly MetricsSample[]): number {
  return total(samples, "berth_store_commit_seconds_count");
}

/** The processes whose processor time is counted apart, by their command lines; `folder` is that of the engine. */
function rolesOf(folder: string, parent: number) {
  const role = (name: string) => (command: string, _: number, ppid: number) => ppid === parent && command.includes(`berth.ts ${name}`);
  return {
    control: role("control"),
    gateways: role("gateway"),
    "this benchmark": (_: string, pid: number) => pid === process.pid,
    shims: (command: string) => command.includes("containerd-shim") && command.includes(folder),
    dockerd: (command: string) => command.startsWith("dockerd") && command.includes(folder),
    containerd: (command: string) => command.startsWith("containerd") && command.includes(folder),
  };
}

function secondsOf(cpu: Record<string, number>): string {
  const all = Object.entries(cpu).map(([role, seconds]) => `${role} ${seconds.toFixed(1)}`);
  return all.join(", ");
}

async function anotherUser(): Promise<BerthClient> {
  const headers = { authorization: `Dev ${ADMIN_KEY}`, "content-type": "application/json" };
  await berth.call("/users", { method: "POST", headers, body: JSON.stringify({ login: "other", admin: false, groups: [] }) });
  const made = await berth.call("/users/other/keys", { method: "POST", headers, body: "{}" });
  const { key } = (await made.json()) as { key: string };
  return openClient({ base: berth.base, key, output: berth.output });
}

async function publish(client: BerthClient, name: string, folders: readonly string[]): Promise<void> {
  const json = JSON.stringify({ image: images.onDemand, on_demand: true, cpu: 0.25, memory: 128 });
  const files = Object.fromEntries(folders.map((folder) => [`dockerfiles/${folder}/container.json`, json]));
  const answer = await client.publish(name, { "package.json": JSON.stringify({ name, version: "1.0.0" }), ...files });
  if (answer.status !== 200) throw new Error(`publish of ${name}: ${answer.status} ${await answer.text()}`);
}

async function readyId(client: BerthClient, name: string): Promise<string> {
  return eventually(
    `the image of ${name}`,
    async () => {
      const entity = await client.container(name);
      return entity.dockerfile.status === "ready" ? entity.id : undefined;
    },
    120_000,
  );
}

async function proxied(client: BerthClient, id: string): Promise<Response> {
  return client.call(`/docker/containers/proxy/${id}/square?number=3`);
}

async function stopped(client: BerthClient, id: string): Promise<void> {
  const answer = await client.call(`/docker/containers/${id}/stop?awaitStop=true`);
  if (answer.status >= 400) throw new Error(`stop: ${answer.status} ${await answer.text()}`);
}

async function timed(act: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  const answer = await act();
  if (answer instanceof Response) await answer.arrayBuffer();
  return performance.now() - began;
}

function load(): string {
  return (loadavg()[0] ?? 0).toFixed(1);
}

function s(milliseconds: number): string {
  return `${(milliseconds / 1_000).toFixed(1)} s`;
}

function ms(milliseconds: number): string {
  return `${milliseconds.toFixed(0)} ms`;
}

function times1(ratio: number): string {
  return `${ratio.toFixed(2)} x`;
}

function line({ count, failed, p50, p99, max }: Figures): string {
  return `${count}, ${failed}; p50 ${ms(p50)}, p99 ${ms(p99)}, max ${ms(max)}`;
}
