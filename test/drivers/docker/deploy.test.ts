import { randomUUID } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { ClientRequest } from "node:http";
import t from "tap";
import { clockFrom, systemClock } from "../../../lib/clock.ts";
import { createRotation, DEFAULT_SUBNETS, parseSubnet } from "../../../drivers/docker/addresses.ts";
import { deploy } from "../../../drivers/docker/deploy.ts";
import { dockerDriver } from "../../../drivers/docker/driver.ts";
import { openNetworks } from "../../../drivers/docker/networks.ts";
import { openEngine as openDriverEngine } from "../../../drivers/engine/engine.ts";
import { writeLabels } from "../../../drivers/labels.ts";
import { type Log, openLog } from "../../../lib/log.ts";
import { openEngine } from "../../fixtures/engine.ts";
import { buildTestImages } from "../../fixtures/images.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { openRegistry } from "../../fixtures/registry.ts";
import { call, labelsFor, namer, specOf } from "../conformance.ts";
import { openRewriter } from "../engine/engine-gate.ts";

const log = openLog({ level: "silent", name: "test" });
const { docker, host } = openEngine();
const images = await buildTestImages(docker, ["onDemand", "worker"]);
const network = `berth-calls-${randomUUID().slice(0, 8)}`;
const name = namer("calls");

t.teardown(async () => {
  for (const { Id } of await docker.listContainers({ all: true, filters: { network: [network] } }))
    await docker.getContainer(Id).remove({ force: true });
  for (const { Id } of await docker.listNetworks({ filters: { label: [`berth.network=${network}`] } })) await docker.getNetwork(Id).remove();
});

const driver = dockerDriver({ host, network, reach: "address", clock: systemClock(), log });
t.teardown(() => driver.close());

/** The calls that the driver makes meanwhile, by method and path, with `*` for what is named. */
async function callsDuring(task: () => Promise<unknown>): Promise<string[]> {
  const calls: string[] = [];
  const record = (message: unknown) => {
    const { method, path } = (message as { request: ClientRequest }).request;
    calls.push(
      `${method} ${path.replace(/\?.*/, "").replace(/^\/(containers|networks|images)\/(?!create$|json$).+?(\/json|\/start|\/wait)?$/, "/$1/*$2")}`,
    );
  };
  subscribe("http.client.request.start", record);
  try {
    await task();
  } finally {
    unsubscribe("http.client.request.start", record);
  }
  return calls;
}

t.test("a start takes four calls to the engine, one of them its wait for the container's end", async (t) => {
  const first = name("first");
  const spec = await specOf(driver, first, { ref: images.onDemand });
  await driver.deploy(spec, call());
  const second = await specOf(driver, name("second"), { ref: images.onDemand });
  const calls = await callsDuring(() => driver.deploy(second, call()));
  t.strictSame(calls.toSorted(), ["GET /containers/*/json", "POST /containers/*/start", "POST /containers/*/wait", "POST /containers/create"]);
  for (const { service } of [spec, second]) await driver.destroy(service, call());
});

t.test("a network that was removed a moment after a start is made anew by the next one", async (t) => {
  const spec = await specOf(driver, name("again"), { ref: images.onDemand });
  await driver.deploy(spec, call());
  await driver.destroy(spec.service, call());
  const before = (await docker.getNetwork(network).inspect()) as { Id: string };
  await docker.getNetwork(network).remove();
  const {
    addresses: [address],
  } = await driver.deploy(spec, call());
  t.ok(address);
  const after = (await docker.getNetwork(network).inspect()) as { Id: string; Options: Record<string, string> };
  t.not(after.Id, before.Id);
  t.equal(after.Options["com.docker.network.bridge.enable_icc"], "false", "and isolates its containers as the first one did");
  await driver.destroy(spec.service, call());
});

t.test("a package's network that is removed while a start is about to use it is made anew by the same start", async (t) => {
  const own = `berth-raced-${randomUUID().slice(0, 8)}`;
  const engine = openDriverEngine({ host }, systemClock());
  t.teardown(() => engine.close());
  const pools = DEFAULT_SUBNETS.flatMap((cidr) => parseSubnet(cidr) ?? []);
  const networks = openNetworks({ engine, network: own, reach: "name", pools, restMs: 0, sharedServices: [], emptyMs: 0, log });
  const places: string[] = [];
  const spec = {
    ...(await specOf(driver, name("raced"), { ref: images.worker }, { graceMs: 1, port: undefined })),
    readiness: { kind: "running" as const },
  };
  const deployment = await deploy(
    {
      engine,
      view: { network: own, reach: "name", engineHost: "127.0.0.1" },
      site: { reach: "name", hostIp: "127.0.0.1", pidsLimit: 100, storageLimit: false },
      alsoOn: [],
      ports: { first: 1, rotation: createRotation(1, 0, systemClock()) },
      log,
      openPortMs: 1_000,
      place: async (spec, signal, previous) => {
        const place = await networks.placeFor(spec, signal, previous);
        // As the driver's removal of empty networks, or a user's, may do at this moment.
        if (places.push(place.id) === 1) await docker.getNetwork(place.id).remove();
        return place;
      },
      refresh: async () => undefined,
    },
    spec,
    call(),
  );
  t.equal(places.length, 2);
  const { NetworkSettings } = await docker.getContainer(deployment.instance ?? "").inspect();
  t.strictSame(
    Object.values(NetworkSettings.Networks).map(({ NetworkID }) => NetworkID),
    [places[1]],
  );
  await driver.destroy(spec.service, call());
  await docker.getNetwork(places[1] ?? "").remove();
});

t.test("of many containers that have ended, a few are inspected at a time", async (t) => {
  const services = Array.from({ length: 24 }, (_, at) => name(`ended-${at}`));
  const Labels = (service: string) => writeLabels(labelsFor(service), undefined);
  for (const service of services) await docker.createContainer({ name: service, Image: images.onDemand, Labels: Labels(service) });
  t.teardown(() => Promise.all(services.map((service) => docker.getContainer(service).remove())));
  let [open, most] = [0, 0];
  const isInspect = (message: unknown) => /containers\/.+\/json$/.test((message as { request: ClientRequest }).request.path);
  const began = (message: unknown) => void (isInspect(message) && (most = Math.max(most, ++open)));
  const ended = (message: unknown) => void (isInspect(message) && open--);
  subscribe("http.client.request.start", began);
  subscribe("http.client.response.finish", ended);
  const listed = await driver.list(call());
  unsubscribe("http.client.request.start", began);
  unsubscribe("http.client.response.finish", ended);
  t.strictSame(
    listed
      .map(({ service }) => service)
      .filter((service) => services.includes(service))
      .toSorted(),
    services.toSorted(),
  );
  t.ok(most > 1 && most <= 8, `${most} at a time`);
});

t.test("a network that an operator replaces by one without isolation is noticed by the engine's event, and the next start warns", async (t) => {
  const replaced = `berth-replaced-${randomUUID().slice(0, 8)}`;
  const lines: string[] = [];
  const ignore = () => {};
  const recording: Log = { debug: ignore, info: ignore, error: ignore, warn: (_, sentence) => void lines.push(sentence), child: () => recording };
  // By its clock the engine's report never becomes old.
  const still = clockFrom({ ...systemClock(), monotonic: () => 0 });
  const watching = dockerDriver({ host, network: replaced, reach: "address", clock: still, log: recording });
  const follow = new AbortController();
  const connected = Promise.withResolvers<void>();
  const following = (async () => {
    for await (const { kind } of watching.events({ signal: follow.signal })) if (kind === "connected") connected.resolve();
  })();
  await connected.promise;
  const start = async () => {
    const spec = await specOf(watching, name("replaced"), { ref: images.onDemand });
    await watching.deploy(spec, call());
    await watching.destroy(spec.service, call());
  };
  const warned = () => lines.some((line) => line.includes("was not made by berth"));
  await start();
  t.notOk(warned());
  const { IPAM } = (await docker.getNetwork(replaced).inspect()) as { IPAM: { Config: { Subnet: string; IPRange: string; Gateway: string }[] } };
  await docker.getNetwork(replaced).remove();
  // The same subnet, so that the engine would accept the addresses that berth gives.
  await docker.createNetwork({ Name: replaced, Driver: "bridge", IPAM: { Config: IPAM.Config } });
  await eventually("a start that warns", async () => {
    await start();
    return warned() ? true : undefined;
  });
  await docker.getNetwork(replaced).remove();
  await watching.close();
  follow.abort();
  await following;
});

t.test("a container that ends while a start adopts it is replaced, and not started again with what it wrote", async (t) => {
  const spec = await specOf(driver, name("ending"), { ref: images.onDemand });
  const first = await driver.deploy(spec, call());
  const running = JSON.stringify(await docker.getContainer(spec.service).inspect());
  await docker.getContainer(spec.service).kill();
  let reports = 1;
  // The engine's report of a moment ago.
  const late = await openRewriter(t, host, (path, status, body) =>
    status === 200 && path.includes(`/containers/${spec.service}/json`) && reports-- > 0 ? running : body,
  );
  const adopting = dockerDriver({ host: late, network, reach: "address", clock: systemClock(), log });
  t.teardown(() => adopting.close());
  const second = await adopting.deploy(spec, call());
  t.not(second.instance, first.instance);
  t.ok(reports < 1, "it was taken for running");
  await driver.destroy(spec.service, call());
});

t.test("a pause that the engine refuses is tried again, a few times", async (t) => {
  const spec = await specOf(driver, name("frozen"), { ref: images.onDemand });
  await driver.deploy(spec, call());
  let refusals = 0;
  const busy = await openRewriter(
    t,
    host,
    (_path, _status, body) => body,
    (path) => (path.endsWith("/pause") && refusals-- > 0 ? "cannot pause container: OCI runtime pause failed: unable to freeze: unknown" : undefined),
  );
  const pausing = dockerDriver({ host: busy, network, reach: "address", clock: systemClock(), log });
  t.teardown(() => pausing.close());
  refusals = 1_000;
  t.equal(await pausing.pause?.(spec.service, call()), false);
  t.ok(refusals > 990, "an engine that cannot freeze is not called again and again");
  refusals = 1;
  t.equal(await pausing.pause?.(spec.service, call()), true);
  t.equal((await driver.inspect(spec.service, call()))?.paused, true);
  await driver.destroy(spec.service, call());
});

t.test("an image that left the engine since it was resolved is pulled by the start", async (t) => {
  const registry = await openRegistry();
  t.teardown(() => registry.close());
  const ref = `${registry.host}/datagrok/leaves:1`;
  registry.put("datagrok/leaves", "1", "one");
  const { id } = await driver.resolve({ ref }, call());
  await docker.getImage(ref).remove();
  const spec = { ...(await specOf(driver, name("leaves"), { ref: images.onDemand })), image: ref };
  // It holds no program that could run.
  const calls = await callsDuring(() => t.rejects(driver.deploy(spec, call())));
  const made = calls.filter((one) => one.startsWith("POST") && one.endsWith("/create"));
  t.strictSame(made, ["POST /containers/create", "POST /images/create", "POST /containers/create"]);
  t.equal((await docker.getImage(ref).inspect()).Id, id);
  await docker.getImage(ref).remove();
});
