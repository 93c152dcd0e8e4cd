import t from "tap";
import { systemClock } from "../../../lib/clock.ts";
import { swarmDriver } from "../../../drivers/swarm/driver.ts";
import { openLog } from "../../../lib/log.ts";

import { buildTestImages } from "../../fixtures/images.ts";
import { openRegistry } from "../../fixtures/registry.ts";
import { call, get, namer, rejectsWith, specOf, text } from "../conformance.ts";
import { openTwoNodes } from "./own-swarm.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** What runs on another node than the manager, of which the manager's engine sees nothing itself. */
t.setTimeout(240_000);

const LOGIN = { username: "reader", password: "secret" };
const { manager, worker } = await openTwoNodes(t);
const registry = await openRegistry(manager.here, LOGIN);
t.teardown(() => registry.close());
const images = await buildTestImages(manager.docker, ["onDemand", "hungry"]);
await buildTestImages(worker.docker, ["onDemand", "hungry"]);
const name = namer("nodes");
const signIn = (login: typeof LOGIN) => ({
  resolve: async () => undefined,
  fullNames: () => [],
  login: async () => login,
});
const open = (login = LOGIN) =>
  swarmDriver({
    host: manager.host,
    network: "berth-swarm-nodes",
    nodeRole: "cvm",
    reach: "auto",
    registry: signIn(login),
    clock: systemClock(),
    log: openLog({ level: "silent", name: "test" }),
    unplacedMs: 1_000,
  });
const driver = open();
const onWorker = (service: string) => worker.docker.listContainers({ filters: { label: [`com.docker.swarm.service.name=${service}`] } });

t.test("a task on another node is reached by a port of that node, its logs are read, and it is replaced after its death", async (t) => {
  const service = name("far");
  // By its tag, which both nodes have: what one has built has another id on the other.
  const spec = { ...(await specOf(driver, service, { ref: images.onDemand })), image: images.onDemand };
  const {
    addresses: [address],
  } = await driver.deploy(spec, call());
  t.match(address?.host, /^10\.214\..*\.2$/, "the worker's own address");
  t.strictSame(await get(address as NonNullable<typeof address>, "/square?number=4"), { result: 16 });
  t.match(await driver.list(call()), [{ service, labels: spec.labels, running: true, addresses: [address] }]);
  t.match(await text(driver.logs(service, { tail: 10 }, call())), /square listens on 15353/);
  const [found] = await onWorker(service);
  await worker.docker.getContainer(found?.Id ?? "none").kill();
  await eventually("its end is known", async () => (await driver.inspect(service, call()))?.exit !== undefined);
  t.match(await driver.inspect(service, call()), { running: false, exit: { code: 137 } });
  const again = await driver.deploy(spec, call());
  t.strictSame(await get(again.addresses[0] as NonNullable<typeof address>, "/square?number=5"), { result: 25 });
  await driver.destroy(service, call());
  t.strictSame(await onWorker(service), []);
});

t.test("a remote task that runs out of memory is reported as killed, perhaps for its memory", async (t) => {
  const service = name("hungry");
  const spec = { ...(await specOf(driver, service, { ref: images.hungry }, { memoryMb: 100 })), image: images.hungry };
  t.match((await rejectsWith(t, "CONTAINER_CRASHED", driver.deploy(spec, call()))).message, /exit code 137 \(killed, perhaps for its memory\)/);
});

t.test("an image that was built on the manager alone finds no node where only others have the role", async (t) => {
  const service = name("built");
  const spec = await specOf(driver, service, { ref: images.onDemand });
  t.match(spec.image, /^sha256:/);
  await rejectsWith(t, "CONTAINER_UNSCHEDULABLE", driver.deploy(spec, call()));
});

t.test("another node pulls by itself, with what the registry wants to be signed in with", async (t) => {
  const service = name("pulled");
  registry.put("datagrok/app", "1", "one");
  const spec = await specOf(driver, service, { ref: `${registry.host}/datagrok/app:1` });
  // Its command is none: that it crashes shows that it was there.
  await rejectsWith(t, "CONTAINER_CRASHED", driver.deploy(spec, call()));
  t.ok((await worker.docker.listImages()).some(({ RepoDigests }) => RepoDigests?.includes(spec.image)));
  for (const { Id, RepoDigests } of await worker.docker.listImages())
    if (RepoDigests?.includes(spec.image)) await worker.docker.getImage(Id).remove({ force: true });
  const eve = open({ username: "eve", password: "guessed" });
  t.match((await rejectsWith(t, "PULL_DENIED", eve.deploy(spec, call()))).message, /the user "eve"/);
});

t.test("berth in a container beside the manager reaches a task on another node by name, over the overlay", async (t) => {
  const service = name("named");
  const spec = { ...(await specOf(driver, service, { ref: images.onDemand })), image: images.onDemand };
  const script = `
    const { swarmDriver } = await import("/berth/drivers/swarm/driver.ts");
    const { systemClock } = await import("/berth/lib/clock.ts");
    const write = () => {};
    const log = { debug: write, info: write, warn: write, error: write };
    const options = { host: "unix:///engine.sock", network: "berth-swarm-nodes", nodeRole: "cvm", reach: "auto" };
    const driver = swarmDriver({ ...options, clock: systemClock(), log });
    const { addresses: [address] } = await driver.deploy(${JSON.stringify(spec)}, { signal: AbortSignal.timeout(30000) });
    const response = await fetch("http://" + address.host + ":" + address.port + "/square?number=7");
    console.log(JSON.stringify({ address, body: await response.json() }));
    await driver.close();`;
  const inside = await manager.docker.createContainer({
    Image: images.onDemand,
    Cmd: ["node", "--input-type=module", "-e", script],
    HostConfig: { Binds: [`${import.meta.dirname}/../../..:/berth:ro`, `${manager.host.replace("unix://", "")}:/engine.sock`] },
  });
  await inside.start();
  const { StatusCode } = (await inside.wait()) as { StatusCode: number };
  const output = (await inside.logs({ stdout: true, stderr: true })).subarray(8).toString();
  t.equal(StatusCode, 0, output);
  t.strictSame(JSON.parse(output), { address: { host: service, port: 15353 }, body: { result: 49 } });
  t.equal((await onWorker(service)).length, 1, "it runs over there");
  await inside.remove({ force: true });
  await driver.destroy(service, call());
});

t.test("a start that the swarm places on a node that was just lost goes on at another node", async (t) => {
  const { Swarm } = (await manager.docker.info()) as { Swarm: { NodeID: string } };
  const node = manager.docker.getNode(Swarm.NodeID);
  const label = async (Labels: Record<string, string>) => {
    const { Spec, Version } = (await node.inspect()) as { Spec: object; Version: { Index: number } };
    await node.update({ _query: { version: Version.Index }, _body: { ...Spec, Labels } });
  };
  await label({ role: "cvm" });
  worker.pause();
  // They are spread over both.
  const services = [name("spread-one"), name("spread-two")];
  const deployed = await Promise.all(
    services.map(async (service) =>
      driver.deploy({ ...(await specOf(driver, service, { ref: images.onDemand })), image: images.onDemand }, call(120_000)),
    ),
  );
  for (const { addresses } of deployed) t.match(addresses[0]?.host, /^10\.214\..*\.1$/, "the manager's own address");
  worker.resume();
  for (const service of services) await driver.destroy(service, call());
  await label({});
  await eventually("the worker to be back", async () =>
    ((await manager.docker.listNodes()) as { Status: { State: string } }[]).every(({ Status }) => Status.State === "ready"),
  );
});

t.test("of a node that is lost, nothing runs and nothing is waited for; back, it is of use again", async (t) => {
  const service = name("lost");
  const spec = { ...(await specOf(driver, service, { ref: images.onDemand })), image: images.onDemand };
  await driver.deploy(spec, call());
  await worker.stop();
  await eventually("the swarm to miss it", async () => (await driver.inspect(service, call()))?.running === false, 90_000);
  t.match(await driver.list(call()), [{ service, running: false }]);
  await rejectsWith(t, "CONTAINER_UNSCHEDULABLE", driver.deploy({ ...spec, labels: { ...spec.labels, generation: 2 } }, call()));
  t.equal(await driver.inspect(service, call()), undefined);
  await worker.start();
  const third = { ...spec, labels: { ...spec.labels, generation: 3 } };
  const address = await eventually("it to take a task again", () => driver.deploy(third, call()).then(({ addresses: [address] }) => address, () => undefined)); // prettier-ignore
  t.strictSame(await get(address, "/square?number=3"), { result: 9 });
  await driver.destroy(service, call());
  await eventually("nothing of it runs over there", async () => (await onWorker(service)).length === 0);
});
