import t from "tap";
import { systemClock } from "../../clock.ts";
import { swarmDriver } from "../../drivers/swarm/driver.ts";
import { openLog } from "../../log.ts";
import { buildTestImages } from "../fixtures/images.ts";
import { openRegistry } from "../fixtures/registry.ts";
import { call, get, namer, rejectsWith, specOf, text, until } from "./conformance.ts";
import { openTwoNodes } from "./own-swarm.ts";

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

t.test("a task on another node is reached by a port of that node, heard, seen to die, and replaced", async (t) => {
  const service = name("far");
  // By its tag, which both nodes have: what one has built has another id on the other.
  const spec = { ...(await specOf(driver, service, { ref: images.onDemand })), image: images.onDemand };
  const { address } = await driver.deploy(spec, call());
  t.match(address?.host, /^10\.214\..*\.2$/, "the worker's own address");
  t.strictSame(await get(address as NonNullable<typeof address>, "/square?number=4"), { result: 16 });
  t.strictSame(await driver.list(call()), [{ service, labels: spec.labels, running: true, address }]);
  t.match(await text(driver.logs(service, { tail: 10 }, call())), /square listens on 15353/);
  const [found] = await onWorker(service);
  await worker.docker.getContainer(found?.Id ?? "none").kill();
  await until(t, "its end is known", async () => (await driver.inspect(service, call()))?.exit !== undefined);
  t.match(await driver.inspect(service, call()), { running: false, exit: { code: 137 } });
  const again = await driver.deploy(spec, call());
  t.strictSame(await get(again.address as NonNullable<typeof address>, "/square?number=5"), { result: 25 });
  await driver.destroy(service, call());
  t.strictSame(await onWorker(service), []);
});

t.test("one that runs out of memory over there is told as killed, perhaps for its memory", async (t) => {
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
