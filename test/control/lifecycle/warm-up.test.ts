import t, { type Test } from "tap";
import { createSeriesRecorder } from "../../../control/lifecycle/record-series.ts";
import { createWarmUps, type WarmUpOptions } from "../../../control/lifecycle/warm-up.ts";
import type { ContainerConfig } from "../../../control/model/entities.ts";
import { hourOf } from "../../../control/model/usual-hours.ts";
import type { Driver } from "../../../drivers/driver.ts";
import { openLog } from "../../../lib/log.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { crashing } from "../../fixtures/memory-driver.ts";
import { isOfficeHour, storeWeeksOfUse } from "../../fixtures/weeks-of-use.ts";
import { type LifecycleFixture, openLifecycleFixture, USER } from "./lifecycle-fixture.ts";

// Time stands still at 22:13:20 on a Tuesday.
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const log = openLog({ level: "silent", name: "test" });
const signal = new AbortController().signal;
const isNightJob = ({ hour }: { hour: number }) => hour === 23;

async function pass(stand: LifecycleFixture, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 30_000) await stand.clock.advance(Math.min(left, 30_000));
}

async function publish(stand: LifecycleFixture, name: string, config: Partial<ContainerConfig> = {}) {
  const container = await stand.publish({ name, config: { onDemand: true, shutdownTimeoutMinutes: 1, ...config } });
  await eventually("its image", () => stand.image(stand.row(container.id).imageId).state === "READY");
  // As of long ago.
  await stand.store().containers.update(container.id, { createdOn: 1 });
  return container;
}

function warmUpsOf(stand: LifecycleFixture, options: Partial<WarmUpOptions> = {}, driver: Pick<Driver, "capacity"> = {}) {
  return createWarmUps({
    store: stand.store(),
    lifecycle: stand.lifecycle(),
    driver,
    clock: stand.clock,
    log,
    options: { mode: "auto", zone: "UTC", containers: 10, memoryPercent: 25, ...options },
  });
}

async function opened(t: Test) {
  const stand = await openLifecycleFixture(t);
  const { id, service } = await publish(stand, "web");
  await storeWeeksOfUse(stand.store(), id, stand.clock.now(), isNightJob);
  return { stand, id, service };
}

t.test("suggest changes nothing by itself, and lists what is worth it", async (t) => {
  const { stand, id } = await opened(t);
  const idle = await publish(stand, "idle");
  const warmUps = warmUpsOf(stand, { mode: "suggest" });
  await warmUps.learn();
  t.match(warmUps.suggestions(), [{ container: { id }, learned: { hours: ["Mon-Sun 23:00-24:00 UTC"], starts: 56, waitMs: 560_000 } }]);
  t.match(await warmUps.adviceOn(idle.id), { learned: { hours: { length: 0 }, starts: 0 } });
  t.equal(await warmUps.adviceOn("00000000-0000-4000-8000-000000000000"), undefined);
  t.equal(stand.row(id).warmUp, undefined);
  await pass(stand, HOUR);
  t.equal(stand.row(id).state, "SYSTEM_STOPPED");
});

t.test("auto starts a container when its usual hours begin, says why, keeps it for them, and lets it sleep then", async (t) => {
  const { stand, id } = await opened(t);
  await warmUpsOf(stand).learn();
  t.match(stand.row(id).warmUp, { hours: ["Mon-Sun 23:00-24:00 UTC"], by: "auto" });
  const begins = Date.parse("2023-11-14T23:00:00Z");
  t.match((await stand.lifecycle().explain(id, signal)).timers, [{ kind: "usualHours", at: begins }]);
  await stand.restart();
  await pass(stand, 47 * MINUTE);
  t.match(await stand.reaches(id, "STARTED"), { requestedFor: "usualHours", desiredInstances: 1 });
  const { why, awake } = await stand.lifecycle().explain(id, signal);
  t.match(why, /started for its usual hours \(Mon-Sun 23:00-24:00 UTC, by BERTH_WARM_UP=auto\)/);
  t.match(awake, [{ kind: "usualHours" }]);
  await pass(stand, 50 * MINUTE);
  t.equal(stand.row(id).state, "STARTED");
  await pass(stand, 15 * MINUTE);
  await stand.reaches(id, "SYSTEM_STOPPED");
  t.match(await stand.store().wakes.of(id), [{ startReason: "usualHours", byUser: undefined, outcome: "answered" }]);
});

/** `auto` has kept it warm for four weeks: nothing started cold. */
async function keptWarm(t: Test) {
  const stand = await openLifecycleFixture(t);
  const { id } = await publish(stand, "web");
  await storeWeeksOfUse(stand.store(), id, stand.clock.now(), isNightJob, true);
  await stand.lifecycle().setWarmUp(id, { hours: ["Mon-Sun 23:00-24:00 UTC"], by: "auto", since: 1 }, "auto");
  const isWarm = () => (stand.row(id).warmUp?.hours.length ?? 0) > 0;
  const warmUps = warmUpsOf(stand);
  await warmUps.learn();
  t.ok(isWarm(), "without cold starts it stays warm");
  return { stand, id, warmUps, isWarm };
}

t.test("after three usual periods without use auto stops warming, and begins again when it is used in one", async (t) => {
  const { stand, id, warmUps, isWarm } = await keptWarm(t);
  for (const stays of [true, true, false, false]) {
    stand.clock.jump(DAY);
    await warmUps.learn();
    t.equal(isWarm(), stays, new Date(stand.clock.now()).toISOString());
  }
  t.match(stand.row(id).warmUp, { hours: { length: 0 }, by: "auto" });
  const lastPeriod = hourOf(stand.clock.now()) - 23;
  await stand.store().useWeeks.add(lastPeriod, new Map([[id, { used: true, starts: 1, waitMs: 9_000, runMs: 60_000 }]]));
  await warmUps.learn();
  t.ok(isWarm(), "one use is enough");
});

t.test("auto keeps a container that failed warm again once a request has started it", async (t) => {
  const { stand, id, warmUps, isWarm } = await keptWarm(t);
  const { containers } = stand.store();
  await containers.move(id, "SYSTEM_STOPPED", "ERROR", {});
  await warmUps.learn();
  t.notOk(isWarm());
  t.match(stand.row(id).warmUp, { hours: { length: 0 }, by: "auto" });
  await containers.move(id, "ERROR", "STARTED", {});
  await warmUps.learn();
  t.ok(isWarm());
});

t.test("auto goes on after a time under another setting, in which a user may decide", async (t) => {
  const { stand, id, warmUps, isWarm } = await keptWarm(t);
  for (const mode of ["off", "suggest"] as const) {
    await warmUpsOf(stand, { mode }).learn();
    t.notOk(isWarm(), mode);
    await warmUps.learn();
    t.ok(isWarm(), `after ${mode}`);
  }
  const suggesting = warmUpsOf(stand, { mode: "suggest" });
  await suggesting.learn();
  t.strictSame(suggesting.suggestions(), [], "nothing started cold");
  await storeWeeksOfUse(stand.store(), id, stand.clock.now(), isNightJob);
  await suggesting.learn();
  t.match(suggesting.suggestions(), [{ container: { id } }], "it sleeps, and starts cold again");
});

t.test("auto forgets a container without usual hours, or with a keep_warm of its own", async (t) => {
  const { stand, id, warmUps } = await keptWarm(t);
  await stand.store().containers.update(id, { config: { ...stand.row(id).config, keepWarm: ["Sun 01:00-02:00"] } });
  await warmUps.learn();
  t.equal(stand.row(id).warmUp, undefined);
});

t.test("auto stays within its bounds of containers and memory, and leaves failed ones and the author's keep_warm alone", async (t) => {
  const stand = await openLifecycleFixture(t);
  const named = new Map<string, string>();
  for (const [name, config] of [
    ["small", { memoryMb: 100 }],
    ["middle", { memoryMb: 200 }],
    ["large", { memoryMb: 4_000 }],
    ["own", { memoryMb: 10, keepWarm: ["Sun 01:00-02:00"] }],
    ["never-idle", { memoryMb: 10, shutdownTimeoutMinutes: undefined }],
    ["failed", { memoryMb: 10 }],
  ] as const) {
    const { id } = await publish(stand, name, config);
    named.set(name, id);
    await storeWeeksOfUse(stand.store(), id, stand.clock.now(), isOfficeHour);
  }
  await stand.store().containers.move(named.get("failed") ?? "", "SYSTEM_STOPPED", "ERROR", {});
  const warm = () => [...named].filter(([, id]) => (stand.row(id).warmUp?.hours.length ?? 0) > 0).map(([name]) => name);
  await warmUpsOf(stand, { containers: 1 }).learn();
  t.strictSame(warm(), ["small"], "the most saved waiting for its memory comes first");
  const driver = { capacity: async () => ({ machines: 1, cpu: 4, memoryMb: 4_000 }) };
  await warmUpsOf(stand, {}, driver).learn();
  t.strictSame(warm(), ["small", "middle"], "a quarter of 4,000 MB");
  const { config } = stand.row(named.get("middle") ?? "");
  const replicas = { min: 5, max: 5, targetConcurrency: 10, windowSeconds: 60 };
  await stand.store().containers.update(named.get("middle") ?? "", { config: { ...config, replicas } });
  await warmUpsOf(stand, {}, driver).learn();
  t.strictSame(warm(), ["small"], "five replicas of 200 MB would be warm");
  await stand.store().containers.update(named.get("middle") ?? "", { config });
  await warmUpsOf(stand).learn();
  t.strictSame(warm(), ["small", "middle", "large"], "the driver reports no capacity");
  await stand.store().containers.move(named.get("small") ?? "", "SYSTEM_STOPPED", "ERROR", {});
  await warmUpsOf(stand, { containers: 2 }).learn();
  t.strictSame(warm(), ["middle", "large"]);
  await warmUpsOf(stand, { mode: "suggest" }).learn();
  t.strictSame(warm(), [], "another setting ends what auto chose");
});

t.test("what a user decided stays, whatever auto would choose", async (t) => {
  const { stand, id } = await opened(t);
  const { setWarmUp } = stand.lifecycle();
  await setWarmUp(id, { hours: [], by: "user", userId: USER, since: 1 }, "user");
  await warmUpsOf(stand).learn();
  t.match(stand.row(id).warmUp, { hours: { length: 0 }, by: "user" });
  await pass(stand, HOUR);
  t.equal(stand.row(id).state, "SYSTEM_STOPPED", "a user decided against it");
  await setWarmUp(id, { hours: ["Tue,Wed 23:00-01:00"], by: "user", userId: USER, since: 1 }, "user");
  await stand.reaches(id, "STARTED");
  t.match((await stand.lifecycle().explain(id, signal)).why, /usual hours \(Tue,Wed 23:00-01:00, chosen by a user\)/);
  await setWarmUp(id, undefined, "user");
  await pass(stand, 3 * MINUTE);
  await stand.reaches(id, "SYSTEM_STOPPED");
  t.equal(await setWarmUp("00000000-0000-4000-8000-000000000000", undefined, "user"), false);
});

t.test("a start for usual hours that fails is not repeated until a request comes", async (t) => {
  const { stand, id, service } = await opened(t);
  await warmUpsOf(stand).learn();
  stand.world.apps.set(stand.image(stand.row(id).imageId).ref, crashing);
  await pass(stand, 2 * HOUR);
  const deploys = stand.world.callCount(`deploy ${service}`);
  t.ok(deploys >= 1 && deploys <= 3, `${deploys} starts`);
});

t.test("of a container whose replicas run all the time, sleeping saved nothing", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish({ config: { replicas: { min: 3, max: 3, targetConcurrency: 10, windowSeconds: 60 } } });
  await stand.start(id);
  await eventually("three run", () => stand.world.running().length === 3);
  const recorder = createSeriesRecorder({ store: stand.store(), lifecycle: stand.lifecycle(), driver: {}, clock: stand.clock, log });
  const from = stand.clock.now();
  recorder.start();
  const { series, containers } = stand.store();
  const begins = { from: from - MINUTE, to: from + MINUTE };
  await stand.clock.advance(10_000);
  await eventually("an interval is stored", async () => (await series.sums(begins)).length > 0);
  await recorder.close();
  const ran = (await series.sums(begins)).find((one) => one.series === id);
  const { memoryMb } = stand.row(id).config;
  t.equal(ran?.runMbSeconds, ((ran?.runMs ?? 0) / 1_000) * memoryMb, "one container, and not its replicas");
  const hour = { from: from + MINUTE, to: from + MINUTE + HOUR };
  t.strictSame(await containers.lived(hour), { ms: HOUR, mbSeconds: 3_600 * memoryMb });
  t.strictSame(await containers.lived({ ...hour, ids: [id] }), await containers.lived(hour));
});

t.test("use is counted by the hour: requests and waits, cold starts and run time; what berth starts is no use", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await publish(stand, "web");
  const { hours } = warmUpsOf(stand, { mode: "suggest" });
  const now = () => stand.clock.now();
  hours?.used(id, now(), 4_000);
  hours?.started(id);
  hours?.ran(id, 10_000, now());
  hours?.used(id, now() - 2 * HOUR, 0);
  await hours?.turn();
  t.equal((await stand.store().useWeeks.of([id], 0)).size, 0, "the hour has not ended");
  stand.clock.jump(HOUR);
  hours?.ran(id, 10_000, now());
  await hours?.turn();
  const hour = hourOf(now()) - 1;
  t.strictSame((await stand.store().useWeeks.of([id], 0)).get(id), [{ hour, used: true, starts: 1, waitMs: 4_000, runMs: 10_000 }]);
  await hours?.close();
  t.match((await stand.store().useWeeks.of([id], 0)).get(id), [{ hour }, { hour: hour + 1, used: false, runMs: 10_000 }]);
  t.equal(warmUpsOf(stand, { mode: "off" }).hours, undefined);
});
