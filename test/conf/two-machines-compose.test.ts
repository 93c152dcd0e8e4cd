import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { type BerthClient, openClient } from "../fixtures/berth.ts";
import { eventually } from "../fixtures/eventually.ts";
import type { SwitchedMachine } from "../fixtures/machines.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { run } from "../gateway/registry/run.ts";
import type { OwnEngine } from "../program/recovery/own-engine.ts";
import { PLUGIN, standImages } from "./stand-images.ts";
import { blocksOf, copyTo, leaderOf, makeSecrets, openManagers, openTwoMachines, shell, statusAt } from "./two-machines.ts";

/**
 * What conf/compose has for two machines, set up on two of them as its page says: each with an address, an engine and a firewall of its own, in a swarm of
 * three managers. PostgreSQL, docker, docker-compose and the registry are Debian's; the bucket is moto's.
 */
t.setTimeout(600_000);

const TAGS = ["berth", "berth:grok_registry"];
const IMAGE = "127.0.0.1:5000/datagrok/plugin:1";
const LAYERS = 12;

const stand = await openTwoMachines(t);
const root = tempFolder(t);

type ComposeMachine = { machine: SwitchedMachine; engine: OwnEngine; folder: string; env: Record<string, string> };
const engines = await openManagers(t, [stand.one, stand.two, stand.three]);
const machines = [stand.one, stand.two].map((machine, at): ComposeMachine => {
  const engine = engines[at] as OwnEngine;
  const folder = copyTo(join(root, machine.name), "conf/compose/several-machines.yaml", "conf/compose/several-machines-swarm.yaml");
  return { machine, engine, folder, env: { HOME: folder, DOCKER_CONFIG: folder, DOCKER_HOST: engine.host, DOCKER_BUILDKIT: "0" } };
}) as [ComposeMachine, ComposeMachine];
const [one, two] = machines;

await standImages(t, one.engine.docker);
await shell(`docker save ${TAGS.join(" ")} | docker --host ${two.engine.host} load`, root, { DOCKER_HOST: one.engine.host });

const on = ({ folder, env, machine }: ComposeMachine, lines: string, more: Record<string, string> = {}) =>
  shell(stand.written(lines, machine).replaceAll("exec control", "exec -T control"), folder, { ...env, ...more });
const docker = ({ env }: ComposeMachine, args: string[], input = "") => run("docker", args, { env, input });
const clientOf = ({ machine, folder, env }: ComposeMachine, key: string) =>
  openClient({
    base: `http://${machine.there}:8080`,
    key,
    output: () => execFileSync("docker", ["compose", "logs", "--tail=60"], { cwd: folder, env: { ...process.env, ...env }, encoding: "utf8" }),
  });
const square = async (client: BerthClient, id: string) => {
  const response = await client.call(`/docker/containers/proxy/${id}/square?number=4`);
  return { status: response.status, body: await response.text() };
};
const SQUARED = { status: 200, body: '{"result":16}' };

const [, envFile = "", start = "", show = ""] = blocksOf("two-machines-compose");
let key = "";
let clients: Map<ComposeMachine, BerthClient>;
const ids: Record<string, string> = {};
const leader = async () => {
  const leading = await leaderOf(machines.map(({ machine }) => machine));
  return machines.find(({ machine }) => machine === leading) as ComposeMachine;
};
const other = (than: ComposeMachine) => (than === one ? two : one);

t.test("started as the page says, one of them leads, and all are healthy", async (t) => {
  await makeSecrets(
    stand,
    machines.map(({ folder }) => folder),
  );
  await Promise.all(
    machines.map(async (each) => {
      const { host } = each.engine;
      const socket = host.replace("unix://", "");
      const own = envFile.replace(/^DOCKER_GID=.*$/m, `DOCKER_GID=${statSync(socket).gid}\nDOCKER_SOCKET=${socket}`);
      writeFileSync(join(each.folder, ".env"), stand.written(own, each.machine));
      await on(each, start);
    }),
  );
  const leading = await leader();
  t.match(await on(leading, show), new RegExp(`^Leader .*${leading.machine.there}:8443.*\n^Standby .*${other(leading).machine.there}:8443`, "m"));
  await t.rejects(on(other(leading), show), { message: new RegExp(`standby: https://${leading.machine.there}:8443 leads`) });
  key = readFileSync(join(leading.folder, "admin.key"), "utf8").trim();
  clients = new Map(await Promise.all(machines.map(async (each) => [each, await clientOf(each, key)] as const)));
  t.equal(await statusAt(other(leading).machine, "/readyz"), 503);
});

t.test("a pushed image is woken on demand, through the gateways of both", async (t) => {
  await docker(one, ["tag", PLUGIN, IMAGE]);
  for (const each of machines) t.match(await docker(each, ["login", "127.0.0.1:5000", "-u", "any", "--password-stdin"], key), { code: 0 });
  const pushed = await docker(one, ["push", IMAGE]);
  t.equal(pushed.code, 0, pushed.output);
  const client = clients.get(one) as BerthClient;
  const container = JSON.stringify({ image: IMAGE, on_demand: true, memory: 128 });
  const published = await client.publish("Pair", {
    "package.json": JSON.stringify({ name: "Pair", version: "1.0.0" }),
    "dockerfiles/warm/container.json": container,
    "dockerfiles/cold/container.json": container,
  });
  t.equal(published.status, 200, await published.text());
  for (const name of ["warm", "cold"])
    ids[name] = await eventually(`the image of ${name}`, async () => {
      const { id, dockerfile } = await client.container(`pair-${name}`);
      return dockerfile.status === "ready" ? id : undefined;
    });
  for (const each of machines) t.same(await square(clients.get(each) as BerthClient, ids["warm"] ?? ""), SQUARED);
});

t.test("the leader's machine is lost: the other one starts containers, has the image, and takes a push that was under way", async (t) => {
  const lost = await leader();
  const left = other(lost);
  const client = clients.get(left) as BerthClient;
  const folder = tempFolder(t);
  const files = Array.from({ length: LAYERS }, (_, at) => `layer-${at}`);
  for (const name of files) writeFileSync(join(folder, name), randomBytes(2 * 1_048_576));
  writeFileSync(join(folder, "Dockerfile"), ["FROM scratch", ...files.map((name) => `COPY ${name} /`)].join("\n"));
  const built = await docker(left, ["build", "-q", "-t", "127.0.0.1:5000/datagrok/other:1", folder]);
  t.equal(built.code, 0, built.output);
  const push = spawn("docker", ["push", "127.0.0.1:5000/datagrok/other:1"], {
    env: { ...process.env, ...left.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [push.stdout, push.stderr]) stream.setEncoding("utf8").on("data", (piece: string) => void (output += piece));
  const ended = new Promise<number | null>((resolve) => void push.once("close", resolve));
  await eventually("a layer to be pushed", () => output.includes(": Pushed"));
  lost.machine.unplug();
  t.notMatch(output, /digest: sha256:/, "the push has not ended");

  const from = performance.now();
  t.same(await square(client, ids["cold"] ?? ""), SQUARED);
  t.comment(`a start was served ${Math.round(performance.now() - from)} ms after the loss`);
  t.equal(await ended, 0, output);
  t.equal((await leader()).machine.name, left.machine.name);
  const digests = (await left.engine.docker.listImages()).flatMap(({ RepoDigests = [] }) => RepoDigests);
  t.match(digests.join(), /127\.0\.0\.1:5000\/datagrok\/plugin@sha256:/, "pulled from its own registry");
  await eventually("the container that ran on the lost machine", async () => (await square(client, ids["warm"] ?? "")).status === 200, 120_000);
  t.comment(`what was warm was served ${Math.round(performance.now() - from)} ms after the loss`);

  lost.machine.plug();
  await eventually(
    "its control process to be a standby",
    async () => (await statusAt(lost.machine, "/livez")) === 200 && (await statusAt(lost.machine, "/readyz")) === 503,
    120_000,
  );
  const back = clients.get(lost) as BerthClient;
  await eventually("its gateways to follow", async () => (await back.call("/users/current")).status === 200);
  t.same(await square(back, ids["warm"] ?? ""), SQUARED);
});

t.test("a step-down moves the lead to the other one, and nothing is left after down", async (t) => {
  const before = await leader();
  await on(before, "docker compose exec control berth control step-down");
  await eventually("the other to lead", async () => (await statusAt(other(before).machine, "/readyz")) === 200);
  t.equal((await (clients.get(before) as BerthClient).call("/users/current")).status, 200);
  // A swarm that is choosing a leader refuses it.
  for (const each of machines) await eventually("the end of all", () => on(each, "docker compose down --volumes").then(() => true, () => undefined)); // prettier-ignore
  for (const { engine } of machines)
    t.same(await engine.docker.listContainers({ all: true, filters: { label: ["com.docker.compose.project=berth"] } }), []);
});
