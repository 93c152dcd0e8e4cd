import t, { type Test } from "tap";
import type { OwnedCall } from "../../../drivers/driver.ts";
import { LIFECYCLE_LIMITS, type LifecycleLimits } from "../../../control/lifecycle/limits.ts";
import type { ContainerConfig } from "../../../control/model/entities.ts";
import { listening, type MemoryApp } from "../../fixtures/memory-driver.ts";
import { openLifecycleFixture, type LifecycleFixture, USER } from "./lifecycle-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

const GATEWAY = "gateway-1";
const MINUTE = 60_000;

async function started(t: Test, config: Partial<ContainerConfig> = {}, limits: Partial<LifecycleLimits> = {}, app: MemoryApp = listening) {
  const stand = await openLifecycleFixture(t, { limits });
  const { id, service } = await stand.publish({ config, app });
  await stand.start(id);
  const use = (open: number, streams = open, seq = stand.lifecycle().seq()) =>
    stand.lifecycle().recordUse({ gateway: GATEWAY, seq, uses: [{ id, open, streams, lastActive: stand.clock.now() }] });
  const join = () => stand.lifecycle().gatewayJoined(GATEWAY, stand.lifecycle().seq());
  return { stand, id, service, use, join };
}

/** Time in pieces, so that what one piece sets going is done before the next. */
async function pass(stand: LifecycleFixture, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 5_000) await stand.clock.advance(Math.min(left, 5_000));
}

t.test("a stop reads the log of its own service, and not that of another owner's of its name", async (t) => {
  const owners: OwnedCall["owner"][] = [];
  const stand = await openLifecycleFixture(t, {
    driver: (driver) => ({
      ...driver,
      logs: (service, options, call) => {
        owners.push(call.owner);
        return driver.logs(service, options, call);
      },
    }),
  });
  const { id } = await stand.publish({ app: listening });
  await stand.start(id);
  await stand.stop(id);
  t.strictSame(owners, [{ store: stand.store().id, container: id }]);
});

t.test("a user's stop without open requests is done at once, and keeps the last log lines", async (t) => {
  const app: MemoryApp = {
    ...listening,
    run: ({ say, listen }) => {
      say("last lines");
      listen();
    },
  };
  const { stand, id, service } = await started(t, {}, {}, app);
  await stand.lifecycle().requestStop(id, USER);
  t.match(stand.row(id), { state: "PENDING_USER_STOP", desiredInstances: 0 }, "the desired state is written when the call returns");
  t.match(await stand.reaches(id, "USER_STOPPED"), {
    addresses: { length: 0 },
    runningGeneration: undefined,
    runningSince: undefined,
    stopFor: "user",
    lastLogs: "last lines\n",
  });
  t.same(stand.world.left(service), []);
});

t.test("a stop waits until every gateway knows of it and nothing is open", async (t) => {
  const { stand, id, use, join } = await started(t);
  join();
  await use(1);
  const before = stand.lifecycle().seq();
  await stand.lifecycle().requestStop(id, USER);
  await stand.clock.advance(100);
  t.equal(stand.row(id).state, "PENDING_USER_STOP");
  await use(0, 0, before);
  await stand.clock.advance(100);
  t.equal(stand.row(id).state, "PENDING_USER_STOP", "a report from before the change proves nothing");
  await use(0, 1);
  await stand.clock.advance(100);
  t.equal(stand.row(id).state, "PENDING_USER_STOP", "a WebSocket is open");
  await use(0);
  await stand.reaches(id, "USER_STOPPED");
});

t.test("a container stops when it has run for its max_minutes, in use or not, across a kill of berth; the next request starts it", async (t) => {
  const { stand, id, use, join } = await started(t, { onDemand: true, maxMinutes: 3 }, { pausedMs: 10 * MINUTE });
  const begun = stand.row(id).runningSince ?? 0;
  join();
  await use(1);
  await pass(stand, 2 * MINUTE);
  await stand.restart();
  join();
  await use(1);
  await pass(stand, MINUTE - 10_000);
  const explained = await stand.lifecycle().explain(id, new AbortController().signal);
  t.match(explained.timers, [{ kind: "lifetimeEnd", at: begun + 3 * MINUTE }]);
  t.match(explained.awake[0]?.says, /has run for 3 minutes \(max_minutes\)/);
  t.equal(stand.row(id).state, "STARTED");
  await pass(stand, 10_000);
  t.match(stand.row(id), { state: "PENDING_SYSTEM_STOP", desiredInstances: 0 });
  t.match(stand.lifecycle().viewOf(stand.row(id)), {
    availability: { kind: "asleep" },
    stopReason: "The container has run for 3 minutes, its max_minutes: connect again",
  });
  await use(1);
  await stand.clock.advance(100);
  t.equal(stand.row(id).state, "PENDING_SYSTEM_STOP", "an open request does not keep it running, but may end");
  await use(0);
  t.match(await stand.reaches(id, "SYSTEM_STOPPED"), { runningSince: undefined, pausedOn: undefined });
  const { why, history } = await stand.lifecycle().explain(id, new AbortController().signal);
  t.equal(why, "It had run for 3 minutes, its max_minutes, and was stopped. The next request wakes it.");
  t.ok(history.some(({ event }) => event === "expired"));
  await stand.wake(id);
  t.ok((stand.row(id).runningSince ?? 0) > begun);
});

t.test("a request that does not end delays the end of a lifetime by the drain limit only", async (t) => {
  const { stand, id, use, join } = await started(t, { onDemand: true, maxMinutes: 1 });
  join();
  await use(1);
  await pass(stand, MINUTE);
  await use(1);
  t.equal(stand.row(id).state, "PENDING_SYSTEM_STOP");
  await stand.clock.advance(10_000);
  await stand.reaches(id, "SYSTEM_STOPPED");
});

t.test("a container that is always on starts again after its max_minutes, and requests wait for it", async (t) => {
  const { stand, id } = await started(t, { maxMinutes: 1 });
  const before = stand.world.facts()[0]?.instance;
  const begun = stand.row(id).runningSince ?? 0;
  const views: string[] = [];
  stand.lifecycle().watch((change) => "container" in change && views.push(stand.lifecycle().viewOf(change.container).availability.kind));
  await pass(stand, MINUTE);
  await eventually("it runs anew", () => stand.row(id).state === "STARTED" && (stand.row(id).runningSince ?? 0) >= begun + MINUTE);
  t.not(stand.world.facts()[0]?.instance, before);
  t.notOk(views.includes("asleep") || views.includes("stopped"), "requests are held all the time");
  const { why } = await stand.lifecycle().explain(id, new AbortController().signal);
  t.match(why, /again after its max_minutes/);
});

t.test("a container that another one depends on starts again after its max_minutes", async (t) => {
  const { stand, id } = await started(t, { onDemand: true, maxMinutes: 1 });
  const begun = stand.row(id).runningSince ?? 0;
  const front = await stand.publish({ name: "front", config: { dependsOn: ["web"] } });
  await stand.start(front.id);
  await pass(stand, MINUTE);
  await eventually("it runs anew", () => stand.row(id).state === "STARTED" && (stand.row(id).runningSince ?? 0) >= begun + MINUTE);
  t.equal(stand.row(front.id).state, "STARTED");
});

t.test("an address that is suspect for a moment does not lengthen a lifetime", async (t) => {
  const { stand, id } = await started(t, { onDemand: true, maxMinutes: 1 });
  const { runningSince } = stand.row(id);
  await stand.clock.advance(30_000);
  await stand.lifecycle().wake(id, USER);
  await stand.reaches(id, "STARTED");
  await eventually("it is verified", () => stand.row(id).since > (runningSince ?? 0) && stand.row(id).state === "STARTED");
  t.equal(stand.row(id).runningSince, runningSince);
});

t.test("a container's own grace time does not count as the engine's delay, and stops that use it delay no others", async (t) => {
  const stopLane = { total: 1, perUser: 1 };
  const limits = { statusMs: MINUTE, lanes: { ...LIFECYCLE_LIMITS.lanes, stop: stopLane } };
  const { stand, id, service } = await started(t, { shutdownGraceSeconds: 120 }, limits);
  const other = await stand.publish({ name: "other" });
  await stand.start(other.id);
  const ending = Promise.withResolvers<void>();
  stand.world.holdDestroy = ending.promise;
  await stand.lifecycle().requestStop(id, USER);
  await eventually("the engine stops it", () => stand.world.callCount(`destroy ${service}`) === 1);
  stand.world.holdDestroy = undefined;
  await stand.lifecycle().requestStop(other.id, USER);
  await stand.clock.advance(9_000);
  t.equal(stand.row(other.id).state, "PENDING_USER_STOP");
  await stand.clock.advance(1_001);
  await stand.reaches(other.id, "USER_STOPPED");
  for (let ms = 0; ms < 85_000; ms += 5_000) await stand.clock.advance(5_000);
  t.equal(stand.row(id).state, "STOPPING", "longer than the status limit");
  ending.resolve();
  await stand.reaches(id, "USER_STOPPED");
});

t.test("a removed container ends once every gateway has closed what was open, or after a while", async (t) => {
  const { stand, id, service, use, join } = await started(t);
  join();
  await use(0, 1);
  await stand.lifecycle().remove(id);
  await stand.clock.advance(100);
  t.equal(stand.world.left(service).length, 1, "a WebSocket is open");
  await use(0);
  await eventually("it is gone", () => stand.world.left(service).length === 0);

  const second = await stand.publish({ name: "second" });
  await stand.start(second.id);
  await stand.lifecycle().recordUse({ gateway: GATEWAY, seq: 0, uses: [{ id: second.id, open: 1, streams: 1, lastActive: 0 }] });
  await stand.lifecycle().remove(second.id);
  await stand.clock.advance(1_000);
  t.equal(stand.world.left(second.service).length, 1);
  await stand.clock.advance(1_001);
  await eventually("it does not wait for longer", () => stand.world.left(second.service).length === 0);
});

t.test(
  "a container that says that it is busy does not sleep until then, across a kill of berth too; no other caller has to wait for it",
  async (t) => {
    const { stand, id } = await started(t, { onDemand: true, shutdownTimeoutMinutes: 1 }, { busyMs: 60 * MINUTE });
    const limit = stand.clock.now() + 60 * MINUTE;
    t.equal((await stand.lifecycle().setBusy(id, 24 * 60 * MINUTE)).busyUntil, limit, "no longer than it may");
    await stand.lifecycle().setBusy(id, 10 * MINUTE);
    await pass(stand, 5 * MINUTE);
    await stand.restart();
    await pass(stand, 4 * MINUTE);
    t.equal(stand.row(id).state, "STARTED");
    const { awake, timers } = await stand.lifecycle().explain(id, new AbortController().signal);
    t.match([awake.map(({ kind }) => kind), timers], [["busy"], [{ kind: "idleStop", at: stand.row(id).busyUntil }]]);
    await pass(stand, MINUTE + 1_000);
    t.match(await stand.reaches(id, "SYSTEM_STOPPED"), { busyUntil: 0 });
    await t.rejects(() => stand.lifecycle().setBusy(id, MINUTE), { code: "CONTAINER_STOPPED" });

    await stand.wake(id);
    await stand.lifecycle().setBusy(id, 10 * MINUTE);
    await stand.lifecycle().setBusy(id, 0);
    await pass(stand, 2 * MINUTE);
    await stand.reaches(id, "SYSTEM_STOPPED");

    await stand.wake(id);
    await stand.lifecycle().setBusy(id, 10 * MINUTE);
    await stand.stop(id);
  },
);

t.test("one that says that it is busy while it is being put to sleep stays awake", async (t) => {
  const { stand, id, use, join } = await started(t, { onDemand: true, shutdownTimeoutMinutes: 1 });
  join();
  await use(0, 1);
  await pass(stand, MINUTE + 1_000);
  await stand.reaches(id, "PENDING_SYSTEM_STOP");
  await stand.lifecycle().setBusy(id, 10 * MINUTE);
  t.match(await stand.reaches(id, "STARTED"), { desiredInstances: 1 });
});

t.test("after a stop, earlier failures neither count nor delay the next start", async (t) => {
  const { stand, id } = await started(t);
  await stand.store().containers.update(id, { attempts: 3, notBefore: stand.clock.now() + MINUTE });
  t.match(await stand.stop(id), { attempts: 0, notBefore: 0 });
  await stand.start(id);
});

t.test("a gateway that never answers delays a user's stop by two seconds, and no more", async (t) => {
  const { stand, id, join } = await started(t);
  join();
  await stand.lifecycle().requestStop(id, USER);
  await stand.clock.advance(1_999);
  t.equal(stand.row(id).state, "PENDING_USER_STOP");
  await stand.clock.advance(1);
  await stand.reaches(id, "USER_STOPPED");
});

t.test("a gateway that left is not waited for", async (t) => {
  const { stand, id, use, join } = await started(t);
  join();
  await use(1);
  await stand.lifecycle().requestStop(id, USER);
  await stand.clock.advance(100);
  stand.lifecycle().gatewayLeft(GATEWAY);
  await stand.reaches(id, "USER_STOPPED");
});

t.test("a container without traffic for its idle time is stopped by the system, exactly then", async (t) => {
  const { stand, id, use, join } = await started(t, { onDemand: true, shutdownTimeoutMinutes: 2 });
  join();
  await pass(stand, MINUTE);
  await use(1);
  await stand.clock.advance(1_000);
  await use(0);
  await pass(stand, 2 * MINUTE - 1);
  t.equal(stand.row(id).state, "STARTED");
  await stand.clock.advance(1);
  t.equal(stand.row(id).desiredInstances, 0);
  await use(0);
  t.match(await stand.reaches(id, "SYSTEM_STOPPED"), { stopFor: "system", desiredInstances: 0 });
  t.equal(stand.world.running().length, 0);
});

t.test("an open request is use for as long as it is open, however quiet", async (t) => {
  const { stand, id, use, join } = await started(t, { shutdownTimeoutMinutes: 1 });
  join();
  await use(1);
  await pass(stand, 10 * MINUTE);
  t.equal(stand.row(id).state, "STARTED");
  stand.lifecycle().gatewayLeft(GATEWAY);
  await pass(stand, MINUTE - 1);
  t.equal(stand.row(id).state, "STARTED", "its end was the last use");
  await stand.clock.advance(1);
  await stand.reaches(id, "SYSTEM_STOPPED");
});

t.test("bytes on a WebSocket are use, a silent one is none", async (t) => {
  const { stand, id, use, join } = await started(t, { shutdownTimeoutMinutes: 1 });
  join();
  for (let round = 0; round < 5; round++) {
    await pass(stand, 50_000);
    await use(0, 1);
  }
  t.equal(stand.row(id).state, "STARTED");
  await pass(stand, MINUTE);
  t.equal(stand.row(id).state, "PENDING_SYSTEM_STOP");
});

t.test("a plain container that fell asleep is woken by a request", async (t) => {
  const { stand, id, service } = await started(t, { shutdownTimeoutMinutes: 0.05 });
  await stand.clock.advance(3_000);
  await stand.reaches(id, "SYSTEM_STOPPED");
  await stand.wake(id);
  t.equal(stand.world.callCount(`deploy ${service}`), 2);
});

t.test("a request that comes while an idle container is stopped has it started again", async (t) => {
  const { stand, id, service, join } = await started(t, { onDemand: true, shutdownTimeoutMinutes: 1 });
  join();
  await pass(stand, MINUTE);
  t.equal(stand.row(id).state, "PENDING_SYSTEM_STOP");
  await stand.lifecycle().wake(id, USER);
  t.equal(stand.row(id).desiredInstances, 1);
  await pass(stand, 10_000);
  await eventually("started again", () => stand.world.callCount(`deploy ${service}`) === 2);
  await stand.reaches(id, "STARTED");
});

t.test("a request that was sent just before its gateway learned of an idle stop is not cut off: the stop is taken back", async (t) => {
  const { stand, id, service, use, join } = await started(t, { onDemand: true, shutdownTimeoutMinutes: 1 });
  join();
  await pass(stand, MINUTE);
  t.equal(stand.row(id).state, "PENDING_SYSTEM_STOP");
  await use(1);
  t.match(await stand.reaches(id, "STARTED"), { desiredInstances: 1, addresses: { length: 1 } });
  await pass(stand, 10 * MINUTE);
  t.equal(stand.row(id).state, "STARTED");
  await use(0);
  await pass(stand, MINUTE);
  await use(0);
  await stand.reaches(id, "SYSTEM_STOPPED");
  t.equal(stand.world.callCount(`deploy ${service}`), 1);
});

t.test("a request that waits for an idle container's end does not take its stop back", async (t) => {
  const { stand, id, use, join } = await started(t, { onDemand: true, shutdownTimeoutMinutes: 1 });
  join();
  await pass(stand, MINUTE);
  await use(1, 0);
  await stand.reaches(id, "SYSTEM_STOPPED");
});

t.test("without a time-out it runs for ever", async (t) => {
  const { stand, id } = await started(t);
  await pass(stand, 60 * MINUTE);
  t.equal(stand.row(id).state, "STARTED");
});

t.test("an engine that does not stop a container is named as the cause, and called again later", async (t) => {
  const { stand, id } = await started(t, {}, { statusMs: MINUTE });
  const gate = Promise.withResolvers<void>();
  stand.world.holdDestroy = gate.promise;
  await stand.lifecycle().requestStop(id, USER);
  await stand.reaches(id, "STOPPING");
  await pass(stand, MINUTE);
  t.match(await stand.reaches(id, "ERROR"), { fault: { code: "STOP_TIMED_OUT" }, desiredInstances: 0 });
  gate.resolve();
  stand.world.holdDestroy = undefined;
  await pass(stand, 10_000);
  await stand.reaches(id, "USER_STOPPED");
  t.equal(stand.world.running().length, 0);
});

t.test("a new definition replaces what runs once its requests have ended, and the desired state stays", async (t) => {
  const { stand, id, service, use, join } = await started(t);
  join();
  await use(1);
  await stand.store().containers.update(id, { generation: 2 });
  await stand.lifecycle().definitionChanged(id);
  await stand.clock.advance(1_000);
  t.match(stand.row(id), { state: "PENDING_SYSTEM_STOP", desiredInstances: 1 });
  await use(0);
  await eventually("replaced", () => stand.row(id).runningGeneration === 2);
  t.match(await stand.reaches(id, "STARTED"), { desiredInstances: 1 });
  t.same(stand.world.left(service), [service]);
});

t.test("the last use is written down every few seconds, and at the end", async (t) => {
  const { stand, id, use, join } = await started(t);
  join();
  await use(1);
  const usedOn = stand.clock.now();
  t.equal(stand.row(id).lastActive, 0, "not at every report");
  await stand.clock.advance(10_000);
  t.equal(stand.row(id).lastActive, usedOn);
  await use(1);
  const last = stand.clock.now();
  await stand.lifecycle().close();
  t.equal(stand.row(id).lastActive, last);
});

/** Control was killed, and began anew, while a stop for a new definition waited for an open request. Gateways have 3 s to join. */
async function killedWhileStopWaits(t: Test, drainMs: number) {
  const opened = await started(t, {}, { joinMs: 3_000, drainMs });
  const { stand, id, use, join } = opened;
  await stand.clock.advance(3_000);
  join();
  await use(1);
  await stand.store().containers.update(id, { generation: 2 });
  await stand.lifecycle().definitionChanged(id);
  await stand.reaches(id, "PENDING_SYSTEM_STOP");
  await stand.restart();
  return opened;
}

t.test("after a kill of control, a stop that waits for open requests waits until the gateways have joined again", async (t) => {
  const { stand, id, service, use, join } = await killedWhileStopWaits(t, 10_000);
  await stand.clock.advance(1_000);
  t.equal(stand.row(id).state, "PENDING_SYSTEM_STOP");
  join();
  await use(1);
  await stand.clock.advance(3_000);
  t.equal(stand.row(id).state, "PENDING_SYSTEM_STOP");
  t.equal(stand.world.callCount(`destroy ${service}`), 0);
  await use(0);
  await stand.reaches(id, "STARTED");
  t.equal(stand.row(id).runningGeneration, 2);
});

t.test("after a kill of control, a stop without a gateway goes on when all have had the time to join", async (t) => {
  const { stand, id } = await killedWhileStopWaits(t, 60_000);
  await stand.clock.advance(2_000);
  t.equal(stand.row(id).state, "PENDING_SYSTEM_STOP");
  await stand.clock.advance(1_000);
  await eventually("it was replaced", () => stand.row(id).runningGeneration === 2);
});
