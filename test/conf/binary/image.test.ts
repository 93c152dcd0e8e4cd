import { statSync } from "node:fs";
import t from "tap";
import { ADMIN_KEY, type Entity, zipOf } from "../../fixtures/berth.ts";
import { openEngine } from "../../fixtures/engine.ts";
import { buildTestImages } from "../../fixtures/images.ts";
import { buildBerthImages, type ImageTarget } from "./fixtures/berth-images.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { execFileSync } from "node:child_process";
import { runIn } from "../../fixtures/engine.ts";

/** The images of conf/docker/Dockerfile on the real engine, each started as it is, in its role. */
t.setTimeout(240_000);

const engine = openEngine();
const { onDemand } = await buildTestImages(engine.docker, ["onDemand"]);
const socket = engine.host.replace("unix://", "");
const name = `berth-image-${process.pid}`;
const containers: string[] = [];
const image = (target: ImageTarget) => `${name}:${target}`;
const DROP_INS = ["grok_spawner", "grok_registry_proxy", "grok_registry"] as const;

/** What the classic builder leaves of each stage: images without a name, which would fill the engine's disk run by run. */
const unnamed = async () => (await engine.docker.listImages({ filters: { dangling: ["true"] } })).map(({ Id }) => Id);
const unnamedBefore = await unnamed();
const { bytes } = await buildBerthImages(engine.docker, image, DROP_INS);

t.teardown(async () => {
  const left = await engine.docker.listContainers({ all: true, filters: { label: [`berth.environment=${name}`] } });
  await Promise.all([...containers, ...left.map(({ Id }) => Id)].map((id) => engine.docker.getContainer(id).remove({ force: true, v: true })));
  const networks = (await engine.docker.listNetworks()).filter((one) => one.Name.startsWith(name));
  await Promise.all(networks.map(({ Id }) => engine.docker.getNetwork(Id).remove()));
  for (const target of [...DROP_INS, "berth", "debian", "distribution"] as const) await engine.docker.getImage(image(target)).remove({ force: true });
  // Each holds those that it was made from: the newest first.
  for (const id of await unnamed()) if (!unnamedBefore.includes(id)) await engine.docker.getImage(id).remove({ force: true });
});

async function start(ref: string, env: readonly string[], host: object = {}) {
  const container = await engine.docker.createContainer({
    Image: ref,
    Env: [...env],
    HostConfig: { ReadonlyRootfs: true, Tmpfs: { "/tmp": "" }, ...host },
  });
  containers.push(container.id);
  await container.start();
  return container;
}

t.test("the image is small, has a user of its own and no shell, and says whether it is healthy", async (t) => {
  const ref = image("berth");
  const inspected = await engine.docker.getImage(ref).inspect();
  t.ok(inspected.Size < 1.1 * bytes, `${inspected.Size} bytes`);
  t.match(inspected.Config, { User: "10001:10001", Healthcheck: { Test: ["CMD", "berth", "health"] } });

  const berth = await start(
    ref,
    ["DOCKER_HOST=unix:///engine.sock", `BERTH_ADMIN_KEY=${ADMIN_KEY}`, `BERTH_DOCKER_NETWORK=${name}`, `GROK_SPAWNER_ENVIRONMENT=${name}`],
    { Binds: [`${socket}:/engine.sock`], GroupAdd: [String(statSync(socket).gid)] },
  );
  const healthy = async () => ((await berth.inspect()).State.Health?.Status === "healthy" ? true : undefined);
  await eventually("it to be healthy", healthy).catch(async (error: unknown) => {
    throw new Error(`${String(error)}\n${String(await berth.logs({ stdout: true, stderr: true }))}`);
  });

  const shell = await berth.getArchive({ path: "/bin/sh" }).then(
    () => 200,
    (error: { statusCode: number }) => error.statusCode,
  );
  t.equal(shell, 404);
  const own = Object.values((await berth.inspect()).NetworkSettings.Networks)[0]?.IPAddress;
  const api = `http://${own}:8080/api`;
  const headers = { authorization: `Dev ${ADMIN_KEY}` };
  const { token } = (await (await fetch(`${api}/users/login/dev?administration=true`, { method: "POST", headers })).json()) as { token: string };
  const body = await zipOf({
    "package.json": JSON.stringify({ name: "inside", version: "1.0.0" }),
    "dockerfiles/app/container.json": JSON.stringify({ image: onDemand, on_demand: true }),
  });
  t.equal((await fetch(`${api}/packages/dev/inside`, { method: "POST", headers, body })).status, 200);
  const { id } = await eventually("the image to be ready", async () => {
    const [entity] = (await (await fetch(`${api}/docker/containers`, { headers: { authorization: token } })).json()) as Entity[];
    return entity?.dockerfile.status === "ready" ? entity : undefined;
  });
  const answer = await fetch(`${api}/docker/containers/proxy/${id}/square?number=4`, { headers: { authorization: token } });
  t.same(await answer.json(), { result: 16 });

  await berth.stop({ t: 20 });
  t.equal((await berth.inspect()).State.ExitCode, 0, "it ends in order after a stop signal");
});

t.test("in the place of grok_registry_proxy it listens on port 5000 in that role", async (t) => {
  const proxy = await start(image("grok_registry_proxy"), ["DATAGROK_URL=http://127.0.0.1:1/api", "REGISTRY_URL=http://127.0.0.1:2"]);
  const own = Object.values((await proxy.inspect()).NetworkSettings.Networks)[0]?.IPAddress;
  const answer = await eventually("a challenge", () => fetch(`http://${own}:5000/v2/`).catch(() => undefined));
  t.equal(answer.status, 401);
  t.match(answer.headers.get("www-authenticate"), /^Bearer realm=/);
});

t.test("in the place of grok_registry it brings a registry, on the volume that this had", async (t) => {
  // Root has no home there that it could write to, and the library of SQLite lies in a file.
  const registry = await start(image("grok_registry"), ["DATAGROK_URL=http://127.0.0.1:1/api"], { Tmpfs: { "/tmp": "exec" } });
  const own = Object.values((await registry.inspect()).NetworkSettings.Networks)[0]?.IPAddress;
  await eventually("it to be ready", async () => (await fetch(`http://${own}:5000/readyz`).catch(() => undefined))?.ok).catch(
    async (error: unknown) => {
      throw new Error(`${String(error)}\n${String(await registry.logs({ stdout: true, stderr: true }))}`);
    },
  );
  t.equal((await fetch(`http://${own}:5000/v2/no/such/manifests/image`)).status, 404, "its upstream answers");
  const inspected = await engine.docker.getImage(image("grok_registry")).inspect();
  t.ok("8080/tcp" in (inspected.Config.ExposedPorts ?? {}), "as that one, it has a page there");
  t.same(await (await fetch(`http://${own}:8080/console/rooms`)).json(), { rooms: ["registry"], providers: [] });
  t.match(await (await fetch(`http://${own}:8080/`)).text(), /<script /);
  const mounts = (await registry.inspect()).Mounts.map(({ Destination }) => Destination);
  t.ok(mounts.includes("/var/lib/registry"));
});

t.test("in the place of grok_spawner it deploys on the engine whose socket it is given, with the key that grok_spawner has", async (t) => {
  const spawner = await start(
    image("grok_spawner"),
    ["DOCKER_HOST=unix:///engine.sock", `BERTH_DOCKER_NETWORK=${name}`, `GROK_SPAWNER_ENVIRONMENT=${name}`],
    {
      Binds: [`${socket}:/engine.sock`],
      GroupAdd: [String(statSync(socket).gid)],
    },
  );
  const own = Object.values((await spawner.inspect()).NetworkSettings.Networks)[0]?.IPAddress;
  const base = `http://${own}:8000`;
  await eventually("it to answer", async () => (await fetch(`${base}/info`).catch(() => undefined))?.ok);
  const headers = { "x-api-key": "test-x-api-key", "content-type": "application/json" };
  const post = async (path: string, body: object) => fetch(`${base}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  t.equal((await fetch(`${base}/services`)).status, 401);
  const deployed = await post("/deploy/cvm/spawned/1", { image: onDemand });
  const { address, port } = (await deployed.json()) as { address: string; port: number };
  t.equal(deployed.status, 200);
  const { NetworkSettings } = await engine.docker.getContainer(address).inspect();
  // Each package has a network of its own on one that berth made.
  const [at] = Object.values(NetworkSettings.Networks).map(({ IPAddress }) => IPAddress);
  t.same(await (await fetch(`http://${at}:${port}/square?number=5`)).json(), { result: 25 });
  t.equal((await post("/deploy/cvm/spawned/0", {})).status, 200);
  t.notMatch(await (await fetch(`${base}/services`, { headers })).text(), /spawned/);
});

/**
 * The line of the product's page (help/develop/under-the-hood/docker-containers.md, "Bare metal / on-prem VM"). Only the key and the tag are filled in, and the
 * port and the path on this machine are others.
 */
const productLine = (container: string, more = "") =>
  `run -d --name ${container} --user root --restart unless-stopped -e X_API_KEY=shared-secret -e GROK_SPAWNER_ENVIRONMENT=${name}
  -e GROK_SPAWNER_FORCE_DOCKER_TYPE_HOST=true -p 127.0.0.1::8000 -v ${socket}:/var/run/docker.sock --network ${datagrok} ${more}
  ${image("grok_spawner")}`.split(/\s+/);
const datagrok = `${name}-datagrok`;
const command = (...args: string[]) => execFileSync("docker", args, { env: { ...process.env, DOCKER_HOST: engine.host }, encoding: "utf8" }).trim();
/** The port on this machine, once it answers there; the engine may choose another one when the container joins a network. */
const publishedPort = (container: string) =>
  eventually(`${container} to answer`, async () => {
    const port = Number(/:(\d+)$/m.exec(command("port", container, "8000"))?.[1]);
    return (await fetch(`http://127.0.0.1:${port}/info`).catch(() => undefined))?.ok ? port : undefined;
  });
const SECRET = { "x-api-key": "shared-secret", "content-type": "application/json" };

t.test("by the product's own docker run line, the server reaches what it deploys, and its first deploy is answered", async (t) => {
  command("network", "create", datagrok);
  // The server: any container on that network.
  const server = command("run", "-d", "--network", datagrok, onDemand);
  containers.push(server);
  const run = (script: string) => runIn(engine.docker, server, ["node", "-e", script]);
  for (const round of [1, 2, 3]) {
    const spawner = `${name}-grok_spawner-${round}`;
    containers.push(command(...productLine(spawner)));
    await t.test(`the first deploy of a fresh spawner through its published port (${round})`, async (t) => {
      const port = await publishedPort(spawner);
      const deployed = await fetch(`http://127.0.0.1:${port}/deploy/cvm/svc${round}/1`, {
        method: "POST",
        headers: SECRET,
        body: JSON.stringify({ image: onDemand }),
      });
      const { serviceName, address, port: at } = (await deployed.json()) as { serviceName: string; address: string; port: number };
      t.equal(deployed.status, 200);
      t.equal(address, `${name}-svc${round}`);
      const { Networks } = (await engine.docker.getContainer(serviceName).inspect()).NetworkSettings;
      t.same(Object.keys(Networks), [datagrok]);
      for (const host of [address, Networks[datagrok]?.IPAddress ?? ""])
        t.match(await run(`fetch("http://${host}:${at}/square?number=6").then((r) => r.text()).then(console.log)`), '{"result":36}', host);
    });
    await t.test(`and from a container on its network, by its name (${round})`, async (t) => {
      const call = (path: string) =>
        `fetch("http://${spawner}:8000${path}", { method: "POST", headers: ${JSON.stringify(SECRET)}, body: ${JSON.stringify(JSON.stringify({ image: onDemand }))} })`;
      const output = await run(`${call(`/deploy/cvm/other${round}/1`)}.then(async (r) => console.log(String(r.status), await r.text()))`);
      t.match(output, new RegExp(`^200 .*"address":"${name}-other${round}"`));
      t.match(await run(`fetch("http://${name}-other${round}:15353/square?number=7").then((r) => r.text()).then(console.log)`), '{"result":49}');
    });
    t.same(Object.keys((await engine.docker.getContainer(spawner).inspect()).NetworkSettings.Networks), [datagrok], "it has joined no other network");
    command("rm", "-f", containers.pop() ?? "");
  }
});

t.test("on another network by BERTH_DOCKER_NETWORK, it has joined before its first deploy, whose answer arrives", async (t) => {
  // In front of the spawner's own network in the alphabet: by the first one the engine publishes ports, and a join sets them up again.
  const other = `a-${name}`;
  command("network", "create", other);
  t.teardown(() => command("network", "rm", other));
  const spawner = `${name}-elsewhere`;
  const id = command(...productLine(spawner, `-e BERTH_DOCKER_NETWORK=${other}`));
  t.teardown(() => command("rm", "-f", id, `${name}-there`));
  const port = await publishedPort(spawner);
  t.same(Object.keys((await engine.docker.getContainer(spawner).inspect()).NetworkSettings.Networks).toSorted(), [other, datagrok]);
  const body = JSON.stringify({ image: onDemand });
  t.equal((await fetch(`http://127.0.0.1:${port}/deploy/cvm/there/1`, { method: "POST", headers: SECRET, body })).status, 200);
  t.same(Object.keys((await engine.docker.getContainer(`${name}-there`).inspect()).NetworkSettings.Networks), [other]);
});

t.test("in a container on two networks, it deploys on both", async (t) => {
  const second = `${name}-second`;
  command("network", "create", second);
  t.teardown(() => command("network", "rm", second));
  const spawner = `${name}-both`;
  command(
    ...productLine(spawner)
      .map((word) => (word === "run" ? "create" : word))
      .filter((word) => word !== "-d"),
  );
  command("network", "connect", second, spawner);
  command("start", spawner);
  t.teardown(() => command("rm", "-f", spawner, `${name}-shared`));
  const port = await publishedPort(spawner);
  const body = JSON.stringify({ image: onDemand });
  t.equal((await fetch(`http://127.0.0.1:${port}/deploy/cvm/shared/1`, { method: "POST", headers: SECRET, body })).status, 200);
  t.same(Object.keys((await engine.docker.getContainer(`${name}-shared`).inspect()).NetworkSettings.Networks).toSorted(), [datagrok, second]);
});
