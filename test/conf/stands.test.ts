import { execFileSync } from "node:child_process";
import { cpSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { type BerthClient, openClient } from "../fixtures/berth.ts";
import { talkTo } from "../fixtures/talk.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { openOwnEngine } from "../program/recovery/own-engine.ts";
import { run } from "../gateway/registry/run.ts";
import { PLUGIN, standImages } from "./stand-images.ts";
import { eventually } from "../fixtures/eventually.ts";

/**
 * The files by which Docker starts a whole stand, conf/compose and conf/swarm, each started as it is shipped, with the images of conf/docker/Dockerfile, and
 * set up as its page says. The engine is one for this test alone: it is to manage a swarm in the end, and the files' ports are free in its network.
 */
t.setTimeout(600_000);

const SOURCE = join(import.meta.dirname, "../..");
const engine = await openOwnEngine();
t.teardown(() => engine.close());
const { docker, host, there } = engine;
const socket = host.replace("unix://", "");
const folder = tempFolder(t);
cpSync(join(SOURCE, "conf/compose"), join(folder, "compose"), { recursive: true });
const config = tempFolder(t);
const gid = String(statSync(socket).gid);
// Of docker's own settings only the engine: a registry's key goes into a folder of the test's.
const env = { PATH: process.env["PATH"] ?? "", HOME: config, DOCKER_CONFIG: config, DOCKER_HOST: host };

await standImages(t, docker);

/** Runs docker's command as a person would, who stops where it fails. */
async function command(args: readonly string[], options: { input?: string; more?: Record<string, string> } = {}): Promise<string> {
  const { code, output } = await run("docker", args, { ...options, env: { ...env, ...options.more } });
  if (code !== 0) throw new Error(`docker ${args.join(" ")} ended with ${code}:\n${output}`);
  return output;
}

/** The same for several lines, as a page has them. */
async function shell(lines: string): Promise<void> {
  const { code, output } = await run("sh", ["-ec", lines], { env });
  if (code !== 0) throw new Error(`${lines}\nended with ${code}:\n${output}`);
}

const removalCommands = (page: string) => /^## Remove it\n\n```sh\n(.*?)^```/ms.exec(readFileSync(page, "utf8"))?.[1] ?? "false";

const ready = async (base: string, output: () => string) =>
  eventually(`${base} to take requests`, async () => (await fetch(`${base}/readyz`).catch(() => undefined))?.ok).catch((cause: unknown) => {
    throw new Error(output(), { cause });
  });

const imageReady = async (berth: BerthClient, name: string) =>
  eventually(`${name}'s image to be ready`, async () => (await berth.container(name)).dockerfile.status === "ready");

/** A package with two containers that wake on demand. */
const FILES = {
  "package.json": JSON.stringify({ name: "Stand", version: "1.0.0" }),
  "dockerfiles/http/container.json": JSON.stringify({ image: PLUGIN, on_demand: true, memory: 256 }),
  "dockerfiles/ws/container.json": JSON.stringify({ image: PLUGIN, on_demand: true, memory: 256 }),
};

const square = async (berth: BerthClient, name: string, number: number) =>
  (await berth.call(`/docker/containers/proxy/${(await berth.container(name)).id}/square?number=${number}`)).json();

t.test("compose", async (t) => {
  const at = join(folder, "compose");
  writeFileSync(join(at, ".env"), `DOCKER_GID=${gid}\nDOCKER_SOCKET=${socket}\nEDGE_ADDRESS=0.0.0.0\n`);
  writeFileSync(join(at, "berth.env"), "BERTH_LOG_LEVEL=warn\n");
  const compose = async (files: readonly string[], ...args: string[]) =>
    command(["compose", "--progress=plain", ...files.flatMap((file) => ["-f", join(at, file)]), ...args]);
  const output = () => execFileSync("docker", ["compose", "-f", join(at, "compose.yaml"), "logs"], { env, encoding: "utf8" });
  const base = `http://${there}:8080`;
  const siblings = async () => docker.listContainers({ filters: { label: ["berth.environment=berth"] } });
  let key = "";
  let berth: BerthClient;

  await t.test("every file is one that compose takes, alone and together, and without the socket's group it says what is missing", async (t) => {
    for (const files of [["compose.yaml"], ["compose.yaml", "registry.yaml"], ["compose.yaml", "drop-in.yaml"]])
      await compose(files, "config", "--quiet");
    const drop = JSON.parse(await compose(["drop-in.yaml"], "--profile=*", "config", "--format=json")) as {
      services: Record<string, { ports: { target: number; published: string }[] }>;
    };
    const ports = Object.entries(drop.services).map(([name, service]) => [
      name,
      ...service.ports.map(({ published, target }) => `${published}:${target}`),
    ]);
    t.same(ports.map((line) => line.join(" ")).toSorted(), [
      "grok_registry 5000:5000 8082:8080",
      "grok_registry_proxy 5000:5000",
      "grok_spawner 8000:8000",
    ]);
    const without = await run("docker", ["compose", "-f", join(at, "compose.yaml"), "--env-file=/dev/null", "config"], { env });
    t.not(without.code, 0);
    t.match(without.output, /stat -c %g/);
  });

  await t.test("started, berth has a user of its own, and its first key is in its volume", async (t) => {
    await compose(["compose.yaml"], "up", "--detach");
    await ready(base, output);
    await compose(["compose.yaml"], "cp", "berth:/var/lib/berth/admin.key", join(folder, "key"));
    key = readFileSync(join(folder, "key"), "utf8").trim();
    t.match(output(), key, "and it was printed");
    berth = await openClient({ base, key, output });
    const inspected = await docker.getContainer("berth-berth-1").inspect();
    t.match(inspected, { Config: { User: /^(10001:10001)?$/ }, HostConfig: { ReadonlyRootfs: true, RestartPolicy: { Name: "unless-stopped" } } });
    t.match(await compose(["compose.yaml"], "exec", "-T", "berth", "berth", "users", "list"), /admin/);
  });

  await t.test(
    "what is published to it is woken beside it on a network of its own, by a request and by a WebSocket, and publishes no port; berth is healthy",
    async (t) => {
      t.equal((await berth.publish("Stand", FILES)).status, 200);
      for (const name of ["stand-http", "stand-ws"]) await imageReady(berth, name);
      t.same(await siblings(), []);
      t.same(await square(berth, "stand-http", 4), { result: 16 });
      const { received, code } = await talkTo(berth, (await berth.container("stand-ws")).id, "/ws", ["one"], 2);
      t.same(received, ["text:CONNECTED", "text:one"]);
      t.equal(code, 1000);
      for (const { NetworkSettings, Ports } of await siblings()) {
        t.match(Object.keys(NetworkSettings.Networks), [/^z-berth-stand-[0-9a-f]{8}$/]);
        t.ok(Ports.every(({ PublicPort }) => PublicPort === undefined));
      }
      t.equal((await berth.container("stand-http")).address, (await berth.container("stand-http")).serviceName);
      await eventually("it to be healthy", async () => (await docker.getContainer("berth-berth-1").inspect()).State.Health?.Status === "healthy");
    },
  );

  await t.test("down and up again, now with a registry that lets its users in, it knows all that it knew, and what ran went on", async (t) => {
    const before = await siblings();
    t.equal(before.length, 2);
    const { id } = await berth.container("stand-http");
    await compose(["compose.yaml"], "down");
    t.same(await docker.listContainers({ filters: { label: ["com.docker.compose.project=berth"] } }), []);
    await compose(["compose.yaml", "registry.yaml"], "up", "--detach");
    await ready(base, output);
    // Its registry is a process of its own, on a port that the engine takes connections for before it listens.
    const health = ["compose", "-f", join(at, "compose.yaml"), "exec", "-T", "berth", "berth", "health"];
    await eventually("all of it to be there", async () => (await run("docker", health, { env })).code === 0);
    await command(["login", "127.0.0.1:5000", "-u", "any", "--password-stdin"], { input: key });
    berth = await openClient({ base, key, output });
    t.same(await square(berth, "stand-http", 5), { result: 25 });
    t.equal((await berth.container("stand-http")).id, id);
    t.same((await siblings()).map(({ Id }) => Id).toSorted(), before.map(({ Id }) => Id).toSorted());
  });

  await t.test("in the place of grok_spawner and grok_registry it has their names, ports and key", async (t) => {
    writeFileSync(
      join(at, ".env"),
      `${readFileSync(join(at, ".env"), "utf8")}DATAGROK_URL=http://berth:8080/api\nREGISTRY_PORT=5001\nGROK_SPAWNER_ADDRESS=0.0.0.0\nREGISTRY_CONSOLE_ADDRESS=0.0.0.0\n`,
    );
    await compose(["compose.yaml", "drop-in.yaml"], "--profile=grok_spawner", "--profile=grok_registry", "up", "--detach", "--no-recreate");
    const spawner = `http://${there}:8000`;
    await eventually("the spawner", async () => (await fetch(`${spawner}/info`).catch(() => undefined))?.ok);
    const headers = { "x-api-key": "test-x-api-key", "content-type": "application/json" };
    const deployed = await fetch(`${spawner}/deploy/cvm/spawned/1`, { method: "POST", headers, body: JSON.stringify({ image: PLUGIN }) });
    t.match(await deployed.json(), { address: "berth-spawned", port: 5000 });
    const basic = `Basic ${Buffer.from(`any:${key}`).toString("base64")}`;
    const signed = (await (await fetch(`${base}/api/docker/token`, { headers: { authorization: basic } })).json()) as { token: string };
    const refusal = await (await fetch(`${spawner}/services`, { headers: { authorization: `Bearer ${signed.token}` } })).json();
    t.match(refusal, { code: "TOKEN_INVALID", message: /spawner|audience|aud/ });
    t.notMatch(refusal, { message: /DATAGROK_URL/ }, "it has a server whose tokens it verifies");
    t.ok((await docker.getContainer("berth-spawned").inspect()).NetworkSettings.Networks["datagrok"]);
    t.match((await docker.getContainer("berth-grok_spawner-1").inspect()).HostConfig, { ReadonlyRootfs: true, CapDrop: ["ALL"] });
    const registry = `http://${there}:5001`;
    await eventually("the registry", async () => (await fetch(`${registry}/readyz`).catch(() => undefined))?.ok);
    const { token } = (await (await fetch(`${registry}/token?service=docker-registry`, { headers: { authorization: basic } })).json()) as {
      token: string;
    };
    t.equal((await fetch(`${registry}/v2/`)).status, 401);
    t.equal((await fetch(`${registry}/v2/`, { headers: { authorization: `Bearer ${token}` } })).status, 200);
    const page = `http://${there}:8082`;
    t.same(await (await fetch(`${page}/console/rooms`)).json(), { rooms: ["registry"], providers: [] });
    t.equal((await fetch(`${page}/console/sign-in`, { method: "POST", headers: { authorization: `Dev ${key}` } })).status, 200);
  });

  await t.test("taken away as its page says, nothing of it is left", async (t) => {
    const files = "COMPOSE_FILE=compose.yaml:registry.yaml:drop-in.yaml\nCOMPOSE_PROFILES=grok_spawner,grok_registry\n";
    writeFileSync(join(at, ".env"), `${readFileSync(join(at, ".env"), "utf8")}${files}`);
    await shell(`cd ${at}\n${removalCommands(join(SOURCE, "docs/deploy/compose.md"))}`);
    t.same(
      (await docker.listContainers({ all: true })).flatMap(({ Names }) => Names),
      [],
    );
    t.same((await docker.listNetworks()).map(({ Name }) => Name).toSorted(), ["bridge", "host", "none"]);
    t.same(
      (await docker.listVolumes()).Volumes.filter(({ Name }) => Name.startsWith("berth")),
      [],
    );
  });
});

t.test("swarm", async (t) => {
  await docker.swarmInit({ AdvertiseAddr: there, ListenAddr: `${there}:2377` });
  const base = `http://${there}:8080`;
  const key = "key-of-the-first-user";
  const stack = join(SOURCE, "conf/swarm/stack.yaml");
  const output = () => execFileSync("docker", ["service", "logs", "berth_berth"], { env, encoding: "utf8" });
  const services = async () => (await docker.listServices()).flatMap(({ Spec }) => Spec?.Name ?? []);
  const own = async () => (await docker.listContainers({ filters: { label: ["com.docker.swarm.service.name=berth_berth"] } })).map(({ Id }) => Id);
  const deploy = async () =>
    command(["stack", "deploy", "--resolve-image=never", "-c", stack, "berth"], { more: { DOCKER_GID: gid, DOCKER_SOCKET: socket } });
  let berth: BerthClient;

  await t.test("a stack with secrets starts containers on demand, and no other service sees the secrets", async (t) => {
    const [node] = (await docker.listNodes()) as { ID: string }[];
    await command(["node", "update", "--label-add", "berth=data", node?.ID ?? ""]);
    await command(["secret", "create", "berth_admin_key", "-"], { input: `${key}\n` });
    await command(["secret", "create", "berth_credentials_key", "-"], { input: "0".repeat(64) });
    await deploy();
    await ready(base, output);
    berth = await openClient({ base, key, output });
    t.equal((await berth.publish("Stand", FILES)).status, 200);
    for (const name of ["stand-http", "stand-ws"]) await imageReady(berth, name);
    t.same(await square(berth, "stand-http", 4), { result: 16 });
    const { received } = await talkTo(berth, (await berth.container("stand-ws")).id, "/ws", ["one"], 2);
    t.same(received, ["text:CONNECTED", "text:one"]);
    const [id = ""] = await own();
    const inspected = await docker.getContainer(id).inspect();
    t.notMatch(JSON.stringify(inspected), key);
    t.match(inspected.Config.User, /^10001:/);
    t.notMatch(output(), key);
    const { serviceName } = await berth.container("stand-http");
    const service = await docker.getService(serviceName).inspect();
    const network = await docker.getNetwork("datagrok").inspect();
    t.match(network, { Driver: "overlay", Attachable: true });
    t.same(
      service.Spec.TaskTemplate.Networks.map(({ Target }: { Target: string }) => Target),
      [network.Id],
    );
    t.same(service.Endpoint.Ports ?? [], []);
  });

  await t.test("restarted by the swarm, one after the other, it knows all that it knew", async (t) => {
    const [before] = await own();
    const { id } = await berth.container("stand-http");
    await command(["service", "update", "--force", "--detach", "berth_berth"]);
    let most = 0;
    await eventually("another one in its place", async () => {
      const now = await own();
      most = Math.max(most, now.length);
      return now.length === 1 && now[0] !== before ? true : undefined;
    });
    t.equal(most, 1, "never two at a time");
    await ready(base, output);
    berth = await openClient({ base, key, output });
    t.equal((await berth.container("stand-http")).id, id);
    t.same(await square(berth, "stand-http", 5), { result: 25 });
  });

  await t.test("taken away as its page says, no service is left", async (t) => {
    const removal = removalCommands(join(SOURCE, "docs/deploy/swarm.md"));
    // As the page says: while containers are about to end the network may be in use, and the last line is for once more.
    const again = removal.trim().split("\n").at(-1) ?? "";
    const well = (lines: string) => shell(lines).then(() => true, () => undefined); // prettier-ignore
    if (!(await well(removal))) await eventually("the network to go", () => well(again));
    const isThere = async () => (await docker.listNetworks()).some(({ Name }) => Name === "datagrok");
    await eventually("the node to give it up", async () => ((await isThere()) ? undefined : true));
    t.same(await services(), []);
  });
});
