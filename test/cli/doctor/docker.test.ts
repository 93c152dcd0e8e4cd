import { join } from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { pack } from "tar-stream";
import t from "tap";
import { ADMIN_KEY, startBerth } from "../../fixtures/berth.ts";
import { openEngine } from "../../fixtures/engine.ts";
import { openOwnSwarm } from "../../drivers/swarm/own-swarm.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { look, states } from "./look.ts";

const { docker, host } = openEngine();
const data = tempFolder(t);
const network = `berth-doctor-${process.pid}`;
const own = { BERTH_DRIVER: "docker", DOCKER_HOST: host, BERTH_DOCKER_NETWORK: network, XDG_RUNTIME_DIR: data };
const berth = await startBerth({ data, env: own });
t.teardown(async () => {
  await berth.stop();
  await docker.getNetwork(network).remove();
});
const env = { ...own, BERTH_DATA: join(data, "berth-data"), BERTH_ADMIN_KEY: ADMIN_KEY, BERTH_EDGE_PORT: new URL(berth.base).port };
const left = async () => ({
  images: (await docker.listImages()).flatMap(({ RepoTags }) => RepoTags ?? []).filter((tag) => tag.startsWith("berth-doctor:")),
  containers: await docker.listContainers({ all: true, filters: { network: [network] } }),
});

t.test("a Docker engine without any image gets one made of this very program, and nothing of it stays", async (t) => {
  const rows = await look(t, ["driver", "container", "websocket", "events"], env);
  t.same(states(rows), { driver: "ok", container: "ok", websocket: "ok", events: "ok" }, { rows });
  t.same(await left(), { images: [], containers: [] });
});

/** Has no program at all. */
async function importEmpty(tag: string): Promise<string> {
  const archive = pack();
  archive.entry({ name: "file" }, "no program");
  archive.finalize();
  const importImage = docker.importImage.bind(docker) as unknown as (tar: Readable, options: object) => Promise<Readable>;
  const progress = await importImage(Readable.from(archive), {
    repo: "berth-test/doctor",
    tag,
    changes: 'CMD ["/none"]',
  });
  await text(progress);
  return `berth-test/doctor:${tag}`;
}

t.test("a container that does not start is reported with its log tail, and checks that need it are skipped", async (t) => {
  const image = await importEmpty(String(process.pid));
  t.teardown(() => docker.getImage(image).remove());
  const rows = await look(t, ["driver", "container", "websocket", "events"], env, { image });
  t.same(states(rows), { driver: "ok", container: "wrong", websocket: "not looked at", events: "not looked at" });
  t.same(await left(), { images: [], containers: [] });
});

t.test("a network on which berth does not keep containers apart is warned of", async (t) => {
  const theirs = `${network}-theirs`;
  await docker.createNetwork({ Name: theirs, Driver: "bridge" });
  t.teardown(() => docker.getNetwork(theirs).remove());
  const { driver } = await look(t, ["driver"], { ...env, BERTH_DOCKER_NETWORK: theirs });
  t.match(driver, { state: "ok", problems: [{ kind: "warning", what: /did not make/, todo: /BERTH_DOCKER_NETWORK/ }] });
  const ours = (await look(t, ["driver"], env))["driver"];
  // Containers of other tests on this engine may have a warning of their own.
  t.match(ours, { state: "ok" });
  t.same(
    ours?.problems.filter(({ what }) => !/started by an older berth/.test(what)),
    [],
  );
});

t.test("an engine that manages no swarm is none for the driver of one", async (t) => {
  t.same(states(await look(t, ["driver"], { ...env, BERTH_DRIVER: "swarm" })), { driver: "wrong" });
});

t.test("a swarm of one node gets that image too", async (t) => {
  const { docker, host } = await openOwnSwarm(t);
  const data = tempFolder(t);
  const own = { BERTH_DRIVER: "swarm", DOCKER_HOST: host, XDG_RUNTIME_DIR: data };
  const berth = await startBerth({ data, env: own });
  t.teardown(() => berth.stop());
  const env = { ...own, BERTH_DATA: join(data, "berth-data"), BERTH_ADMIN_KEY: ADMIN_KEY, BERTH_EDGE_PORT: new URL(berth.base).port };
  const rows = await look(t, ["driver", "container", "websocket"], env);
  t.same(states(rows), { driver: "ok", container: "ok", websocket: "ok" }, { rows });
  t.same([await docker.listServices(), await docker.listImages()], [[], []]);
});
