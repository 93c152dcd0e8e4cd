import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import Docker from "dockerode";
import t from "tap";
import { dockerDriver } from "../../../drivers/docker/driver.ts";
import { systemClock } from "../../../lib/clock.ts";
import { openLog } from "../../../lib/log.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { buildTestImages, type TestImage } from "../../fixtures/images.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { conformance } from "../conformance.ts";
import { dockerWorld } from "./container-actions.ts";

const folder = tempFolder(t);
const socket = join(folder, "s");
const own = ["--root", join(folder, "root"), "--runroot", join(folder, "run"), "--tmpdir", folder, "--network-config-dir", join(folder, "net")];
const plain = ["--cgroup-manager", "cgroupfs", "--events-backend", "file"];
// Should this process be killed outright, the kernel ends it.
const service = spawn("setpriv", ["--pdeathsig=TERM", "podman", ...own, ...plain, "system", "service", "--time=0", `unix://${socket}`], {
  env: { ...process.env, TMPDIR: folder },
  stdio: ["ignore", "ignore", "pipe"],
});
const log: string[] = [];
service.stderr.setEncoding("utf8").on("data", (text: string) => log.push(text));
const ended = new Promise((resolve) => service.once("exit", resolve));
const docker = new Docker({ socketPath: socket });
const silent = openLog({ level: "silent", name: "test" });
const network = `berth-test-${randomUUID().slice(0, 8)}`;

t.teardown(async () => {
  for (const { Id } of await docker.listContainers({ all: true })) await docker.getContainer(Id).remove({ force: true });
  await docker.pruneNetworks();
  service.kill();
  await ended;
});

t.test("the docker driver runs containers on Podman", async (t) => {
  const answers = () => docker.ping().then(() => true, () => false); // prettier-ignore
  await eventually(() => `Podman answers: ${log.join("")}`, answers);
  // The driver's first choice is taken, which Podman says in a sentence of its own; perhaps by a network of another test already.
  const first = { Name: `${network}-other`, IPAM: { Config: [{ Subnet: "10.201.0.0/20" }] } };
  await docker.createNetwork(first).catch((error: unknown) => t.match(String(error), /already used/));
  const imageOf = async (name: TestImage) => (await buildTestImages(docker, [name]))[name];
  const { left, kill } = dockerWorld(docker, { network, image: await imageOf("onDemand"), squatter: () => `squatter-${randomUUID()}` });
  await conformance(t, {
    open: () => dockerDriver({ host: `unix://${socket}`, network, reach: "auto", clock: systemClock(), log: silent }),
    image: async (name) => ({ ref: await imageOf(name) }),
    unknown: async () => ({ ref: "localhost/absent/nothing:1" }),
    kill,
    left,
    only: ["life", "changed", "twice", "paused"],
  });
});
