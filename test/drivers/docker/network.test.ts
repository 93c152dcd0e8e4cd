import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import t, { type Test } from "tap";
import { DEFAULT_SUBNETS } from "../../../drivers/docker/addresses.ts";
import { dockerDriver, type DockerOptions } from "../../../drivers/docker/driver.ts";
import type { Address } from "../../../drivers/driver.ts";
import { NETWORK_LABEL } from "../../../drivers/engine/reach.ts";
import { clockFrom, systemClock } from "../../../lib/clock.ts";
import { openLog } from "../../../lib/log.ts";
import { serveMetrics } from "../../../lib/metrics/serve-metrics.ts";
import { privateListeners } from "../../../lib/refused-addresses.ts";
import { openEngine, runIn } from "../../fixtures/engine.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { buildTestImages } from "../../fixtures/images.ts";
import { listen } from "../../fixtures/server.ts";
import { call, get, namer, specOf } from "../conformance.ts";

/** What containers of a real engine reach, and what they do not, by each way that berth reaches them. */
const log = openLog({ level: "silent", name: "test" });
const { docker, host } = openEngine();
const images = await buildTestImages(docker, ["onDemand", "worker"]);
const network = `berth-apart-${randomUUID().slice(0, 8)}`;
const name = namer("apart");
const made = new Set<string>();

t.teardown(async () => {
  await Promise.all(
    [...made].map((one) =>
      docker
        .getContainer(one)
        .remove({ force: true })
        .catch(() => undefined),
    ),
  );
  const own = await docker.listNetworks({ filters: { label: [NETWORK_LABEL] } });
  for (const { Id } of own.filter(({ Name }) => Name.includes(network)))
    await docker
      .getNetwork(Id)
      .remove()
      .catch(() => undefined);
});

const open = (more: Partial<DockerOptions> = {}) => dockerDriver({ host, network, reach: "address", clock: systemClock(), log, ...more });
const service = (what: string) => {
  const one = name(what);
  made.add(one);
  return one;
};

/** Whether each URL answers a program in that container, within a second. */
async function reaches(container: string, urls: Record<string, string>): Promise<Record<string, boolean>> {
  const script = `Promise.all(Object.entries(${JSON.stringify(urls)}).map(async ([name, url]) =>
    [name, await fetch(url, { signal: AbortSignal.timeout(1500) }).then(() => true, () => false)])).then((all) => console.log(JSON.stringify(Object.fromEntries(all))))`;
  return JSON.parse(await runIn(docker, container, ["node", "-e", script])) as Record<string, boolean>;
}

/** Something that listens on this machine, which is the engine's. */
const startServer = async (t: Test, host: string) =>
  (
    await listen(
      t,
      createServer((_, response) => response.end("here")),
      { host },
    )
  ).port;

const addressOf = async (container: string) =>
  Object.values((await docker.getContainer(container).inspect()).NetworkSettings.Networks)[0]?.IPAddress ?? "";

for (const reach of ["address", "published"] as const) {
  t.test(`reached by ${reach}, containers are apart from each other, and reach the API on the engine's machine`, async (t) => {
    const driver = open({ reach, network: `${network}-${reach}` });
    const [one, other] = [service(`${reach}-one`), service(`${reach}-other`)];
    const specs = await Promise.all([one, other].map((each) => specOf(driver, each, { ref: images.onDemand })));
    const deployed = await Promise.all(specs.map((spec) => driver.deploy(spec, call())));
    for (const {
      addresses: [address],
    } of deployed)
      t.strictSame(await get(address as Address, "/square?number=3"), { result: 9 }, "berth reaches it");
    const [api, onLoopback] = [await startServer(t, "0.0.0.0"), await startServer(t, "127.0.0.1")];
    const gateway = (await docker.getContainer(one).inspect()).NetworkSettings.Networks[`${network}-${reach}`]?.Gateway;
    const metrics = async (allowed: boolean) => {
      const listeners = privateListeners({ subnets: DEFAULT_SUBNETS, allowed, log });
      const served = await serveMetrics({ host: "0.0.0.0", port: 0 }, { gathering: { page: async () => "" }, listeners, clock: systemClock(), log });
      t.teardown(() => served.close());
      t.ok((await fetch(`http://127.0.0.1:${served.port}/metrics`)).ok, "this machine gets them");
      return served.port;
    };
    const [apart, together] = [await metrics(false), await metrics(true)];
    t.strictSame(
      await reaches(one, {
        metrics: `http://${gateway}:${apart}/metrics`,
        metricsByName: `http://host.docker.internal:${apart}/metrics`,
        metricsWhereAllowed: `http://${gateway}:${together}/metrics`,
        api: `http://host.docker.internal:${api}/`,
        onLoopback: `http://host.docker.internal:${onLoopback}/`,
        byAddress: `http://${await addressOf(other)}:15353/`,
        byName: `http://${other}:15353/`,
        byHostPort: `http://host.docker.internal:${deployed[1]?.addresses[0]?.port}/`,
      }),
      {
        metrics: false,
        metricsByName: false,
        metricsWhereAllowed: true,
        api: true,
        onLoopback: false,
        byAddress: false,
        byName: false,
        byHostPort: false,
      },
    );
    await driver.close();
  });
}

t.test("reached by name, a package's containers reach each other, berth and the shared services, and those of no other package", async (t) => {
  const base = `${network}-name`;
  const [one, sibling, other] = [service("name-one"), service("name-sibling"), service("name-other")];
  const [berth, queue, program] = [service("name-berth"), service("name-queue"), open()];
  const spec = async (each: string, of: string) => ({
    ...(await specOf(program, each, { ref: images.onDemand })),
    package: of,
    alias: `entity-${each}`.slice(0, 63),
  });
  const specs = [await spec(one, "@scope/Mine"), await spec(sibling, "@scope/Mine"), await spec(other, "theirs")];
  await (await docker.createContainer({ name: queue, Image: images.onDemand })).start();
  // berth itself, as in its image: an API on all interfaces, and its own list of containers.
  const script = `
    const { dockerDriver } = await import("/berth/drivers/docker/driver.ts");
    const { systemClock } = await import("/berth/lib/clock.ts");
    const { createServer } = await import("node:http");
    createServer((_, response) => response.end("api")).listen(8080, "0.0.0.0");
    const { privateListeners } = await import("/berth/lib/refused-addresses.ts");
    const { DEFAULT_SUBNETS } = await import("/berth/drivers/docker/addresses.ts");
    const metrics = createServer((_, response) => response.end("metrics"));
    privateListeners({ subnets: DEFAULT_SUBNETS, allowed: false, log: { warn() {} } }).guard(metrics);
    metrics.listen(9464, "0.0.0.0");
    const log = { debug() {}, info() {}, warn: (fields, sentence) => console.error(sentence, String(fields.err)), error() {} };
    const driver = dockerDriver({ host: "unix:///engine.sock", network: ${JSON.stringify(base)}, reach: "auto",
      sharedServices: [${JSON.stringify(`queue=${queue}`)}], emptyNetworkMs: 0, clock: systemClock(), log });
    const call = () => ({ signal: AbortSignal.timeout(60000) });
    const deployed = await Promise.all(${JSON.stringify(specs)}.map((spec) => driver.deploy(spec, call())));
    const answers = await Promise.all(deployed.map(({ addresses: [address] }) => fetch("http://" + address.host + ":" + address.port + "/square?number=7").then((r) => r.json())));
    console.log(JSON.stringify({ deployed: deployed.map(({ addresses: [address] }) => address), answers }));
    process.on("SIGUSR2", () => driver.list(call()).then(() => console.log("listed")));
    setInterval(() => {}, 1000);`;
  const inside = await docker.createContainer({
    name: berth,
    Image: images.worker,
    Cmd: ["node", "--input-type=module", "-e", script],
    HostConfig: { Binds: [`${import.meta.dirname}/../../..:/berth:ro`, `${host.replace("unix://", "")}:/engine.sock`] },
  });
  await inside.start();
  const output = async () => (await inside.logs({ stdout: true, stderr: true })).toString();
  const line = await eventually("berth's containers", async () => /\{"deployed".*\}/.exec(await output())?.[0]);
  t.strictSame(JSON.parse(line), {
    deployed: [one, sibling, other].map((each) => ({ host: each, port: 15353 })),
    answers: [{ result: 49 }, { result: 49 }, { result: 49 }],
  });
  t.strictSame(
    await reaches(one, {
      itsSibling: `http://${sibling}:15353/`,
      itsSiblingByEntity: `http://${`entity-${sibling}`.slice(0, 63)}:15353/`,
      otherByEntity: `http://${`entity-${other}`.slice(0, 63)}:15353/`,
      api: "http://berth:8080/",
      metrics: "http://berth:9464/metrics",
      queue: "http://queue:15353/",
      byName: `http://${other}:15353/`,
      byAddress: `http://${await addressOf(other)}:15353/`,
      engine: "http://host.docker.internal:2375/version",
    }),
    {
      itsSibling: true,
      itsSiblingByEntity: true,
      otherByEntity: false,
      api: true,
      metrics: false,
      queue: true,
      byName: false,
      byAddress: false,
      engine: false,
    },
  );
  const owned = async () =>
    (await docker.listNetworks({ filters: { label: [`${NETWORK_LABEL}=${base}`] } })).map(({ Name }) => Name.replace(/-[0-9a-f]{8}$/, "")).toSorted();
  t.strictSame(await owned(), [`z-${base}-scope-mine`, `z-${base}-theirs`]);

  await t.test("a package's network goes with its last container", async (t) => {
    await docker.getContainer(other).remove({ force: true });
    await inside.kill({ signal: "SIGUSR2" });
    await eventually("its network to go", async () => (await owned()).length === 1);
    t.strictSame(await owned(), [`z-${base}-scope-mine`]);
  });
  await program.close();
});

t.test("an address is berth's to give, and rests before another container has it", async (t) => {
  const still = clockFrom({ ...systemClock(), now: () => 0 });
  const options = { network: `${network}-rest`, clock: still };
  const first = dockerDriver({ host, reach: "address", log, ...options });
  const one = service("rest-one");
  const spec = await specOf(first, one, { ref: images.onDemand });
  await first.deploy(spec, call());
  const given = await addressOf(one);
  t.match(given, /^10\.20[1-4]\.\d+\.0$/, "the first of berth's part");
  await first.destroy(one, call());
  await first.deploy(spec, call());
  const next = await addressOf(one);
  t.not(next, given);

  // Another berth on this engine, which begins where the first one did, and knows nothing of it.
  const second = dockerDriver({ host, reach: "address", log, ...options });
  const others = ["rest-two", "rest-three", "rest-four"].map(service);
  await Promise.all(others.map(async (other) => second.deploy(await specOf(second, other, { ref: images.worker }, { graceMs: 1 }), call())));
  const all = await Promise.all([one, ...others].map(addressOf));
  t.equal(new Set(all).size, 4, "one that is taken is passed over");
  await Promise.all([first.close(), second.close()]);
});

t.test("a network of an older berth is made anew once it is empty, and until then doctor names the remedy", async (t) => {
  const old = `${network}-old`;
  await docker.createNetwork({ Name: old, Driver: "bridge", Labels: { [NETWORK_LABEL]: old } });
  const squatter = service("old-squatter");
  await (await docker.createContainer({ name: squatter, Image: images.worker, HostConfig: { NetworkMode: old } })).start();
  const warnings: string[] = [];
  const driver = dockerDriver({
    host,
    network: old,
    reach: "address",
    clock: systemClock(),
    log: { ...log, warn: (_: object, sentence: string) => void warnings.push(sentence) },
  });
  const one = service("old-one");
  const spec = await specOf(driver, one, { ref: images.onDemand }, { storageGb: 0 });
  await driver.deploy(spec, call());
  t.match(warnings, [/stop all containers once/]);
  await driver.destroy(one, call());
  await docker.getContainer(squatter).remove({ force: true });
  await driver.deploy(spec, call());
  const { Options } = (await docker.getNetwork(old).inspect()) as { Options: Record<string, string> };
  t.equal(Options["com.docker.network.bridge.enable_icc"], "false");
  await driver.close();
});

t.test("a network that berth did not make is used as it is, with a warning", async (t) => {
  const theirs = `${network}-theirs`;
  await docker.createNetwork({ Name: theirs, Driver: "bridge" });
  const warnings: string[] = [];
  const driver = dockerDriver({
    host,
    network: theirs,
    reach: "address",
    clock: systemClock(),
    log: { ...log, warn: (_: object, sentence: string) => void warnings.push(sentence) },
  });
  const one = service("theirs-one");
  await driver.deploy(await specOf(driver, one, { ref: images.worker }, { graceMs: 1, storageGb: 0 }), call());
  t.match(warnings, [/not made by berth/]);
  await docker.getContainer(one).remove({ force: true });
  await docker.getNetwork(theirs).remove();
  await driver.close();
});
