import { randomUUID } from "node:crypto";
import { pack } from "tar-stream";
import t from "tap";
import { clockFrom, systemClock } from "../../../lib/clock.ts";
import { dockerDriver, type DockerOptions } from "../../../drivers/docker/driver.ts";
import { swarmDriver } from "../../../drivers/swarm/driver.ts";
import { openLog } from "../../../lib/log.ts";
import { openEngine, runIn } from "../../fixtures/engine.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { buildTestImages } from "../../fixtures/images.ts";
import { openRegistry } from "../../fixtures/registry.ts";
import { call, conformance, get, labelsFor, namer, rejectsWith, specOf, text } from "../conformance.ts";
import { BACKENDS } from "../conformance/backends.ts";
import { dockerWorld } from "./container-actions.ts";
import { openGate, openSilence, openWarner } from "../engine/engine-gate.ts";

const log = openLog({ level: "silent", name: "test" });
const { docker, host } = openEngine();
const images = await buildTestImages(docker);
const network = `berth-test-${randomUUID().slice(0, 8)}`;
const name = namer("dock");
const registry = await openRegistry();

const open = (more: Partial<DockerOptions> = {}) =>
  dockerDriver({ host, network, reach: "auto", clock: systemClock(), log, openPortMs: 6_000, ...more });

const { left, remove, kill, move } = dockerWorld(docker, { network, image: images.worker, squatter: () => name("squatter") });

t.teardown(async () => {
  await registry.close();
  for (const { Id } of await docker.listContainers({ all: true, filters: { network: [network] } })) await remove(Id);
  for (const { Id, RepoDigests } of await docker.listImages()) {
    if (RepoDigests?.some((digest) => digest.startsWith(registry.host))) await docker.getImage(Id).remove({ force: true });
  }
  for (const { Id } of await docker.listNetworks({ filters: { label: [`berth.network=${network}`] } })) await docker.getNetwork(Id).remove();
});

t.test("the docker driver keeps the contract", async (t) => {
  await conformance(t, {
    open,
    image: async (image) => ({ ref: images[image] }),
    unknown: async () => ({ ref: `${registry.host}/absent/nothing:1` }),
    kill,
    left,
    vanish: remove,
    move,
    way: async (t) => {
      const gate = await openGate(t, host);
      return { ...gate, driver: open({ host: gate.host, reach: "address" }) };
    },
    ...BACKENDS.docker,
  });
});

t.test("what the spec asks for is set on the engine", async (t) => {
  const driver = open();
  const service = name("sizes");
  const secret = randomUUID();
  const spec = await specOf(
    driver,
    service,
    { ref: images.worker },
    { cpu: 0.25, memoryMb: 96, shmMb: 32, env: { A: "1", EMPTY: "", SECRET: secret } },
  );
  await driver.deploy(spec, call());
  const { Config, HostConfig, NetworkSettings } = await docker.getContainer(service).inspect();
  t.match(Config.Labels, {
    "berth.store": spec.labels.store,
    "berth.environment": "test",
    "berth.container": spec.labels.container,
    "berth.generation": "1",
  });
  t.match(HostConfig, { NanoCpus: 250_000_000, Memory: 96 * 1024 * 1024, ShmSize: 32 * 1024 * 1024, RestartPolicy: { Name: "no" } });
  t.ok(Config.Env.includes("A=1") && Config.Env.includes("EMPTY="));
  t.ok(Config.Env.includes(`SECRET=${secret}`));
  const beside = { ...(await docker.getContainer(service).inspect()), Config: { ...Config, Env: [] } };
  t.notOk(JSON.stringify(beside).includes(secret), "a secret is in its environment and nowhere else, labels and command included");
  t.notOk(JSON.stringify(await docker.listContainers({ all: true })).includes(secret));
  t.strictSame(Object.keys(NetworkSettings.Networks), [network]);
  await driver.destroy(service, call());
});

t.test(
  "a container cannot fork without end, use raw sockets or gain rights by setuid programs, and knows the engine's machine by name",
  async (t) => {
    const driver = open({ pidsLimit: 321 });
    const service = name("confined");
    await driver.deploy(await specOf(driver, service, { ref: images.worker }), call());
    const { HostConfig } = await docker.getContainer(service).inspect();
    t.match(HostConfig, { PidsLimit: 321, SecurityOpt: ["no-new-privileges"], CapDrop: [/^(CAP_)?NET_RAW$/] });
    const script = String.raw`const fs = require("node:fs");
      const read = (file) => { try { return fs.readFileSync(file, "utf8").trim(); } catch { return undefined; } };
      const status = read("/proc/self/status");
      console.log(JSON.stringify({
        pids: read("/sys/fs/cgroup/pids.max") ?? read("/sys/fs/cgroup/pids/pids.max"),
        noNewPrivileges: /NoNewPrivs:\s*(\d)/.exec(status)[1],
        rawSockets: (BigInt("0x" + /CapBnd:\s*(\S+)/.exec(status)[1]) >> 13n & 1n) === 1n,
        machine: /^(\S+)\s+host\.docker\.internal$/m.exec(read("/etc/hosts"))?.[1],
      }))`;
    t.match(JSON.parse(await runIn(docker, service, ["node", "-e", script])), {
      pids: "321",
      noNewPrivileges: "1",
      rawSockets: false,
      machine: /^\d+\.\d+\.\d+\.\d+$/,
    });
    await driver.destroy(service, call());
  },
);

t.test("the shared network is made once, whichever start comes first", async (t) => {
  const fresh = `${network}-fresh`;
  const services = ["one", "two", "three"].map(name);
  await Promise.all(
    services.map(async (service) => {
      const driver = open({ network: fresh });
      await driver.deploy(await specOf(driver, service, { ref: images.worker }, { graceMs: 1 }), call());
    }),
  );
  t.equal((await docker.listNetworks({ filters: { name: [fresh] } })).length, 1);
  await Promise.all(services.map(remove));
  await docker.getNetwork(fresh).remove();
});

t.test("a container on a published port answers there when it is ready", async (t) => {
  const driver = open({ reach: "published" });
  const service = name("published");
  const {
    addresses: [address],
  } = await driver.deploy(await specOf(driver, service, { ref: images.slow }), call());
  t.equal(address?.host, "127.0.0.1");
  t.not(address?.port, 15353);
  t.strictSame(await get(address as NonNullable<typeof address>, "/square?number=6"), { result: 36 });
  t.strictSame((await driver.inspect(service, call()))?.addresses[0], address);
  t.strictSame((await driver.list(call())).find((one) => one.service === service)?.addresses[0], address);

  await t.test("one that cannot be reached in the requested way is replaced", async (t) => {
    const direct = open({ reach: "address" });
    const again = await direct.deploy(await specOf(direct, service, { ref: images.onDemand }, { labels: labelsFor(service, 2) }), call());
    const back = await driver.deploy(await specOf(driver, service, { ref: images.onDemand }, { labels: labelsFor(service, 2) }), call());
    t.equal(again.addresses[0]?.port, 15353);
    t.equal(back.addresses[0]?.host, "127.0.0.1");
    t.strictSame(await left(service), [service]);
  });
  await driver.destroy(service, call());
});

t.test("for gateways elsewhere, ports are published on the address that they reach, and on no other", async (t) => {
  const driver = open({ publishHost: "127.0.0.2" });
  const service = name("elsewhere");
  const {
    addresses: [address],
  } = await driver.deploy(await specOf(driver, service, { ref: images.onDemand }), call());
  t.equal(address?.host, "127.0.0.2");
  t.strictSame(await get(address as NonNullable<typeof address>, "/square?number=6"), { result: 36 });
  t.strictSame((await driver.inspect(service, call()))?.addresses[0], address);
  await t.rejects(get({ host: "127.0.0.1", port: address?.port ?? 0 }, "/"));
  t.throws(() => open({ publishHost: "127.0.0.2", reach: "address" }), { code: "SETTINGS_INVALID" });
  await driver.destroy(service, call());
});

t.test("berth in a container joins the network and reaches services by name", async (t) => {
  const service = name("named");
  const berth = name("berth");
  const root = `${import.meta.dirname}/../../..`;
  const spec = await specOf(open(), service, { ref: images.onDemand });
  const script = `
    const { dockerDriver } = await import("/berth/drivers/docker/driver.ts");
    const { systemClock } = await import("/berth/lib/clock.ts");
    const write = () => {};
    const log = { debug: write, info: write, warn: write, error: write };
    const driver = dockerDriver({ host: "unix:///engine.sock", network: ${JSON.stringify(network)}, reach: "auto", clock: systemClock(), log });
    const { addresses: [address] } = await driver.deploy(${JSON.stringify(spec)}, { signal: AbortSignal.timeout(30000) });
    const response = await fetch("http://" + address.host + ":" + address.port + "/square?number=7");
    console.log(JSON.stringify({ address, body: await response.json() }));
    await driver.close();`;
  const inside = await docker.createContainer({
    name: berth,
    Image: images.worker,
    Hostname: "chosen-by-hand",
    Cmd: ["node", "--input-type=module", "-e", script],
    HostConfig: { Binds: [`${root}:/berth:ro`, `${host.replace("unix://", "")}:/engine.sock`] },
  });
  await inside.start();
  const { StatusCode } = (await inside.wait()) as { StatusCode: number };
  const output = (await inside.logs({ stdout: true, stderr: true })).subarray(8).toString();
  t.equal(StatusCode, 0, output);
  t.strictSame(JSON.parse(output), { address: { host: service, port: 15353 }, body: { result: 49 } });
  await inside.remove({ force: true });
  await remove(service);
});

t.test("the first port of the image's history comes first", async (t) => {
  const { exposed, guessed, platform, sizeBytes = 0, createdOn = 0 } = await open().resolve({ ref: images.severalPorts }, call());
  t.strictSame(exposed, [9000, 8000]);
  t.notOk(guessed);
  t.equal(platform?.image, platform?.machine);
  t.match(platform?.machine, /^linux\//);
  t.ok(sizeBytes > 1_000_000 && createdOn > Date.UTC(2026));
});

t.test("an image with more ports or labels than the engine should repeat in each list is refused", async (t) => {
  const driver = open();
  const allPorts = ["EXPOSE 1-65535", "EXPOSE 1-65535/udp", "EXPOSE 1-65535/sctp"];
  const labels = Array.from({ length: 12 }, (_, index) => `LABEL l${index}=${"x".repeat(50_000)}`);
  for (const [name, lines] of Object.entries({ labels, ports: allPorts.slice(0, 1), protocols: allPorts })) {
    const tag = `berth-test/large-${name}:${process.pid}`;
    const files = pack();
    files.entry({ name: "Dockerfile" }, [`FROM ${images.onDemand}`, ...lines].join("\n"));
    files.finalize();
    const progress = await docker.buildImage(files as unknown as NodeJS.ReadableStream, { t: tag });
    for await (const piece of progress) void piece;
    t.teardown(() => docker.getImage(tag).remove({ force: true }));
    await t.rejects(driver.resolve({ ref: tag }, call()), { code: "IMAGE_REFUSED" }, name);
  }
});

t.test("sizes that the machine does not have are no capacity, and senseless ones are refused", async (t) => {
  const driver = open();
  const service = name("large");
  const spec = await specOf(driver, service, { ref: images.worker });
  await rejectsWith(t, "NO_CAPACITY", driver.deploy({ ...spec, cpu: 10_000 }, call()));
  await rejectsWith(t, "NO_CAPACITY", driver.deploy({ ...spec, gpu: 1 }, call()));
  await rejectsWith(t, "SPEC_REFUSED", driver.deploy({ ...spec, memoryMb: 1 }, call()));
  t.strictSame(await left(service), []);
});

t.test("an engine that cannot limit a container's disk starts them all the same, and is warned about once", async (t) => {
  const warnings: unknown[] = [];
  const recordingLog = { ...log, warn: (fields: unknown) => warnings.push(fields) };
  const driver = dockerDriver({ host, network, reach: "auto", clock: systemClock(), log: recordingLog });
  const services = [name("disk-one"), name("disk-two"), name("disk-three")];
  const specs = await Promise.all(services.map((service) => specOf(driver, service, { ref: images.worker }, { storageGb: 21 })));
  await Promise.all(specs.map((spec) => driver.deploy(spec, call())));
  await Promise.all(services.map(remove));
  t.match(warnings, [{ service: String }]);
  t.equal(warnings.length, 1, "however many come first");
});

t.test("the log of a foreign container with a terminal is read as it is, without frames", async (t) => {
  const service = name("terminal");
  const script = "console.log('the first line'); console.log('and a second, ü'); setInterval(() => {}, 1000)";
  const container = await docker.createContainer({ name: service, Image: images.worker, Entrypoint: ["node", "-e", script], Tty: true });
  await container.start();
  const foreign = await open().foreign?.(call());
  if (!foreign) throw new Error("The driver adopts nothing.");
  const read = (timestamps: boolean) => text(foreign.logs(container.id, { tail: 10, timestamps }, call()));
  await eventually("it has written", async () => (await read(false)).includes("second"));
  t.equal(await read(false), "the first line\r\nand a second, ü\r\n");
  t.match(await read(true), /^\d{4}-[^ ]+Z the first line\r\n\d{4}-[^ ]+Z and a second, ü\r\n$/);
  await container.remove({ force: true });
});

t.test("a container of a foreign owner with the same name is not touched", async (t) => {
  const driver = open();
  const service = name("foreign");
  const foreign = await docker.createContainer({ name: service, Image: images.worker });
  await foreign.start();
  await rejectsWith(t, "SPEC_REFUSED", driver.deploy(await specOf(driver, service, { ref: images.worker }), call()));
  await driver.destroy(service, call());
  t.equal(await driver.inspect(service, call()), undefined);
  t.equal(await text(driver.logs(service, { tail: 10 }, call())), "");
  t.equal((await foreign.inspect()).State.Running, true);
  await foreign.remove({ force: true });
});

t.test("one that was created but never started is started, not made again", async (t) => {
  const driver = open();
  const service = name("halfway");
  const spec = await specOf(driver, service, { ref: images.onDemand });
  await driver.deploy(spec, call());
  const { Config, HostConfig } = await docker.getContainer(service).inspect();
  await driver.destroy(service, call());
  const halfway = await docker.createContainer({ ...Config, name: service, HostConfig: { ...HostConfig, NetworkMode: network } });
  const {
    addresses: [address],
  } = await driver.deploy(spec, call());
  t.strictSame(await get(address as NonNullable<typeof address>, "/square?number=2"), { result: 4 });
  t.equal((await docker.getContainer(service).inspect()).Id, halfway.id);
  await driver.destroy(service, call());

  // The start that was killed was another user's.
  const theirs = { ...Config, Env: [...Config.Env, "USER_API_KEY=of another user"] };
  const another = await docker.createContainer({ ...theirs, name: service, HostConfig: { ...HostConfig, NetworkMode: network } });
  const ours = { ...spec, env: { ...spec.env, USER_API_KEY: "of this user" } };
  await driver.deploy(ours, call());
  const started = await docker.getContainer(service).inspect();
  t.not(started.Id, another.id, "with other variables it is made again");
  t.ok(started.Config.Env.includes("USER_API_KEY=of this user"));
  await driver.destroy(service, call());
});

t.test("the registry is queried for images that the engine lacks, and for a tag that may have moved", async (t) => {
  const driver = open();
  const reports: { done: number; total: number }[] = [];
  const first = registry.put("datagrok/moving", "admin", "one");
  const ref = `${registry.host}/datagrok/moving:admin`;
  const one = await driver.resolve({ ref }, { ...call(), onPull: (progress) => reports.push(progress) });
  t.equal(one.digest, first);
  t.strictSame(one.exposed, [8080]);
  t.ok(reports.length > 0, "progress is reported");

  const second = registry.put("datagrok/moving", "admin", "two");
  const two = await driver.resolve({ ref }, call());
  t.equal(two.digest, second);
  t.not(two.id, one.id);

  const pinned = await driver.resolve({ ref: `${registry.host}/datagrok/moving@${first}` }, call());
  t.equal(pinned.id, one.id, "a digest never moves");
});

t.test("a registry's refusal has a name of its own", async (t) => {
  const driver = open();
  const denied = await rejectsWith(t, "PULL_DENIED", driver.resolve({ ref: `${registry.host}/denied/secret:1` }, call()));
  t.match(denied.message, /without credentials/);
  await rejectsWith(t, "IMAGE_NOT_FOUND", driver.resolve({ ref: `${registry.host}/datagrok/moving:never` }, call()));
  await rejectsWith(t, "IMAGE_NOT_FOUND", driver.resolve({ ref: `sha256:${"0".repeat(64)}` }, call()));
  await rejectsWith(t, "IMAGE_REFERENCE_INVALID", driver.resolve({ ref: "Not A Reference" }, call()));
  await rejectsWith(t, "ENGINE_FAILED", driver.resolve({ ref: "127.0.0.1:1/not/there:1" }, call()));
});

t.test("the engine's own copy serves where its registry is away", async (t) => {
  const driver = open();
  const [repository, tag] = images.worker.split(":") as [string, string];
  const ref = `127.0.0.1:1/${repository}:${tag}`;
  await docker.getImage(images.worker).tag({ repo: `127.0.0.1:1/${repository}`, tag });
  t.teardown(() => docker.getImage(ref).remove());
  const { id } = await driver.resolve({ ref }, call());
  t.equal(id, (await docker.getImage(images.worker).inspect()).Id);
});

t.test("an engine that is not there is unreachable, in every call", async (t) => {
  for (const away of [`unix://${t.testdir()}/none.sock`, "tcp://127.0.0.1:1"]) {
    const driver = open({ host: away });
    await rejectsWith(t, "ENGINE_UNREACHABLE", driver.resolve({ ref: images.worker }, call()));
    await rejectsWith(t, "ENGINE_UNREACHABLE", driver.list(call()));
    await rejectsWith(t, "ENGINE_UNREACHABLE", driver.inspect("any", call()));
    await rejectsWith(t, "ENGINE_UNREACHABLE", driver.destroy("any", call()));
    await rejectsWith(t, "ENGINE_UNREACHABLE", text(driver.logs("any", { tail: 1 }, call())));
    await driver.close();
  }
});

t.test("an engine that manages no swarm says what to do, when it is taken for one", async (t) => {
  const driver = swarmDriver({ host, network, nodeRole: "cvm", reach: "auto", clock: systemClock(), log });
  const spec = await specOf(driver, name("no-swarm"), { ref: images.worker });
  t.match((await rejectsWith(t, "ENGINE_FAILED", driver.deploy(spec, call()))).message, /docker swarm init/);
  t.match((await rejectsWith(t, "ENGINE_FAILED", driver.list(call()))).message, /swarm/);
  await driver.close();
});

t.test("an invalid engine address is reported when the driver is made", async (t) => {
  for (const wrong of ["ftp://nowhere", "unix://", "tcp://", "tcp://host:port"])
    t.throws(() => open({ host: wrong }), { code: "SETTINGS_INVALID" }, wrong);
  t.throws(() => open({ host: "tcp://127.0.0.1:2376", tls: { folder: t.testdir() } }), { code: "SETTINGS_INVALID" });
});

t.test("an engine that hears and says nothing fails in bounded time, and obeys the caller's signal", async (t) => {
  const silence = await openSilence(t);
  const system = systemClock();
  const hasty = clockFrom({ ...system, after: (ms, task) => system.after(ms / 1000, task) });
  const driver = dockerDriver({ host: silence, network, reach: "auto", clock: hasty, log });
  t.type((await rejectsWith(t, "ENGINE_UNREACHABLE", driver.list(call()))).retryAfterMs, "number");
  const patient = open({ host: silence });
  const caller = new AbortController();
  const listing = patient.list({ signal: caller.signal });
  const reason = new Error("enough");
  caller.abort(reason);
  t.equal(await listing.catch((error: unknown) => error), reason);
});

t.test("an engine that is spoken to over TCP has its containers reached by published ports", async (t) => {
  const driver = open({ host: (await openGate(t, host)).host });
  const service = name("tcp");
  const {
    addresses: [address],
  } = await driver.deploy(await specOf(driver, service, { ref: images.onDemand }), call());
  t.equal(address?.host, "127.0.0.1");
  t.strictSame(await get(address as NonNullable<typeof address>, "/square?number=8"), { result: 64 });
  await remove(service);
});

t.test("a limit that the engine cannot keep is named in the log, once or with the service that asks for it", async (t) => {
  const warned: string[] = [];
  const write = () => {};
  const hearing = {
    debug: write,
    info: write,
    error: write,
    warn: (fields: object, sentence: string) => void warned.push(`${sentence} ${JSON.stringify(fields)}`),
  };
  // The engine of the tests limits everything but the disk; what another one warns of is put into its mouth.
  const lame = await openWarner(t, host, "Your kernel does not support memory limit capabilities.");
  const driver = dockerDriver({ host: lame, network, reach: "auto", clock: systemClock(), log: { ...hearing, child: () => hearing as never } });
  for (const service of [name("disk"), name("disk-too")]) {
    await driver.deploy(await specOf(driver, service, { ref: images.worker }, { storageGb: 1, graceMs: 1 }), call());
    t.equal(warned.filter((line) => line.includes("memory limit") && line.includes(service)).length, 1);
    await remove(service);
  }
  t.equal(warned.filter((line) => line.includes("`storage`")).length, 1);
  await driver.close();
});
