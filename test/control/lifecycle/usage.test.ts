import t, { type Test } from "tap";
import type { Usage } from "../../../drivers/driver.ts";
import { createUsage, openUseRecord } from "../../../control/lifecycle/usage.ts";
import { Fault } from "../../../lib/fault.ts";
import { openLog } from "../../../lib/log.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { listening } from "../../fixtures/memory-driver.ts";
import { type LifecycleFixture, openLifecycleFixture, USER } from "./lifecycle-fixture.ts";

const MINUTE = 60_000;
const CONFIG = { onDemand: true, shutdownTimeoutMinutes: 2, worker: true };

/** `read`: what the engine says of a worker's use, now; the time counts from its first call. */
async function openWorker(t: Test, read: ((ms: number) => Usage | undefined) | undefined, calls: string[] = []) {
  const begin = { at: undefined as number | undefined };
  const stand = await openLifecycleFixture(t, {
    limits: { graceMs: 1_000 },
    driver: (driver, clock) => ({
      ...driver,
      ...(read && {
        usage: (service: string) => {
          calls.push(service);
          begin.at ??= clock.monotonic();
          return Promise.resolve(read(clock.monotonic() - begin.at));
        },
      }),
    }),
  });
  const { id } = await stand.publish({ app: listening, config: CONFIG });
  await stand.lifecycle().requestStart(id, USER);
  await eventually("started", async () => {
    await stand.clock.advance(100);
    return stand.row(id).state === "STARTED";
  });
  return { stand, id };
}

async function pass(stand: LifecycleFixture, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 2_000) await stand.clock.advance(Math.min(left, 2_000));
}

t.test("a queue worker that does nothing but send heartbeats falls asleep", async (t) => {
  const { stand, id } = await openWorker(t, (ms) => ({ cpuMs: ms * 0.01, networkBytes: ms }));
  await pass(stand, MINUTE);
  t.equal(stand.row(id).state, "STARTED");
  await pass(stand, 1.5 * MINUTE);
  await stand.reaches(id, "SYSTEM_STOPPED");
});

for (const [what, read] of [
  ["computes", (ms: number) => ({ cpuMs: ms * 0.5, networkBytes: 0 })],
  ["moves data", (ms: number) => ({ cpuMs: 0, networkBytes: ms * 1_000 })],
  ["computes, by an engine that tells only of the last half a minute", () => ({ cpuMs: 10_000, networkBytes: 0, windowMs: 30_000 })],
] as const) {
  t.test(`one that ${what} does not`, async (t) => {
    const { stand, id } = await openWorker(t, read);
    await pass(stand, 6 * MINUTE);
    t.equal(stand.row(id).state, "STARTED");
    const explained = await stand.lifecycle().explain(id, new AbortController().signal);
    t.match(explained.awake, [{ kind: "recentUse", says: /worked/ }]);
  });
}

t.test("one that computed falls asleep once it has been idle for long enough", async (t) => {
  const { stand, id } = await openWorker(t, (ms) => ({ cpuMs: Math.min(ms, 4 * MINUTE), networkBytes: 0 }));
  await pass(stand, 5 * MINUTE);
  t.equal(stand.row(id).state, "STARTED");
  await pass(stand, 1.5 * MINUTE);
  await stand.reaches(id, "SYSTEM_STOPPED");
});

for (const [what, read] of [
  ["has no statistics", undefined],
  ["does not know", () => undefined],
  [
    "fails",
    () => {
      throw new Fault("ENGINE_FAILED", "no statistics");
    },
  ],
] as const) {
  t.test(`where the engine ${what}, it stays awake, and the explanation says so`, async (t) => {
    const { stand, id } = await openWorker(t, read);
    await pass(stand, 5 * MINUTE);
    t.equal(stand.row(id).state, "STARTED");
    t.match((await stand.lifecycle().explain(id, new AbortController().signal)).awake, [{ kind: "unmeasured" }]);
  });
}

t.test("a worker that began to work since the last measurement is not stopped", async (t) => {
  let cpuMs = 0;
  const { stand, id } = await openWorker(t, () => ({ cpuMs, networkBytes: 0 }));
  await pass(stand, 1.9 * MINUTE);
  cpuMs = 60_000;
  await pass(stand, MINUTE);
  t.equal(stand.row(id).state, "STARTED");
});

t.test("it is measured once in a sweep, and not while it sleeps", async (t) => {
  const calls: string[] = [];
  const { stand, id } = await openWorker(t, () => ({ cpuMs: 0, networkBytes: 0 }), calls);
  const before = calls.length;
  await pass(stand, MINUTE);
  t.ok(calls.length - before >= 5 && calls.length - before <= 7, `${calls.length - before} calls in a minute`);
  await pass(stand, 2 * MINUTE);
  await stand.reaches(id, "SYSTEM_STOPPED");
  const after = calls.length;
  await pass(stand, MINUTE);
  t.equal(calls.length, after);
});

for (const [what, aheadMs] of [
  ["behind", -10 * MINUTE],
  ["ahead", 10 * MINUTE],
] as const) {
  t.test(`the use by a gateway whose clock is ${what} counts when it happens`, async (t) => {
    const stand = await openLifecycleFixture(t);
    const lifecycle = stand.lifecycle();
    lifecycle.gatewayJoined("g", lifecycle.seq());
    const { id } = await stand.publish({ app: listening, config: { onDemand: true, shutdownTimeoutMinutes: 2 } });
    await stand.wake(id);
    const report = (lastActive: number) =>
      lifecycle.recordUse({
        gateway: "g",
        seq: lifecycle.seq(),
        at: stand.clock.now() + aheadMs,
        uses: [{ id, open: 0, streams: 0, lastActive: lastActive + aheadMs }],
      });
    // Short requests, none of which is open while the gateway reports.
    for (let minutes = 0; minutes < 5; minutes++) {
      await stand.clock.advance(MINUTE);
      await report(stand.clock.now() - 500);
    }
    t.equal(stand.row(id).state, "STARTED");
    // As one that it could not send before.
    const usedOn = stand.clock.now() - 500;
    await stand.clock.advance(1.5 * MINUTE);
    await report(usedOn);
    await stand.clock.advance(MINUTE);
    await stand.reaches(id, "SYSTEM_STOPPED");
  });
}

t.test("of two reports of a gateway the newer one counts, and what it was once known to have received stays so", async (t) => {
  const usage = createUsage(createStillClock(), 0);
  const useOf = (id: string) => ({ id, open: 1, streams: 1, lastActive: 1 });
  usage.joined("gateway", 5);
  const large = Array.from({ length: 20_000 }, (_, n) => useOf(`container ${n}`));
  await Promise.all([usage.report({ gateway: "gateway", seq: 5, uses: large }), usage.report({ gateway: "gateway", seq: 3, uses: [useOf("one")] })]);
  t.same([usage.open("container 7"), usage.open("one")], [0, 1]);
  t.ok(usage.drained("container 7", 5));
});

t.test("a last use that could not be stored is stored with the next ones", async (t) => {
  const clock = createStillClock();
  const usage = createUsage(clock, 0);
  const stored: [string, number][][] = [];
  const touch = async (uses: ReadonlyMap<string, number>) => {
    stored.push([...uses]);
    if (stored.length === 1) throw new Fault("STORE_UNAVAILABLE", "away");
  };
  const record = openUseRecord({
    store: { containers: { touch } } as unknown as Parameters<typeof openUseRecord>[0]["store"],
    usage,
    clock,
    flushMs: 1_000,
    log: openLog({ level: "silent", name: "test" }),
  });
  record.start();
  usage.used("a", 1);
  await clock.advance(1_000);
  usage.used("b", 2);
  await clock.advance(1_000);
  await record.close();
  t.same(
    stored.map((uses) => new Map(uses)),
    [
      new Map([["a", 1]]),
      new Map([
        ["a", 1],
        ["b", 2],
      ]),
    ],
  );
});
