import t, { type Test } from "tap";
import type { ContainerAddress, ContainerView } from "../../../gateway/contract.ts";
import type { Container } from "../../../control/model/entities.ts";
import { Fault } from "../../../lib/fault.ts";
import { turns } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { crashing, listening } from "../../fixtures/memory-driver.ts";
import { type LifecycleFixture, openLifecycleFixture, USER } from "./lifecycle-fixture.ts";

const SECOND_MS = 1_000;
const REPLICAS = { min: 1, max: 4, targetConcurrency: 10, windowSeconds: 60 };

function viewOf(stand: LifecycleFixture, { id }: Container): ContainerView {
  return stand.lifecycle().viewOf(stand.row(id));
}

function addressesOf(stand: LifecycleFixture, container: Container): readonly ContainerAddress[] {
  const { availability } = viewOf(stand, container);
  return availability.kind === "awake" ? availability.addresses : [];
}

async function serves(stand: LifecycleFixture, container: Container, numbers: readonly number[]): Promise<void> {
  const present = () =>
    addressesOf(stand, container)
      .map(({ replica = 0 }) => replica)
      .toSorted((one, other) => one - other);
  await eventually(
    () => `replicas ${numbers.join(", ")} serve (${present().join(", ")})`,
    () => present().join() === numbers.join(),
  );
}

/** One gateway that knows every change. `load`: open requests on average over this second. */
function gatewayOf(stand: LifecycleFixture) {
  const lifecycle = stand.lifecycle();
  lifecycle.gatewayJoined("g", lifecycle.seq());
  return async (id: string, open: number, { seq = lifecycle.seq(), streams = {} }: { seq?: number; streams?: Record<string, number> } = {}) => {
    const lastActive = stand.clock.now();
    const others = Object.entries(streams).map(([of, count]) => ({ id: of, open: count, streams: count, lastActive }));
    await lifecycle.recordUse({
      gateway: "g",
      seq,
      uses: [{ id, open, streams: open, lastActive, load: { average: open, ms: SECOND_MS } }, ...others],
    });
    await turns();
  };
}

async function pass(stand: LifecycleFixture, seconds: number, eachSecond: () => Promise<void>): Promise<void> {
  for (let second = 0; second < seconds; second++) {
    await stand.clock.advance(SECOND_MS);
    await eachSecond();
  }
}

t.test("the least number of replicas runs once the container is started, and none when it is stopped", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { replicas: { ...REPLICAS, min: 3 } } });
  await stand.start(web.id);
  await serves(stand, web, [1, 2, 3]);
  t.equal(new Set(addressesOf(stand, web).map(({ port }) => port)).size, 3);
  t.same(viewOf(stand, web).replicas, {});
  t.match(stand.lifecycle().replicasOf(web.id), {
    ready: 3,
    wanted: 3,
    min: 3,
    max: 4,
    says: /container\.json has at least so many\.$/,
  });
  const own = (await stand.store().containers.all()).map(({ id }) => id);
  t.same(own, [web.id], "the container alone is listed");
  t.equal(stand.world.running().length, 3);
  await stand.stop(web.id);
  await eventually("all replicas to stop", () => stand.world.running().length === 0);
  await stand.start(web.id);
  await serves(stand, web, [1, 2, 3]);
});

t.test("replicas are started for the load, and stopped once it was lower for a whole window", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { replicas: REPLICAS } });
  await stand.start(web.id);
  const report = gatewayOf(stand);
  await pass(stand, 7, () => report(web.id, 25));
  await serves(stand, web, [1, 2, 3]);
  t.match(stand.lifecycle().replicasOf(web.id)?.says, /open on average over 60 s; each replica is to have 10\. Their number has at least doubled/);
  await pass(stand, 90, () => report(web.id, 25));
  t.match(stand.lifecycle().replicasOf(web.id), {
    ready: 3,
    wanted: 3,
    says: /3 of 3 replicas ready\. 2[45][.\d]* requests and WebSockets were open on average/,
  });
  await pass(stand, 55, () => report(web.id, 1));
  await serves(stand, web, [1, 2, 3]);
  t.match(stand.lifecycle().replicasOf(web.id)?.says, /1 would be enough now|2 would be enough now/);
  await pass(stand, 70, () => report(web.id, 1));
  await serves(stand, web, [1]);
  await eventually("the others to stop", () => stand.world.running().length === 1);
});

t.test("a replica that is to go gets nothing new, and stops when its last exchange has ended", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { replicas: { ...REPLICAS, max: 2 } } });
  await stand.start(web.id);
  const report = gatewayOf(stand);
  await pass(stand, 7, () => report(web.id, 20));
  await serves(stand, web, [1, 2]);
  const owner = addressesOf(stand, web).find(({ replica }) => replica === 2)?.owner ?? "";
  const streams = { [owner]: 1 };
  for (let second = 0; second < 130 && addressesOf(stand, web).length === 2; second++) await pass(stand, 1, () => report(web.id, 1, { streams }));
  await serves(stand, web, [1]);
  const reason = "The container needs fewer replicas: connect again";
  t.match(viewOf(stand, web), { stopReason: undefined, replicas: { stopping: [{ replica: 2, reason }] } }, "its WebSockets are closed");
  await pass(stand, 30, () => report(web.id, 1, { streams }));
  t.equal(stand.world.running().length, 2, "its exchange is open");
  t.equal(stand.row(owner).state, "PENDING_SYSTEM_STOP");
  await report(web.id, 1);
  await stand.reaches(owner, "SYSTEM_STOPPED");
  t.equal(stand.world.running().length, 1);
  t.same(viewOf(stand, web).replicas, {});
});

t.test("an exchange that does not end is waited for no longer than a minute", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { replicas: { ...REPLICAS, max: 2, windowSeconds: 6 } } });
  await stand.start(web.id);
  const report = gatewayOf(stand);
  await pass(stand, 7, () => report(web.id, 20));
  await serves(stand, web, [1, 2]);
  const owner = addressesOf(stand, web).find(({ replica }) => replica === 2)?.owner ?? "";
  const streams = { [owner]: 1 };
  for (let second = 0; second < 30 && addressesOf(stand, web).length === 2; second++) await pass(stand, 1, () => report(web.id, 1, { streams }));
  await serves(stand, web, [1]);
  await pass(stand, 61, () => report(web.id, 1, { streams }));
  await stand.reaches(owner, "SYSTEM_STOPPED");
});

t.test("the end of one replica takes its address alone, and it is started again while the others serve", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { onDemand: true, shutdownTimeoutMinutes: 5, replicas: { ...REPLICAS, min: 3 } } });
  await stand.wake(web.id);
  await serves(stand, web, [1, 2, 3]);
  const counts: number[] = [];
  t.teardown(stand.lifecycle().watch((change) => void ("container" in change && counts.push(addressesOf(stand, web).length))));
  const second = addressesOf(stand, web).find(({ replica }) => replica === 2)?.owner ?? "";
  await stand.world.kill(stand.row(second).service);
  await eventually("its address to be gone", () => counts.includes(2));
  await serves(stand, web, [1, 2, 3]);
  counts.length = 0;
  // The container itself: its replicas serve, so it does not sleep.
  await stand.world.kill(stand.row(web.id).service);
  await eventually("its address to be gone", () => counts.includes(2));
  await serves(stand, web, [1, 2, 3]);
  t.notOk(counts.includes(0), "it was never without an address");
});

t.test("a replica that fails is tried again after back-off, and the container itself as well", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { onDemand: true, replicas: { ...REPLICAS, min: 2 } } });
  await stand.wake(web.id);
  await serves(stand, web, [1, 2]);
  const { ref } = stand.image(web.imageId);
  stand.world.apps.set(ref, crashing);
  await stand.world.kill(stand.row(web.id).service);
  await stand.reaches(web.id, "ERROR");
  await serves(stand, web, [2]);
  stand.world.apps.set(ref, listening);
  await eventually("it to be tried again", async () => {
    await stand.clock.advance(SECOND_MS);
    return addressesOf(stand, web).length === 2;
  });
  stand.world.apps.set(ref, crashing);
  const second = addressesOf(stand, web).find(({ replica }) => replica === 2)?.owner ?? "";
  await stand.world.kill(stand.row(second).service);
  await stand.reaches(second, "ERROR");
  t.match(stand.lifecycle().replicasOf(web.id), { ready: 1, wanted: 2, says: /Replica 2 is tried again: test-web-replica-2/ });
  stand.world.apps.set(ref, listening);
  await eventually("it to be tried again", async () => {
    await stand.clock.advance(SECOND_MS);
    return addressesOf(stand, web).length === 2;
  });
});

t.test("all replicas sleep when the container is idle, and go with it when it is removed", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { onDemand: true, shutdownTimeoutMinutes: 1, replicas: { ...REPLICAS, min: 2 } } });
  await stand.wake(web.id);
  await serves(stand, web, [1, 2]);
  await stand.clock.advance(61 * SECOND_MS);
  await stand.reaches(web.id, "SYSTEM_STOPPED");
  await eventually("all to stop", async () => {
    await stand.clock.advance(SECOND_MS);
    return stand.world.running().length === 0;
  });
  t.equal(viewOf(stand, web).availability.kind, "asleep");
  await stand.wake(web.id);
  await serves(stand, web, [1, 2]);
  await stand.lifecycle().remove(web.id);
  await eventually("all to be removed", () => stand.world.facts().length === 0);
  t.same(await stand.store().containers.replicated(), []);
});

t.test("a user's restart restarts all replicas, also where the first one has failed", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { replicas: { ...REPLICAS, min: 3 } } });
  await stand.start(web.id);
  await serves(stand, web, [1, 2, 3]);
  const instances = () => stand.world.facts().map(({ instance }) => instance);
  const restartAll = async () => {
    const before = new Set(instances());
    await stand.lifecycle().requestRestart(web.id, USER);
    await eventually("three others serve in their places", async () => {
      await stand.clock.advance(SECOND_MS);
      return addressesOf(stand, web).length === 3 && instances().every((one) => !before.has(one));
    });
    t.equal(instances().length, 3);
  };
  await restartAll();
  stand.world.apps.set("datagrok/web:1.0.0", crashing);
  await stand.world.kill(web.service);
  await stand.reaches(web.id, "ERROR");
  await serves(stand, web, [2, 3]);
  stand.world.apps.set("datagrok/web:1.0.0", listening);
  await restartAll();
});

t.test("after a restart of control, what ran goes on", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { replicas: REPLICAS } });
  await stand.start(web.id);
  const report = gatewayOf(stand);
  await pass(stand, 7, () => report(web.id, 35));
  await serves(stand, web, [1, 2, 3, 4]);
  await stand.restart();
  await serves(stand, web, [1, 2, 3, 4]);
  await pass(stand, 50, () => turns());
  await serves(stand, web, [1, 2, 3, 4]);
  await pass(stand, 30, () => turns());
  await serves(stand, web, [1]);
});

t.test("a smaller maximum removes the surplus, a new definition replaces all", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { replicas: { ...REPLICAS, min: 3 } } });
  await stand.start(web.id);
  await serves(stand, web, [1, 2, 3]);
  const { config } = stand.row(web.id);
  await stand
    .store()
    .containers.update(web.id, { generation: 2, env: { OWN: "new" }, config: { ...config, replicas: { ...REPLICAS, min: 2, max: 2 } } });
  await stand.lifecycle().definitionChanged(web.id, USER);
  await serves(stand, web, [1, 2]);
  const generations = () =>
    stand.world
      .facts()
      .map(({ labels }) => labels.generation)
      .join();
  await eventually(
    () => `the new definition to run twice (${generations()})`,
    () => generations() === "2,2",
  );
  await stand.store().containers.update(web.id, { generation: 3, config: { ...config, replicas: undefined } });
  await stand.lifecycle().definitionChanged(web.id, USER);
  await eventually("one to run", () => generations() === "3");
  await eventually("its view to be that of any container", () => viewOf(stand, web).replicas === undefined);
});

t.test("max_concurrency is that of each replica that is ready", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { maxConcurrency: 4, replicas: { ...REPLICAS, min: 3 } } });
  stand.lifecycle().gatewayJoined("one", 0);
  stand.lifecycle().gatewayJoined("two", 0);
  await stand.start(web.id);
  await serves(stand, web, [1, 2, 3]);
  t.equal(viewOf(stand, web).maxConcurrency, (4 * 3) / 2);
  const second = addressesOf(stand, web).find(({ replica }) => replica === 2)?.owner ?? "";
  t.equal(stand.row(second).config.maxConcurrency, undefined);
  const limits: (number | undefined)[] = [];
  t.teardown(stand.lifecycle().watch((change) => void ("container" in change && limits.push(viewOf(stand, web).maxConcurrency))));
  await stand.world.kill(stand.row(second).service);
  await eventually("its places to be gone", () => limits.includes(4));
});

t.test("a container with a TCP listener has one replica and one port, whatever its container.json says", async (t) => {
  const tcp = { ports: { first: 7000, last: 7010 }, host: "gateway", images: [{ name: "postgres", port: 5432 }] };
  const stand = await openLifecycleFixture(t, { tcp });
  const config = { replicas: { ...REPLICAS, min: 3 } };
  const database = await stand.publish({ dockerfile: "FROM postgres:16\nEXPOSE 5432\n", config });
  await stand.start(database.id);
  await gatewayOf(stand)(database.id, 40);
  await pass(stand, 7, () => turns());
  t.equal(stand.world.running().length, 1);
  t.equal(addressesOf(stand, database).length, 1);
  t.match(viewOf(stand, database), { tcp: { port: 7000 } });
  t.match(stand.lifecycle().replicasOf(database.id)?.says, /has one replica, because berth distributes HTTP requests only/);
  t.same(await stand.store().containers.tcpPorts(), [7000]);
});

t.test("a replica that reports that it is busy keeps the container awake, and is not the one that scale-in stops", async (t) => {
  const stand = await openLifecycleFixture(t);
  const config = { onDemand: true, shutdownTimeoutMinutes: 1, replicas: { ...REPLICAS, max: 3, windowSeconds: 6 } };
  const web = await stand.publish({ config });
  await stand.wake(web.id);
  const report = gatewayOf(stand);
  await pass(stand, 7, () => report(web.id, 30));
  await serves(stand, web, [1, 2, 3]);
  // The one with the largest number is stopped first, where nothing else decides.
  const third = addressesOf(stand, web).find(({ replica }) => replica === 3)?.owner ?? "";
  await stand.lifecycle().setBusy(third, 600 * SECOND_MS);
  await pass(stand, 120, () => report(web.id, 0));
  await serves(stand, web, [1, 3]);
  t.match(JSON.stringify(await stand.lifecycle().explain(web.id, new AbortController().signal)), /has reported that it is busy/);
  await stand.lifecycle().setBusy(third, 0);
  await stand.clock.advance(61 * SECOND_MS);
  await pass(stand, 3, () => report(web.id, 0));
  t.match(viewOf(stand, web).availability, { kind: "asleep" });
});

/** A container whose second replica drains, with one open exchange: `report` continues that. */
async function withDrainingReplica(stand: LifecycleFixture, max: number) {
  const web = await stand.publish({ config: { replicas: { ...REPLICAS, max, windowSeconds: 6 } } });
  await stand.start(web.id);
  const report = gatewayOf(stand);
  await pass(stand, 7, () => report(web.id, 20));
  await serves(stand, web, [1, 2]);
  const second = addressesOf(stand, web).find(({ replica }) => replica === 2)?.owner ?? "";
  const streams = { [second]: 1 };
  for (let passed = 0; passed < 30 && addressesOf(stand, web).length === 2; passed++) await pass(stand, 1, () => report(web.id, 1, { streams }));
  await stand.reaches(second, "PENDING_SYSTEM_STOP");
  return { web, second, report: (open: number) => report(web.id, open, { streams }) };
}

t.test("where one still drains, another starts at once", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { web, second, report } = await withDrainingReplica(stand, 3);
  await pass(stand, 5, () => report(20));
  await serves(stand, web, [1, 3]);
  t.equal(stand.row(second).state, "PENDING_SYSTEM_STOP");
});

t.test("a user's stop ends also a replica that drains", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { web, second, report } = await withDrainingReplica(stand, 2);
  await stand.lifecycle().requestStop(web.id, USER);
  await pass(stand, 5, () => report(0));
  await stand.reaches(second, "USER_STOPPED");
  t.equal(stand.world.running().length, 0);
});

t.test("a smaller maximum lets exchanges at the surplus end", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { replicas: { ...REPLICAS, min: 3 } } });
  await stand.start(web.id);
  await serves(stand, web, [1, 2, 3]);
  const report = gatewayOf(stand);
  const third = addressesOf(stand, web).find(({ replica }) => replica === 3)?.owner ?? "";
  const streams = { [third]: 1 };
  await report(web.id, 1, { streams });
  const { config } = stand.row(web.id);
  await stand.store().containers.update(web.id, { config: { ...config, replicas: { ...REPLICAS, min: 2, max: 2 } } });
  await stand.lifecycle().definitionChanged(web.id, USER);
  await serves(stand, web, [1, 2]);
  await pass(stand, 30, () => report(web.id, 1, { streams }));
  t.equal(stand.row(third).state, "PENDING_SYSTEM_STOP");
  t.equal(stand.world.running().length, 3);
  await report(web.id, 1);
  await eventually("it to be removed", async () => (await stand.store().containers.replicasOf(web.id)).length === 1);
  t.equal(stand.world.running().length, 2);
});

/** The fewest addresses that its view had since this call. */
function fewestAddresses(t: Test, stand: LifecycleFixture, container: Container): () => number {
  let fewest = addressesOf(stand, container).length;
  const look = () => void (fewest = Math.min(fewest, addressesOf(stand, container).length));
  t.teardown(stand.lifecycle().watch(look));
  return () => fewest;
}

/** The definitions that run. */
function generationsOf(stand: LifecycleFixture): string {
  return stand.world
    .facts()
    .filter(({ running }) => running)
    .map(({ labels }) => labels.generation)
    .toSorted((one, other) => one - other)
    .join();
}

async function redefine(stand: LifecycleFixture, { id }: Container, generation: number): Promise<void> {
  await stand.store().containers.update(id, { generation, env: { OWN: `${generation}` } });
  await stand.lifecycle().definitionChanged(id, USER);
}

async function advanceUntil(stand: LifecycleFixture, what: string, holds: () => boolean): Promise<void> {
  await eventually(what, async () => {
    if (holds()) return true;
    await stand.clock.advance(SECOND_MS);
    return holds();
  });
}

t.test("a new definition replaces replicas one after another", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { replicas: { ...REPLICAS, min: 3, max: 3 } } });
  await stand.start(web.id);
  await serves(stand, web, [1, 2, 3]);
  const fewest = fewestAddresses(t, stand, web);
  const instances: number[] = [];
  t.teardown(stand.lifecycle().watch(() => void instances.push(stand.world.running().length)));
  await redefine(stand, web, 2);
  await advanceUntil(stand, "all to be replaced", () => generationsOf(stand) === "2,2,2");
  await serves(stand, web, [1, 2, 3]);
  t.equal(fewest(), 2, "at least two served at each time");
  t.equal(Math.max(...instances), 3, "not more than the largest number ran");
});

t.test("where one more is allowed, it serves before the first is replaced", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { replicas: { ...REPLICAS, max: 2 } } });
  await stand.start(web.id);
  const fewest = fewestAddresses(t, stand, web);
  await redefine(stand, web, 2);
  await advanceUntil(stand, "one of the new definition to be left", () => generationsOf(stand) === "2");
  await serves(stand, web, [1]);
  t.equal(fewest(), 1, "a replica served at each time");
});

/** An orchestrator that has place for so many instances. */
function openFull(t: Test, places: number): Promise<LifecycleFixture> {
  let running = (): number => 0;
  const opened = openLifecycleFixture(t, {
    driver: (driver) => ({
      ...driver,
      deploy: (spec, call) => (running() < places ? driver.deploy(spec, call) : Promise.reject(new Fault("NO_CAPACITY", "insufficient resources"))),
    }),
  });
  void opened.then(({ world }) => (running = () => world.running().length));
  return opened;
}

t.test("where the orchestrator has no place for one more, a new definition replaces without it", async (t) => {
  const stand = await openFull(t, 1);
  const web = await stand.publish({ config: { replicas: { ...REPLICAS, max: 2 } } });
  await stand.start(web.id);
  await redefine(stand, web, 2);
  await advanceUntil(stand, "it to be replaced", () => generationsOf(stand) === "2");
  await serves(stand, web, [1]);
  await advanceUntil(stand, "the further one to be given up", () => stand.lifecycle().replicasOf(web.id)?.wanted === 1);
});

t.test("where there is no place for a third, both are replaced, and one that does not start ends that", async (t) => {
  const stand = await openFull(t, 2);
  const web = await stand.publish({ config: { replicas: { ...REPLICAS, min: 2, max: 3 } } });
  await stand.start(web.id);
  await serves(stand, web, [1, 2]);
  await redefine(stand, web, 2);
  await advanceUntil(stand, "both to be replaced", () => generationsOf(stand) === "2,2");
  await advanceUntil(stand, "the third to be given up", () => stand.lifecycle().replicasOf(web.id)?.wanted === 2);
  stand.world.apps.set(stand.image(web.imageId).ref, crashing);
  await redefine(stand, web, 3);
  await advanceUntil(stand, "one to be lost", () => generationsOf(stand) === "2");
  await pass(stand, 120, () => turns());
  t.equal(generationsOf(stand), "2", "one goes on serving");
});

t.test("a new definition that does not start replaces one replica at most, and a corrected one all", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { replicas: { ...REPLICAS, min: 3, max: 3 } } });
  await stand.start(web.id);
  await serves(stand, web, [1, 2, 3]);
  const { ref } = stand.image(web.imageId);
  stand.world.apps.set(ref, crashing);
  await redefine(stand, web, 2);
  await stand.reaches(web.id, "ERROR");
  await pass(stand, 60, () => turns());
  await serves(stand, web, [2, 3]);
  t.equal(generationsOf(stand), "1,1");
  t.match(stand.lifecycle().replicasOf(web.id)?.says, /2 of 2 run the definition before, and are replaced one after another/);
  stand.world.apps.set(ref, listening);
  await redefine(stand, web, 3);
  await advanceUntil(stand, "all to be replaced", () => generationsOf(stand) === "3,3,3");
  await serves(stand, web, [1, 2, 3]);
});

t.test("an open exchange ends before its replica is replaced, that of the container itself too", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { replicas: { ...REPLICAS, min: 2, max: 2 } } });
  await stand.start(web.id);
  await serves(stand, web, [1, 2]);
  const report = gatewayOf(stand);
  const second = addressesOf(stand, web).find(({ replica }) => replica === 2)?.owner ?? "";
  const both = (own: number, further: number) => report(web.id, own + further, { streams: { [second]: further } });
  await both(1, 1);
  await redefine(stand, web, 2);
  await serves(stand, web, [2]);
  const reason = "The container is replaced by a newer version: connect again";
  t.match(viewOf(stand, web), { stopReason: undefined, replicas: { stopping: [{ replica: 1, reason }] } }, "only its WebSockets are closed");
  await pass(stand, 30, () => both(1, 1));
  t.equal(generationsOf(stand), "1,1", "an exchange is open at the container itself");
  await both(0, 1);
  await eventually("it to be replaced", () => generationsOf(stand) === "1,2");
  await serves(stand, web, [1]);
  await pass(stand, 30, () => both(0, 1));
  t.equal(generationsOf(stand), "1,2", "an exchange is open at the replica");
  await both(0, 0);
  await advanceUntil(stand, "it to be replaced", () => generationsOf(stand) === "2,2");
});

t.test("replicas restart one after another at the end of their lifetimes, and the container serves all the time", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { maxMinutes: 1, replicas: { ...REPLICAS, min: 3, max: 3 } } });
  await stand.start(web.id);
  await serves(stand, web, [1, 2, 3]);
  const first = new Set(stand.world.facts().map(({ instance }) => instance));
  const fewest = fewestAddresses(t, stand, web);
  await pass(stand, 58, () => turns());
  t.same(new Set(stand.world.facts().map(({ instance }) => instance)), first, "none has reached its end");
  await advanceUntil(
    stand,
    "all to be new",
    () => stand.world.facts().length === 3 && stand.world.facts().every(({ instance }) => !first.has(instance)),
  );
  await serves(stand, web, [1, 2, 3]);
  t.equal(fewest(), 2);
});

t.test("a container that is always on starts its next replica before it restarts for its max_minutes", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { maxMinutes: 1, replicas: { ...REPLICAS, max: 2 } } });
  await stand.start(web.id);
  const begun = stand.row(web.id).runningSince ?? 0;
  const fewest = fewestAddresses(t, stand, web);
  await advanceUntil(stand, "it to run anew", () => stand.row(web.id).state === "STARTED" && (stand.row(web.id).runningSince ?? 0) > begun);
  await serves(stand, web, [1]);
  t.equal(fewest(), 1, "it was never unavailable");
});

t.test("where no next replica can be started, it restarts all the same", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { maxMinutes: 1, replicas: { ...REPLICAS, max: 2 } } });
  await stand.start(web.id);
  const begun = stand.row(web.id).runningSince ?? 0;
  const { ref } = stand.image(web.imageId);
  // The first is a further replica.
  let starts = 0;
  stand.world.apps.set(ref, { ...listening, run: (start) => (starts++ === 0 ? crashing : listening).run(start) });
  await advanceUntil(stand, "it to run anew", () => stand.row(web.id).state === "STARTED" && (stand.row(web.id).runningSince ?? 0) > begun);
  t.ok(starts >= 2);
});

t.test("a stop has ended when all replicas have stopped", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { replicas: { ...REPLICAS, min: 3 } } });
  await stand.start(web.id);
  await serves(stand, web, [1, 2, 3]);
  const report = gatewayOf(stand);
  const third = addressesOf(stand, web).find(({ replica }) => replica === 3)?.owner ?? "";
  await report(web.id, 1, { streams: { [third]: 1 } });
  await stand.lifecycle().requestStop(web.id, USER);
  await eventually("the container to be stopped", async () => {
    // As a gateway does after each change: each replica that begins to stop is one.
    await report(web.id, 1, { streams: { [third]: 1 } });
    return stand.row(web.id).state === "USER_STOPPED";
  });
  let isSettled = false;
  const settled = stand.lifecycle().settled(web.id, new AbortController().signal);
  void settled.then(() => (isSettled = true));
  await turns();
  t.notOk(isSettled, "an exchange is open at a replica");
  t.match(stand.lifecycle().replicasOf(web.id)?.says, /The container is stopped\. Replicas? .*3 still stops?\./);
  await stand.clock.advance(3 * SECOND_MS);
  await settled;
  t.equal(stand.world.running().length, 0);
  t.ok(
    stand
      .lifecycle()
      .replicasOf(web.id)
      ?.each.every(({ state }) => state === "USER_STOPPED"),
  );
});

t.test("a stop names the replica that could not be stopped, and waits no longer for it", async (t) => {
  const stand = await openLifecycleFixture(t, {
    // An engine that does not stop one service.
    driver: (driver) => ({
      ...driver,
      destroy: (service, ...rest) =>
        service.includes("replica-2") ? Promise.reject(new Fault("ENGINE_FAILED", "device is busy")) : driver.destroy(service, ...rest),
    }),
    limits: { statusMs: 20 * SECOND_MS },
  });
  const web = await stand.publish({ config: { replicas: { ...REPLICAS, min: 2 } } });
  await stand.start(web.id);
  await serves(stand, web, [1, 2]);
  await stand.stop(web.id);
  const settled = stand.lifecycle().settled(web.id, new AbortController().signal);
  await advanceUntil(stand, "its limit to pass", () => stand.lifecycle().replicasOf(web.id)?.each[1]?.state === "ERROR");
  await settled;
  t.match(stand.lifecycle().replicasOf(web.id)?.says, /Replica 2 could not be stopped: .*device is busy/);
});

t.test("a rename reaches replicas, and restarts none", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { replicas: { ...REPLICAS, min: 2 } } });
  await stand.start(web.id);
  await serves(stand, web, [1, 2]);
  const instances = stand.world.facts().map(({ instance }) => instance);
  const second = addressesOf(stand, web).find(({ replica }) => replica === 2)?.owner ?? "";
  await stand.store().containers.update(web.id, { name: "site", friendlyName: "Site" });
  await stand.lifecycle().definitionChanged(web.id, USER);
  await eventually("its replica to be renamed", () => stand.row(second).name === "site-replica-2" && stand.row(second).friendlyName === "Site");
  await pass(stand, 5, () => turns());
  t.same(
    stand.world.facts().map(({ instance }) => instance),
    instances,
  );
});

t.test("a report of load reads no rows where nothing is to change", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: { replicas: { ...REPLICAS, min: 3 } } });
  await stand.start(web.id);
  await serves(stand, web, [1, 2, 3]);
  const report = gatewayOf(stand);
  await pass(stand, 5, () => report(web.id, 5));
  const { containers } = stand.store();
  const { replicasOf } = containers;
  let reads = 0;
  containers.replicasOf = (id) => {
    reads++;
    return replicasOf(id);
  };
  await pass(stand, 60, () => report(web.id, 5));
  t.equal(reads, 0);
  await pass(stand, 60, () => report(web.id, 40));
  await serves(stand, web, [1, 2, 3, 4]);
  t.ok(reads > 0);
});

t.test("all further replicas of a server have a bound, and packages take turns", async (t) => {
  const stand = await openLifecycleFixture(t, { capacity: { ofUser: {}, ofAll: {}, replicas: 3 } });
  const config = { replicas: { ...REPLICAS, max: 10, windowSeconds: 6 } };
  const other = "44444444-4444-4444-8444-444444444444";
  await stand.store().packages.insert({ id: other, name: "other", version: "1.0.0", authorId: USER, createdOn: 1, updatedOn: 1 });
  const web = await stand.publish({ config });
  const api = await stand.publish({ config, name: "api" });
  await stand.store().containers.update(api.id, { packageId: other });
  await stand.lifecycle().definitionChanged(api.id);
  await stand.start(web.id);
  await stand.start(api.id);
  const report = gatewayOf(stand);
  await pass(stand, 4, async () => {
    await report(web.id, 50);
    await report(api.id, 50);
  });
  const counts = () => [addressesOf(stand, web).length, addressesOf(stand, api).length].toSorted((one, other) => one - other).join();
  await eventually(
    () => `each to have its share (${counts()})`,
    () => counts() === "2,3",
  );
  t.match(stand.lifecycle().replicasOf(web.id)?.says, /3 further replicas at most \(BERTH_CAPACITY_REPLICAS\)/);
  // What one package does not need any more, the other gets.
  await pass(stand, 90, async () => {
    await report(web.id, 50);
    await report(api.id, 0);
  });
  await serves(stand, web, [1, 2, 3, 4]);
  t.equal(stand.world.running().length, 5);
});
