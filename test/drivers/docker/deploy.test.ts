import { randomUUID } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { ClientRequest } from "node:http";
import t from "tap";
import { clockFrom, systemClock } from "../../../lib/clock.ts";
import { dockerDriver } from "../../../drivers/docker/driver.ts";
import { type Log, openLog } from "../../../lib/log.ts";
import { openEngine } from "../../fixtures/engine.ts";
import { buildTestImages } from "../../fixtures/images.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { openRegistry } from "../../fixtures/registry.ts";
import { call, namer, specOf } from "../conformance.ts";
import { openRewriter } from "../engine/engine-gate.ts";

const log = openLog({ level: "silent", name: "test" });
const { docker, host } = openEngine();
const images = await buildTestImages(docker, ["onDemand"]);
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
