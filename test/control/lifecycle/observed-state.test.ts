import { connect } from "node:net";
import t, { type Test } from "tap";
import type { Labels, Spec } from "../../../drivers/driver.ts";
import type { ContainerConfig } from "../../../control/model/entities.ts";
import { crashing, listening, type MemoryApp, mute } from "../../fixtures/memory-driver.ts";
import { openLifecycleFixture, type LifecycleFixture, USER } from "./lifecycle-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

const CALL = { signal: new AbortController().signal };

async function started(t: Test, config: Partial<ContainerConfig> = {}, app: MemoryApp = listening) {
  const stand = await openLifecycleFixture(t);
  const { id, service, imageId } = await stand.publish({ config, app });
  await stand.start(id);
  return { stand, id, service, imageId };
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

/** What another program, or an earlier berth, started with these labels. */
async function planted(stand: LifecycleFixture, service: string, labels: Partial<Labels>): Promise<void> {
  stand.world.apps.set("planted", listening);
  const sizes = { cpu: 1, memoryMb: 64, shmMb: 0, storageGb: 1, gpu: 0 };
  const spec: Spec = {
    service,
    image: "memory:planted",
    env: {},
    ...sizes,
    port: 5353,
    readiness: { kind: "port" },
    graceMs: 0,
    labels: { store: stand.store().id, environment: "test", container: "44444444-4444-4444-8444-444444444444", generation: 1, ...labels },
  };
  await stand.world.open().deploy(spec, CALL);
}

t.test("a plain container that dies is started again", async (t) => {
  const { stand, id, service } = await started(t);
  await stand.world.kill(service);
  await eventually("started again, at once", () => stand.world.callCount(`deploy ${service}`) === 2);
  t.match(await stand.reaches(id, "STARTED"), { fault: undefined, desiredInstances: 1, attempts: 1 });
  const [lost] = (await stand.store().history.of(id)).slice(-3);
  t.match(lost, { fromState: "CHECKING", toState: "PENDING_START", event: "lost", cause: { code: "CONTAINER_CRASHED" } });
});

t.test("one that dies again and again is started more slowly each time, and given up in the end", async (t) => {
  const { stand, id, service } = await started(t);
  await stand.world.kill(service);
  await eventually("started again, at once", () => stand.world.callCount(`deploy ${service}`) === 2);
  await stand.reaches(id, "STARTED");
  for (const waitMs of [1_000, 2_000, 4_000]) {
    await stand.world.kill(service);
    const { notBefore } = await stand.reaches(id, "PENDING_START");
    t.equal(notBefore - stand.clock.now(), waitMs);
    await stand.clock.advance(waitMs);
    await stand.reaches(id, "STARTED");
  }
  await stand.world.kill(service);
  t.match(await stand.reaches(id, "ERROR"), { desiredInstances: 1, attempts: 5, fault: { code: "CONTAINER_CRASHED" } });
});

t.test("one that ran well for a while owes nothing to earlier failures", async (t) => {
  const { stand, id, service } = await started(t);
  for (let round = 0; round < 6; round++) {
    await stand.clock.advance(60_000);
    await stand.world.kill(service);
    await eventually("started again, at once", () => stand.world.callCount(`deploy ${service}`) === round + 2);
    t.equal((await stand.reaches(id, "STARTED")).attempts, 1);
  }
});

t.test("an on-demand container that dies sleeps, keeps the cause, and is woken by the next request", async (t) => {
  const app: MemoryApp = {
    ...listening,
    run: (start) => {
      start.say("last lines");
      start.listen();
    },
  };
  const { stand, id, service } = await started(t, { onDemand: true }, app);
  await stand.world.kill(service, 137);
  t.match(await stand.reaches(id, "SYSTEM_STOPPED"), { desiredInstances: 0, fault: { code: "CONTAINER_CRASHED" }, lastLogs: "last lines" });
  await stand.clock.advance(30_000);
  t.equal(stand.row(id).state, "SYSTEM_STOPPED");
  await stand.wake(id);
});

t.test("a death of which no event tells is found by the sweep", async (t) => {
  const { stand, id, service } = await started(t, { onDemand: true });
  stand.world.deaf = true;
  stand.world.vanish(service);
  await stand.clock.advance(10_000);
  await stand.reaches(id, "SYSTEM_STOPPED");
});

t.test("a container that moved is followed to its new address", async (t) => {
  const { stand, id, service } = await started(t);
  const before = stand.row(id).addresses[0];
  await stand.world.moveAway(service);
  await eventually("moved", () => stand.row(id).state === "STARTED" && stand.row(id).addresses[0]?.port !== before?.port);
  t.ok(await accepts(stand.row(id).addresses[0]?.port ?? 0));
  t.equal(stand.world.running().length, 1);
});

t.test("an engine that is away changes no state, and what died meanwhile is found when it is back", async (t) => {
  const { stand, id, service } = await started(t);
  stand.world.away = true;
  await stand.clock.advance(120_000);
  t.equal(stand.row(id).state, "STARTED");
  // An engine that is away sends no event either.
  stand.world.deaf = true;
  await stand.world.kill(service);
  await stand.clock.advance(10_000);
  t.equal(stand.row(id).state, "STARTED");
  stand.world.away = false;
  await stand.clock.advance(61_000);
  await stand.clock.advance(2_000);
  t.match(await stand.reaches(id, "STARTED"), { desiredInstances: 1 });
  t.equal(stand.world.callCount(`deploy ${service}`), 2);
});

t.test("a plain container whose start met no engine starts once there is one", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, imageId } = await stand.publish();
  await eventually("valid", () => stand.image(imageId).state === "READY");
  stand.world.away = true;
  await stand.lifecycle().requestStart(id, USER);
  t.match(await stand.reaches(id, "ERROR"), { fault: { code: "ENGINE_UNREACHABLE" }, desiredInstances: 1 });
  stand.world.away = false;
  await stand.clock.advance(10_000);
  await stand.clock.advance(10_000);
  await stand.reaches(id, "STARTED");
});

t.test("an image that met no engine is validated once there is one", async (t) => {
  const stand = await openLifecycleFixture(t);
  stand.world.away = true;
  const { imageId } = await stand.publish();
  await eventually("refused", () => stand.image(imageId).state === "ERROR");
  stand.world.away = false;
  await stand.clock.advance(10_000);
  await eventually("ready", () => stand.image(imageId).state === "READY");
});

t.test("a stopped container that another program starts is stopped again", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, service } = await stand.publish();
  // It may be taken away before it is ready.
  await planted(stand, service, { container: id }).catch(() => {});
  await eventually("stopped again", () => stand.world.running().length === 0);
  t.equal((await stand.reaches(id, "USER_STOPPED")).desiredInstances, 0);
});

t.test("a container in error that is found healthy is started", async (t) => {
  const { stand, id, service } = await (async () => {
    const stand = await openLifecycleFixture(t);
    const { id, service } = await stand.publish({ app: crashing });
    await stand.lifecycle().requestStart(id, USER);
    await stand.reaches(id, "ERROR");
    return { stand, id, service };
  })();
  await planted(stand, service, { container: id });
  t.match(await stand.reaches(id, "STARTED"), { fault: undefined, desiredInstances: 1, runningGeneration: 1 });
});

t.test("killed and started again, it adopts what runs and starts nothing anew", async (t) => {
  const { stand, id, service } = await started(t);
  const { addresses } = stand.row(id);
  await stand.restart();
  await stand.clock.advance(10_000);
  t.match(stand.row(id), { state: "STARTED", addresses });
  t.equal(stand.world.callCount(`deploy ${service}`), 1);
});

t.test("killed in the middle of a start, the next one finishes it", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, service } = await stand.publish({ app: mute, config: { onDemand: true } });
  await stand.lifecycle().wake(id, USER);
  await eventually("it runs", () => stand.world.running().includes(service));
  t.equal(stand.row(id).state, "STARTING");
  stand.world.vanish(service);
  stand.world.apps.set(stand.image(stand.row(id).imageId).ref, listening);
  await stand.restart();
  await stand.reaches(id, "STARTED");
  t.same(stand.world.left(service), [service]);
});

t.test("killed in the middle of a stop, the next one finishes it", async (t) => {
  const { stand, id, service } = await started(t);
  stand.world.holdDestroy = new Promise(() => {});
  await stand.lifecycle().requestStop(id, USER);
  await stand.reaches(id, "STOPPING");
  stand.world.holdDestroy = undefined;
  await stand.restart();
  await stand.reaches(id, "USER_STOPPED");
  t.same(stand.world.left(service), []);
});

t.test("what died while berth was down is noticed at the start", async (t) => {
  const { stand, id, service } = await started(t, { onDemand: true });
  stand.world.deaf = true;
  await stand.world.kill(service);
  await stand.restart();
  await stand.reaches(id, "SYSTEM_STOPPED");
});

t.test("time in which no berth ran is no idle time", async (t) => {
  const { stand, id } = await started(t, { shutdownTimeoutMinutes: 1 });
  await stand.clock.advance(50_000);
  await stand.restart();
  await stand.clock.advance(59_000);
  t.equal(stand.row(id).state, "STARTED");
  await stand.clock.advance(2_000);
  await stand.reaches(id, "SYSTEM_STOPPED");
});

t.test("of what belongs to nothing, only what this store issued and removed is taken away", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish();
  await stand.lifecycle().remove(id);
  await eventually("tombstones are finalized", async () => (await stand.store().tombstones.open()).length === 0);
  await planted(stand, "removed-one", { container: id });
  await planted(stand, "unknown-one", {});
  // Its container is there, and has another service.
  await planted(stand, "second-one", { container: (await stand.publish({ name: "other" })).id });
  await planted(stand, "foreign-one", { store: "55555555-5555-4555-8555-555555555555", container: id });
  await stand.clock.advance(10_000);
  await eventually("removed", () => !stand.world.running().includes("removed-one"));
  await stand.clock.advance(30_000);
  t.same(stand.world.running().toSorted(), ["foreign-one", "second-one", "unknown-one"]);
  t.same(
    new Map(
      stand
        .lifecycle()
        .orphans()
        .map(({ observed: fact, why }) => [fact.service, why]),
    ),
    new Map([
      ["foreign-one", "another store"],
      ["second-one", "another name"],
      ["unknown-one", "unknown id"],
    ]),
  );
});

t.test("the service of a second store under a container's name is left alone by its stop and its removal", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, service } = await stand.publish();
  stand.world.begin(service, { store: "55555555-5555-4555-8555-555555555555", environment: "test", container: id, generation: 1 });
  await stand.lifecycle().requestStart(id, USER);
  await eventually("refused", () => stand.row(id).fault?.code === "SPEC_REFUSED");
  await stand.lifecycle().requestStop(id, USER);
  await stand.reaches(id, "USER_STOPPED");
  t.same(stand.world.running(), [service]);
  await stand.lifecycle().remove(id);
  await eventually("its tombstone is finalized", async () => (await stand.store().tombstones.open()).length === 0);
  t.same(stand.world.running(), [service]);
});

t.test("a container whose definition left its package is stopped, even without a notification", async (t) => {
  const { stand, id, service } = await started(t);
  await stand.store().containers.update(id, { desiredInstances: 0, stopFor: "user" });
  await stand.clock.advance(10_000);
  await stand.clock.advance(10_000);
  await stand.reaches(id, "USER_STOPPED");
  t.same(stand.world.left(service), []);
});
