import t from "tap";
import type { ContainerAddress, ContainerView } from "../../../gateway/contract.ts";
import type { Container } from "../../../control/model/entities.ts";
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
