import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { ADMIN_KEY, type Berth, type Entity, startBerth, zipOf } from "../fixtures/berth.ts";
import { openEngine } from "../fixtures/engine.ts";
import { buildTestImages, tagOwnImage } from "../fixtures/images.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { openBetween } from "../gateway/datagrok/stand.ts";
import { openStand as openServer, packageOf } from "../program/rights/fixtures/stand.ts";
import { eventually, PATIENCE_MS } from "../fixtures/eventually.ts";

/**
 * `berth import` on a real Docker engine. The server that is left is another berth, which test/contract holds against the clients' calls. What it believes
 * to run are containers that were made by hand, as grok_spawner makes them: on a network of their own, and with no label of berth's.
 */
const ROOT = join(import.meta.dirname, "../..");
const FOLDERS = ["square", "retaken", "removed", "theirs", "asleep"] as const;
type Folder = (typeof FOLDERS)[number];
type ServerContainer = Record<string, unknown>;

const engine = openEngine();
const images = await buildTestImages(engine.docker, ["onDemand"]);
const own = Object.fromEntries(
  await Promise.all(FOLDERS.map(async (folder) => [folder, await tagOwnImage(engine.docker, images.onDemand, `plugin-${folder}`)] as const)),
);
const network = `berth-import-${process.pid}`;
const env = { BERTH_DRIVER: "docker", BERTH_DOCKER_NETWORK: network, GROK_SPAWNER_ENVIRONMENT: `import-${process.pid}`, BERTH_SHELL: "on" };

/** The demo's files, which that server runs as processes, and the image that the engine has. */
function files(): Record<string, string> {
  const all = packageOf("plugin", FOLDERS);
  for (const folder of FOLDERS) {
    all[`dockerfiles/${folder}/image.json`] = JSON.stringify({ image: own[folder], fallback: false });
    all[`dockerfiles/${folder}/container.json`] = JSON.stringify({ on_demand: folder !== "asleep", port: 15353 });
  }
  return all;
}

async function openThere(t: Test) {
  const server = await openServer(t);
  await server.publish("plugin", files(), { authorization: `Dev ${server.berth.key}` });
  const started = FOLDERS.map(async (folder) => {
    const id = await server.ready(`plugin-${folder}`);
    if (folder !== "asleep") await server.berth.call(`/docker/containers/${id}/run?awaitStart=true`);
    return [folder, await server.berth.container(`plugin-${folder}`)] as const;
  });
  const containers = Object.fromEntries(await Promise.all(started)) as Record<Folder, Entity>;
  const between = await openBetween(t, server.berth.base);
  /** What it tells of containers, otherwise than it is. */
  const tells = (edit: ((entities: ServerContainer[]) => ServerContainer[]) | undefined) => {
    between.instead = (incoming, answer) => {
      if (edit === undefined || !incoming.url?.startsWith("/api/docker/containers?")) return false;
      void fetch(`${server.berth.base}${incoming.url}`, { headers: { authorization: incoming.headers.authorization ?? "" } })
        .then(async (response) =>
          answer
            .writeHead(response.status, { "content-type": "application/json" })
            .end(JSON.stringify(edit((await response.json()) as ServerContainer[]))),
        )
        .catch((error: unknown) => answer.destroy(error as Error));
      return true;
    };
  };
  return { key: server.berth.key, url: between.base, containers, tells };
}

async function makeByHand(name: string, Labels: Record<string, string> = {}) {
  const HostConfig = { NetworkMode: `${network}-foreign` };
  const made = await engine.docker.createContainer({ Image: images.onDemand, name, HostConfig, Labels });
  await made.start();
  return made;
}

async function openHere(t: Test) {
  const data = tempFolder(t);
  const foreign = await engine.docker.createNetwork({ Name: `${network}-foreign`, Driver: "bridge" });
  let berth = await startBerth({ data, env });
  t.teardown(async () => {
    await berth.stop();
    const left = [
      ...(await engine.docker.listContainers({ all: true, filters: { label: [`berth.environment=${env.GROK_SPAWNER_ENVIRONMENT}`] } })),
      ...(await engine.docker.listContainers({ all: true, filters: { network: [`${network}-foreign`] } })),
    ];
    await Promise.all(left.map((one) => engine.docker.getContainer(one.Id).remove({ force: true })));
    await foreign.remove();
    await engine.docker.getNetwork(network).remove();
  });
  const run = (args: string[], more: Record<string, string> = {}, input = "") =>
    new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
      const variables = { PATH: process.env["PATH"] ?? "", BERTH_DATA: join(data, "berth-data"), BERTH_ADMIN_KEY: ADMIN_KEY, ...more };
      const options = { cwd: data, env: variables, timeout: PATIENCE_MS };
      const child = execFile(process.execPath, [join(ROOT, "berth.ts"), "import", ...args], options, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : 1, stdout, stderr }),
      );
      child.stdin?.end(input);
    });
  return {
    data,
    run,
    berth: () => berth,
    restart: async () => {
      await berth.kill();
      berth = await startBerth({ data, env });
    },
  };
}

t.test("containers of another server are taken over, those that run without a restart", async (t) => {
  const [there, here] = await Promise.all([openThere(t), openHere(t)]);
  const serviceOf = (folder: Folder) => there.containers[folder].serviceName;
  const [squareMade, retakenMade, removedMade, theirsMade] = await Promise.all([
    makeByHand(serviceOf("square")),
    makeByHand(serviceOf("retaken")),
    makeByHand(serviceOf("removed")),
    makeByHand(serviceOf("theirs"), { "berth.container": "another", "berth.store": "another" }),
  ]);
  const made = { square: squareMade, retaken: retakenMade, removed: removedMade, theirs: theirsMade };
  const startedAt = (await made.square.inspect()).State.StartedAt;
  const keyFile = join(here.data, "there.key");
  writeFileSync(keyFile, `${there.key}\n`);
  const find = async (folder: Folder) => (await (await here.berth().call(`/docker/containers/${there.containers[folder].id}`)).json()) as Entity;
  const square = (folder: Folder) => here.berth().call(`/docker/containers/proxy/${there.containers[folder].id}/square?number=5`);
  const count = async (berth: Berth) => Number(await (await berth.call("/docker/containers/count")).text());
  await here.berth().call("/users", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ login: "ada" }) });

  t.test("the plan is shown and confirmed before anything is done", async (t) => {
    there.tells((entities) => entities.map((one) => ({ ...one, author: { login: "ada" } })));
    const dry = await here.run([there.url, "--key-file", keyFile, "--adopt", "--dry-run"]);
    t.equal(dry.code, 0, dry.stderr);
    t.match(dry.stdout, new RegExp(`adopt +container +plugin-square +${there.containers.square.id} +started +ada`));
    const unsure = await here.run([there.url, "--key-file", "-", "--adopt"], {}, there.key);
    t.equal(unsure.code, 1);
    t.match(unsure.stdout, /plugin-square/, "the key on standard input was taken");
    t.equal(await count(here.berth()), 0);
  });

  t.test("what cannot be read stops all of it, and is named", async (t) => {
    there.tells((entities) => entities.map((one) => (one["name"] === "plugin-asleep" ? { ...one, serviceName: 5 } : one)));
    const wrong = await here.run([there.url, "--key-file", keyFile, "--yes"]);
    t.equal(wrong.code, 1);
    t.match(wrong.stderr, new RegExp(`plugin-asleep.*${there.containers.asleep.id}.*serviceName`));
    there.tells(undefined);
    t.equal((await here.run([there.url, "--yes"], { BERTH_DATAGROK_KEY: "wrong-dev-key" })).code, 1);
    t.equal(await count(here.berth()), 0);
  });

  t.test("their ids stay, and what runs is called through berth as it is", async (t) => {
    const done = await here.run([`${there.url}/api`, "--adopt", "--yes"], { BERTH_DATAGROK_KEY: there.key });
    t.equal(done.code, 0, done.stderr);
    t.notOk([done.stdout, done.stderr].join("").includes(there.key));
    const { status, serviceName } = await find("square");
    t.same([status, serviceName], ["started", there.containers.square.serviceName]);
    const answer = await square("square");
    t.equal(answer.status, 200);
    t.same(await answer.json(), { result: 25 });
    t.equal((await made.square.inspect()).State.StartedAt, startedAt);
    t.match(await (await here.berth().call(`/docker/containers/${there.containers.square.id}/logs`)).text(), "square listens");
    const shell = await fetch(`${here.berth().api}/docker/containers/${there.containers.square.id}/exec`, {
      headers: { authorization: `Dev ${ADMIN_KEY}` },
    });
    t.match(await shell.json(), { isAvailable: false, reason: /berth did not start plugin-square/ });
    t.equal((await find("theirs")).status, "stopped by system", "what another berth made is not taken over");
    t.equal((await made.theirs.inspect()).State.Running, true);
    t.equal((await find("asleep")).status, "stopped by user");
    t.equal((await square("asleep")).status, 400);
  });

  t.test("done again, it leaves what is here as it is", async (t) => {
    const again = await here.run([there.url, "--key-file", keyFile, "--adopt", "--yes"]);
    t.equal(again.code, 0);
    t.notMatch(again.stdout, /^(import|adopt)/m);
    t.equal(await count(here.berth()), FOLDERS.length);
  });

  t.test("a berth that comes back knows them still, and takes none for an orphan", async (t) => {
    await here.restart();
    t.equal((await square("square")).status, 200);
    t.equal((await made.square.inspect()).State.StartedAt, startedAt);
    const orphans = await fetch(`${here.berth().api}/admin/orphans`, { headers: { authorization: `Dev ${ADMIN_KEY}` } });
    const services = ((await orphans.json()) as { service: string }[]).map(({ service }) => service);
    // Other tests have theirs on the same engine.
    const ours = services.filter((service) => Object.values(there.containers).some(({ serviceName }) => serviceName === service));
    t.same(ours, [there.containers.theirs.serviceName], "but for what bears another berth's labels");
  });

  t.test("one that was stopped is gone, and wakes as berth's own", async (t) => {
    await here.berth().call(`/docker/containers/${there.containers.square.id}/stop?awaitStop=true`);
    await t.rejects(made.square.inspect());
    t.equal((await square("square")).status, 200);
    const { serviceName } = await find("square");
    t.not(serviceName, there.containers.square.serviceName);
    const { Config } = await engine.docker.getContainer(serviceName).inspect();
    t.equal(Config.Labels["berth.container"], there.containers.square.id);
  });

  t.test("a container of a foreign owner that has taken a name is not touched", async (t) => {
    await made.retaken.remove({ force: true });
    const handMade = await makeByHand(there.containers.retaken.serviceName);
    await eventually("another to run in its place", async () => {
      const { status } = await square("retaken");
      return status === 200 && (await find("retaken")).serviceName !== there.containers.retaken.serviceName ? true : undefined;
    });
    await here.berth().call(`/docker/containers/${there.containers.retaken.id}/stop?awaitStop=true`);
    t.equal((await handMade.inspect()).State.Running, true);
  });

  t.test("one that is deleted here is ended, it and no other", async (t) => {
    t.equal((await here.berth().call(`/docker/containers/${there.containers.removed.id}`, { method: "DELETE" })).status, 200);
    await eventually("it to be gone", () => made.removed.inspect().then(() => undefined, () => true)); // prettier-ignore
  });

  t.test("published here, they keep their ids", async (t) => {
    const body = await zipOf(files());
    const answer = await fetch(`${here.berth().api}/packages/dev/plugin`, { method: "POST", headers: { authorization: `Dev ${ADMIN_KEY}` }, body });
    t.equal(answer.status, 200);
    const { containers } = (await answer.json()) as { containers: Entity[] };
    const ids = new Map(containers.map(({ name, id }) => [name, id]));
    for (const folder of ["square", "retaken", "asleep"] as const) t.equal(ids.get(`plugin-${folder}`), there.containers[folder].id);
  });
});
