import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { ADMIN_KEY } from "../fixtures/berth.ts";
import { openEngine } from "../fixtures/engine.ts";
import { eventually } from "../fixtures/eventually.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { run } from "../gateway/registry/run.ts";
import { controlOf, openServePair, registryOf } from "./fixtures/serve-pair.ts";

/** The real docker client at a pair of machines, whose registries have one storage. */
t.setTimeout(300_000);

/** docker sends five at a time. */
const LAYERS = 24;
const LAYER_BYTES = 2 * 1_048_576;

const storage = join(tempFolder(t), "images");
mkdirSync(storage);
const { machines, leader } = await openServePair(t, { BERTH_REGISTRY_STORAGE: `file://${storage}`, BERTH_ACCESS_LOG: "stdout" });
const config = tempFolder(t);
const env = { DOCKER_CONFIG: config, DOCKER_HOST: openEngine().host };
const docker = (args: string[], input = "") => run("docker", args, { env, input });
const addressOf = (machine: (typeof machines)[number]) => new URL(registryOf(machine)).host;

t.test("docker login, a push and a pull go on through kill -9 of the leader", async (t) => {
  const folder = tempFolder(t);
  const files = Array.from({ length: LAYERS }, (_, at) => `layer-${at}`);
  for (const name of files) writeFileSync(join(folder, name), randomBytes(LAYER_BYTES));
  writeFileSync(join(folder, "Dockerfile"), ["FROM scratch", ...files.map((name) => `COPY ${name} /`)].join("\n"));
  const [first, second] = machines.map((machine) => `${addressOf(machine)}/app/failover:1`) as [string, string];
  const built = await run("docker", ["build", "-q", "-t", first, folder], { env: { ...env, DOCKER_BUILDKIT: "0" } });
  t.equal(built.code, 0, built.output);
  t.teardown(() => docker(["image", "rm", "-f", first, second]));
  const login = (machine: (typeof machines)[number]) => docker(["login", addressOf(machine), "-u", "any", "--password-stdin"], ADMIN_KEY);
  for (const machine of machines) t.match(await login(machine), { code: 0, output: /Login Succeeded/ });

  const before = await leader();
  const pid = controlOf(before);
  const push = spawn("docker", ["push", first], { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [push.stdout, push.stderr]) stream.setEncoding("utf8").on("data", (piece: string) => void (output += piece));
  const ended = new Promise<number | null>((resolve) => void push.once("close", resolve));
  await eventually("a layer to be pushed", () => output.includes(": Pushed"));
  process.kill(pid, "SIGKILL");
  t.notMatch(output, /digest: sha256:/, "the push has not ended");
  const logins = Promise.all(machines.map(login));
  t.equal(await ended, 0, output);
  t.match(output, /1: digest: sha256:/);
  for (const answer of await logins)
    t.match(answer, { code: 0, output: /Login Succeeded/ }, { outputs: machines.map(({ berth }) => berth.output()) });

  await docker(["image", "rm", "-f", first]);
  const pulled = await docker(["pull", second]);
  t.match(pulled, { code: 0 }, pulled.output);
  t.match(await docker(["image", "inspect", "--format", "{{len .RootFS.Layers}}", second]), { code: 0, output: new RegExp(`^${LAYERS}$`, "m") });
  t.match(before.berth.output(), /a process died and is started again/);
});
