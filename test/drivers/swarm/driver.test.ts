import type { Service } from "dockerode";
import t from "tap";
import { systemClock } from "../../../lib/clock.ts";
import type { Registry } from "../../../drivers/driver.ts";
import { openEngine } from "../../../drivers/engine/engine.ts";
import { connectToNetwork } from "../../../drivers/engine/reach.ts";
import { ensureOverlay } from "../../../drivers/swarm/create-destroy.ts";
import { swarmDriver, type SwarmOptions } from "../../../drivers/swarm/driver.ts";
import { openLog } from "../../../lib/log.ts";
import { buildTestImages } from "../../fixtures/images.ts";
import { openRegistry } from "../../fixtures/registry.ts";
import { call, conformance, get, labelsFor, namer, rejectsWith, specOf, text } from "../conformance.ts";
import { BACKENDS } from "../conformance/backends.ts";
import { openGate } from "../engine/engine-gate.ts";
import { openOwnSwarm } from "./own-swarm.ts";
import { eventually } from "../../fixtures/eventually.ts";

// Swarm takes 2 s to stop a task and as long again to remove its container, dozens of times here.
t.setTimeout(600_000);

const log = openLog({ level: "silent", name: "test" });
const { docker, host, here } = await openOwnSwarm(t, ["NVIDIA-GPU=made-up-1"]);
const images = await buildTestImages(docker);
const network = "berth-swarm-test";
const name = namer("swarm");
const LOGIN = { username: "reader", password: "secret" };
const registry = await openRegistry(here, LOGIN);
t.teardown(() => registry.close());

/** What control gives the driver: what engines sign in with at one registry, which knows no short names. */
const signedIn = (login: typeof LOGIN): Registry => ({
  resolve: async () => undefined,
  fullNames: () => [],
  login: async (at) => (at === registry.host ? login : undefined),
});

const open = (more: Partial<SwarmOptions> = {}) =>
  swarmDriver({ host, network, nodeRole: "cvm", reach: "auto", registry: signedIn(LOGIN), clock: systemClock(), log, unplacedMs: 1_000, ...more });

const containersOf = (service: string, all = false) =>
  docker.listContainers({ all, filters: { label: [`com.docker.swarm.service.name=${service}`] } });
const inspectService = async (service: string) => (await docker.getService(service).inspect()) as Service & { Version: { Index: number } };

/** Services, and containers that run: of those that ended, Swarm clears the rest away by itself. */
async function left(prefix: string): Promise<string[]> {
  const services = (await docker.listServices()).flatMap(({ Spec }) => Spec?.Name ?? []);
  const running = (await docker.listContainers()).map(({ Labels }) => Labels["com.docker.swarm.service.name"] ?? "");
  return [...new Set([...services, ...running])].filter((found) => found.startsWith(prefix));
}

t.test("the swarm driver keeps the contract", async (t) => {
  await conformance(t, {
    open,
    image: async (image) => ({ ref: images[image] }),
    unknown: async () => ({ ref: `${registry.host}/absent/nothing:1` }),
    kill: async (service) => {
      const [running] = await containersOf(service);
      await docker.getContainer(running?.Id ?? "none").kill();
    },
    left,
    vanish: (service) => docker.getService(service).remove(),
    // A second run takes another address beside the first, and then its place.
    move: async (service) => {
      const { ID, Spec, Version } = await inspectService(service);
      const TaskTemplate = { ...Spec?.TaskTemplate, ForceUpdate: 1 };
      const UpdateConfig = { Parallelism: 1, Order: "start-first" };
      await docker.getService(ID).update({ _query: { version: Version.Index }, _body: { ...Spec, TaskTemplate, UpdateConfig } });
    },
    way: async (t) => {
      const gate = await openGate(t, host);
      return { ...gate, driver: open({ host: gate.host, reach: "address" }) };
    },
    ...BACKENDS.swarm,
  });
});

t.test("what the spec asks for is set on the swarm, and nothing that fights with control", async (t) => {
  const driver = open();
  const service = name("sizes");
  const spec = await specOf(driver, service, { ref: images.worker }, { cpu: 0.25, memoryMb: 96, shmMb: 32, env: { A: "1", EMPTY: "" }, gpu: 1 });
  await driver.deploy(spec, call());
  const { Spec } = await inspectService(service);
  const labels = { "berth.store": spec.labels.store, "berth.environment": "test", "berth.container": spec.labels.container, "berth.generation": "1" };
  t.match(Spec?.Labels, labels);
  t.match(Spec, { Mode: { Replicated: { Replicas: 1 } }, UpdateConfig: { Order: "stop-first" }, EndpointSpec: { Mode: "dnsrr" } });
  t.match(Spec?.TaskTemplate, { RestartPolicy: { Condition: "none" }, Resources: { Reservations: { MemoryBytes: 96 * 1024 * 1024 } } });
  const [found] = await containersOf(service);
  const { Config, HostConfig, Mounts } = await docker.getContainer(found?.Id ?? "none").inspect();
  t.match(Config.Labels, labels);
  t.match(HostConfig, { NanoCpus: 250_000_000, Memory: 96 * 1024 * 1024, RestartPolicy: { Name: "no" } });
  t.match(Mounts.find(({ Destination }) => Destination === "/dev/shm") ?? HostConfig.Mounts?.[0], { Type: "tmpfs" });
  t.match(HostConfig, { PidsLimit: 4_096, SecurityOpt: ["no-new-privileges"], CapDrop: [/^(CAP_)?NET_RAW$/] });
  t.match(Config, { Healthcheck: { Test: ["NONE"] } }, "an image's own check neither delays nor ends it");
  t.ok(Config.Env.includes("A=1") && Config.Env.includes("EMPTY="));
  t.ok(Config.Env.includes("DOCKER_RESOURCE_NVIDIA-GPU=made-up-1"), "the GPU that it was given");
  const { Options, Attachable, Driver } = (await docker.getNetwork(network).inspect()) as { Options: object; Attachable: boolean; Driver: string };
  t.match({ Options, Attachable, Driver }, { Attachable: true, Driver: "overlay" });

  await t.test("a second that wants the only GPU finds no capacity", async (t) => {
    const other = name("gpu");
    const fault = await rejectsWith(t, "NO_CAPACITY", driver.deploy({ ...spec, service: other, labels: labelsFor(other) }, call()));
    t.match(fault.message, /insufficient resources/);
    t.strictSame(await left(other), []);
  });
  await driver.destroy(service, call());
  t.strictSame(await containersOf(service, true), [], "not even a container that ended is left");
});

t.test("what Swarm cannot do is named in a warning, once", async (t) => {
  const warnings: unknown[] = [];
  const recordingLog = { ...log, warn: (fields: unknown) => warnings.push(fields) };
  const driver = swarmDriver({ host, network, nodeRole: "cvm", reach: "auto", clock: systemClock(), log: recordingLog });
  for (const service of [name("disk-one"), name("disk-two")]) {
    await driver.deploy(await specOf(driver, service, { ref: images.worker }, { storageGb: 21 }), call());
    await driver.destroy(service, call());
  }
  t.match(warnings, [{ service: name("disk-one"), storageGb: 21 }]);
  t.equal(warnings.length, 1);
});

t.test("sizes that no node has are no capacity, and senseless ones are refused", async (t) => {
  const driver = open();
  const service = name("large");
  const spec = await specOf(driver, service, { ref: images.worker });
  await rejectsWith(t, "NO_CAPACITY", driver.deploy({ ...spec, cpu: 10_000 }, call()));
  await rejectsWith(t, "NO_CAPACITY", driver.deploy({ ...spec, memoryMb: 100_000_000 }, call()));
  await rejectsWith(t, "SPEC_REFUSED", driver.deploy({ ...spec, memoryMb: 1 }, call()));
  t.strictSame(await left(service), []);
});

t.test("with nodes that have the role, containers run on those only; where none may take one, it is unschedulable", async (t) => {
  const driver = open();
  const service = name("role");
  const spec = await specOf(driver, service, { ref: images.worker });
  const label = async (labels: Record<string, string>, Availability = "active") => {
    const [{ ID, Spec, Version }] = (await docker.listNodes()) as [{ ID: string; Spec: object; Version: { Index: number } }];
    await docker.getNode(ID).update({ _query: { version: Version.Index }, _body: { ...Spec, Labels: labels, Availability } });
  };
  t.teardown(() => label({}));
  await label({ role: "cvm" });
  await driver.deploy(spec, call());
  t.strictSame((await inspectService(service)).Spec?.TaskTemplate?.Placement?.Constraints, ["node.labels.role==cvm"]);
  await driver.destroy(service, call());
  await label({ role: "datagrok" });
  await driver.deploy(spec, call());
  t.notOk((await inspectService(service)).Spec?.TaskTemplate?.Placement?.Constraints, "another role is none of ours");
  await driver.destroy(service, call());
  await driver.deploy({ ...spec, host: "datagrok" }, call());
  t.strictSame((await inspectService(service)).Spec?.TaskTemplate?.Placement?.Constraints, ["node.labels.role==datagrok"]);
  await driver.destroy(service, call());
  await label({ role: "cvm" }, "pause");
  const fault = await rejectsWith(t, "CONTAINER_UNSCHEDULABLE", driver.deploy(spec, call()));
  t.match(fault.message, /no suitable node/);
  t.strictSame(await left(service), []);
});

t.test("a service of a foreign owner with the same name is not touched", async (t) => {
  const driver = open();
  const service = name("foreign");
  const TaskTemplate = { ContainerSpec: { Image: images.worker } };
  const made = await docker.createService({ Name: service, TaskTemplate, Mode: { Replicated: { Replicas: 1 } } });
  await rejectsWith(t, "SPEC_REFUSED", driver.deploy(await specOf(driver, service, { ref: images.worker }), call()));
  await driver.destroy(service, call());
  t.equal(await driver.inspect(service, call()), undefined);
  t.equal(await text(driver.logs(service, { tail: 10 }, call())), "");
  t.equal((await inspectService(service)).ID, (made as unknown as { id: string }).id);
  await docker.getService(service).remove();
});

t.test("one that a person scaled to nothing does not run, and is made anew", async (t) => {
  const driver = open();
  const service = name("scaled");
  const spec = await specOf(driver, service, { ref: images.onDemand });
  await driver.deploy(spec, call());
  const { ID, Spec, Version } = await inspectService(service);
  await docker.getService(ID).update({ _query: { version: Version.Index }, _body: { ...Spec, Mode: { Replicated: { Replicas: 0 } } } });
  await eventually("it does not run", async () => (await driver.inspect(service, call()))?.running === false);
  const {
    addresses: [address],
  } = await driver.deploy(spec, call());
  t.strictSame(await get(address as NonNullable<typeof address>, "/square?number=2"), { result: 4 });
  await driver.destroy(service, call());
});

t.test("nodes pull by digest what the registry has, signed in as it wants", async (t) => {
  const digest = registry.put("private/app", "admin", "one");
  const ref = `${registry.host}/private/app:admin`;
  const driver = open();
  const image = await driver.resolve({ ref }, call());
  t.match(image, { id: `${registry.host}/private/app@${digest}`, digest, exposed: [8080], command: ["/nothing"] });
  const moved = registry.put("private/app", "admin", "two");
  t.equal((await driver.resolve({ ref }, call())).digest, moved, "a tag that has moved");
  const pinned = await driver.resolve({ ref: `${registry.host}/private/app@${digest}` }, call());
  t.equal(pinned.id, image.id, "a digest never moves");

  // The node has it from resolving; without that it must pull by itself, and its command is none.
  for (const { Id, RepoDigests } of await docker.listImages())
    if (RepoDigests?.some((known) => known.startsWith(registry.host))) await docker.getImage(Id).remove({ force: true });
  const service = name("pulled");
  const spec = await specOf(driver, service, { ref: images.worker });
  await rejectsWith(t, "CONTAINER_CRASHED", driver.deploy({ ...spec, image: image.id, port: 8080 }, call()));
  t.ok(
    (await docker.listImages()).some(({ RepoDigests }) => RepoDigests?.includes(image.id)),
    "the node has pulled it",
  );

  await t.test("an error names the user without the right", async (t) => {
    for (const { Id, RepoDigests } of await docker.listImages())
      if (RepoDigests?.some((known) => known.startsWith(registry.host))) await docker.getImage(Id).remove({ force: true });
    const unauthorized = open({ registry: signedIn({ username: "eve", password: "guessed" }) });
    const resolving = await rejectsWith(t, "PULL_DENIED", unauthorized.resolve({ ref }, call()));
    t.match(resolving.message, /the user "eve"/);
    t.notMatch(resolving.message, /guessed/);
    const starting = await rejectsWith(t, "PULL_DENIED", unauthorized.deploy({ ...spec, image: image.id, port: 8080 }, call()));
    t.match(starting.message, /the user "eve"/);
    await rejectsWith(t, "IMAGE_NOT_FOUND", driver.deploy({ ...spec, image: `${registry.host}/datagrok/none@${digest}`, port: 8080 }, call()));
    await rejectsWith(t, "IMAGE_NOT_FOUND", driver.deploy({ ...spec, image: `sha256:${"0".repeat(64)}` }, call()));
    t.strictSame(await left(service), []);
  });
});

t.test("a task on a published port answers there when it is ready", async (t) => {
  const driver = open({ reach: "published" });
  const service = name("published");
  const spec = await specOf(driver, service, { ref: images.slow });
  const start = driver.deploy(spec, call());
  start.catch(() => {});
  await eventually("it has an address", async () => (await driver.inspect(service, call()))?.addresses[0] !== undefined);
  const current = (await driver.inspect(service, call()))?.addresses[0];
  t.not(current?.port, 15353);
  t.strictSame((await driver.list(call())).find((one) => one.service === service)?.addresses[0], current);
  t.strictSame((await start).addresses[0], current);
  await driver.destroy(service, call());
});

t.test("berth in a container joins the overlay and reaches services by name", async (t) => {
  const service = name("named");
  const spec = await specOf(open(), service, { ref: images.onDemand });
  const script = `
    const { swarmDriver } = await import("/berth/drivers/swarm/driver.ts");
    const { systemClock } = await import("/berth/lib/clock.ts");
    const write = () => {};
    const log = { debug: write, info: write, warn: write, error: write };
    const options = { host: "unix:///engine.sock", network: ${JSON.stringify(network)}, nodeRole: "cvm", reach: "auto" };
    const driver = swarmDriver({ ...options, clock: systemClock(), log });
    const { addresses: [address] } = await driver.deploy(${JSON.stringify(spec)}, { signal: AbortSignal.timeout(30000) });
    const response = await fetch("http://" + address.host + ":" + address.port + "/square?number=7");
    console.log(JSON.stringify({ address, body: await response.json() }));
    await driver.close();`;
  const inside = await docker.createContainer({
    name: name("berth"),
    Image: images.worker,
    Hostname: "chosen-by-hand",
    Cmd: ["node", "--input-type=module", "-e", script],
    HostConfig: { Binds: [`${import.meta.dirname}/../../..:/berth:ro`, `${host.replace("unix://", "")}:/engine.sock`] },
  });
  await inside.start();
  const { StatusCode } = (await inside.wait()) as { StatusCode: number };
  const output = (await inside.logs({ stdout: true, stderr: true })).subarray(8).toString();
  t.equal(StatusCode, 0, output);
  t.strictSame(JSON.parse(output), { address: { host: service, port: 15353 }, body: { result: 49 } });
  await inside.remove({ force: true });
  await open().destroy(service, call());
});

t.test("the shared overlay is made once, whichever start comes first", async (t) => {
  // Many rounds: that two are at it in the very same moment, which the swarm answers in another way, is a matter of luck.
  const engine = openEngine({ host }, systemClock());
  for (let round = 0; round < 10; round++) {
    const raced = `${network}-raced-${round}`;
    await Promise.all(Array.from({ length: 8 }, () => ensureOverlay(engine, raced, call().signal)));
    t.equal((await docker.listNetworks({ filters: { name: [raced] } })).length, 1);
    await docker.getNetwork(raced).remove();
  }
  const fresh = `${network}-fresh`;
  const ours = ["one", "two", "three"].map(name);
  const drivers = ours.map(() => open({ network: fresh }));
  await Promise.all(
    drivers.map(async (driver, at) => driver.deploy(await specOf(driver, ours[at] ?? "", { ref: images.worker }, { cpu: 0.25 }), call())),
  );
  t.equal((await docker.listNetworks({ filters: { name: [fresh] } })).length, 1);
  await Promise.all(drivers.map((driver, at) => driver.destroy(ours[at] ?? "", call())));
  await docker.getNetwork(fresh).remove();
});

t.test("berth's own container joins an overlay that it is on already, as after a restart of control", async (t) => {
  const engine = openEngine({ host }, systemClock());
  const overlay = `${network}-joined`;
  await ensureOverlay(engine, overlay, call().signal);
  const own = await docker.createContainer({ name: name("own"), Image: images.worker });
  await own.start();
  for (const time of ["first", "second"]) {
    await connectToNetwork(engine, overlay, own.id, [], call().signal);
    t.pass(`the ${time} time`);
  }
  await own.remove({ force: true });
  await eventually("its attachment has ended", async () => {
    await docker
      .getNetwork(overlay)
      .remove()
      .catch(() => undefined);
    return (await docker.listNetworks({ filters: { name: [overlay] } })).length === 0;
  });
});

t.test("a network that is no overlay is reported, with the setting to change", async (t) => {
  const bridge = `${network}-bridge`;
  await docker.createNetwork({ Name: bridge, Driver: "bridge" });
  const driver = open({ network: bridge });
  const fault = await rejectsWith(t, "SPEC_REFUSED", driver.deploy(await specOf(driver, name("bridge"), { ref: images.worker }), call()));
  t.match(fault.message, /BERTH_SWARM_NETWORK/);
  await docker.getNetwork(bridge).remove();
});
