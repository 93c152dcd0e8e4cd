import { execFileSync } from "node:child_process";
import t, { type Test } from "tap";

import { openEngine } from "../../fixtures/engine.ts";
import { buildRegistryImage } from "../../fixtures/images.ts";
import { findDistribution } from "../../../processes/distribution/distribution-program.ts";
import { openOwn } from "./own-registry.ts";
import { MANIFEST } from "./registry-client.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** A registry of berth's own where Distribution is no program on the PATH but an image of the engine. */

async function openOnEngine(t: Test) {
  const { docker, host } = openEngine();
  const image = await buildRegistryImage(docker);
  const own = await openOwn(t, { BERTH_DRIVER: "docker", BERTH_REGISTRY_IMAGE: image, DOCKER_HOST: host, PATH: "/nowhere" });
  const containers = async () => (await docker.listContainers({ all: true, filters: { label: ["berth.registry"] } })).map(({ Id }) => Id);
  return { docker, own, containers };
}

t.test("the registry's image is run where there is no program: pushed to, collected, started again, and gone with berth", async (t) => {
  const { docker, containers, own } = await openOnEngine(t);
  const { berth, data, push, status, command } = own;
  t.match(berth.output(), /the registry is Distribution 2/);
  const there = (tag: string) => status(`/v2/datagrok/a/manifests/${tag}`, { headers: { accept: MANIFEST } });
  for (const tag of ["1", "2"]) await push("datagrok/a", tag, `layer of ${tag}`);
  const [first = "", ...others] = await containers();
  t.same(others, []);
  const { NetworkSettings } = await docker.getContainer(first).inspect();
  t.same(Object.keys(NetworkSettings.Networks), ["none"], "it is reached only by its socket");

  t.match(await command("retain", "--keep", "1"), { code: 0, out: /removed/ });
  t.match(await command("gc", "--dry-run"), { code: 0, out: /^Would remove 2 / });
  t.match(await command("gc"), { code: 0, out: /^Removed 2 / });
  t.same([await there("1"), await there("2")], [404, 200]);

  const [second = ""] = await containers();
  await docker.getContainer(second).kill();
  await eventually("another container", async () => (await there("2").catch(() => 0)) === 200);
  await push("datagrok/a", "3", "layer of 3");
  t.notOk((await containers()).includes(second));

  // As a crash leaves it: what ran it is gone, and the container is not.
  const [third = ""] = await containers();
  for (const pid of runners(data)) process.kill(pid, "SIGKILL");
  await eventually("its end", async () => !(await containers()).includes(third));
  await eventually("another container", async () => (await there("3").catch(() => 0)) === 200);
  t.equal((await containers()).length, 1);

  await berth.stop();
  t.same(await containers(), []);
  t.match(await command("gc"), { code: 0, out: "There is no garbage.\n" });
  t.same(await containers(), []);
});

t.test("its container ends with a berth that is killed, too", async (t) => {
  const { own, containers } = await openOnEngine(t);
  t.equal((await containers()).length, 1);
  await own.berth.kill();
  await eventually("no container", async () => (await containers()).length === 0);
});

t.test("an unavailable image is reported, with the alternatives", async (t) => {
  const { host } = openEngine();
  const run = { image: "127.0.0.1:1/no/such:image", engine: { host }, owner: "/nowhere", mounts: [] };
  await t.rejects(findDistribution("/nowhere", run), { code: "REGISTRY_PROGRAM_MISSING", message: /docker-registry.*127\.0\.0\.1:1/ });
});

/** What runs the image, for the registry on this data folder: a file of the source tree, or a command of the bundle. */
function runners(data: string): number[] {
  const lines = execFileSync("ps", ["-eo", "pid=,args="], { encoding: "utf8" }).split("\n");
  return lines.filter((line) => /run-image\.ts|registry-image/.test(line) && line.includes(data)).map((line) => Number.parseInt(line, 10));
}
