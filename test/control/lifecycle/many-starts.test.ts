import t from "tap";
import type { Driver } from "../../../drivers/driver.ts";
import { LIFECYCLE_LIMITS } from "../../../control/lifecycle/limits.ts";
import { turns } from "../../fixtures/clock.ts";
import { mute } from "../../fixtures/memory-driver.ts";
import { openLifecycleFixture, USER } from "./lifecycle-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

const OTHER = "66666666-6666-4666-8666-666666666666";

const COUNT = 200;

/** Counts how many calls a driver has at the same time. */
function counting() {
  const calls = { open: 0, most: 0 };
  const counted = async <T>(task: () => Promise<T>): Promise<T> => {
    calls.most = Math.max(calls.most, ++calls.open);
    try {
      return await task();
    } finally {
      calls.open--;
    }
  };
  const wrap = (driver: Driver): Driver => ({
    ...driver,
    resolve: (source, call) => counted(() => driver.resolve(source, call)),
    deploy: (spec, call) => counted(() => driver.deploy(spec, call)),
    destroy: (service, call) => counted(() => driver.destroy(service, call)),
    inspect: (service, call) => counted(() => driver.inspect(service, call)),
    list: (call) => counted(() => driver.list(call)),
  });
  return { calls, wrap };
}

t.test(
  "two hundred containers that are requested at once are started each once, a bounded number at a time; then a pass asks for one list",
  async (t) => {
    const { calls, wrap } = counting();
    const stand = await openLifecycleFixture(t, { driver: wrap });
    const all = await Promise.all(Array.from({ length: COUNT }, async (_, n) => stand.publish({ name: `many-${n}` })));
    await eventually("all images are ready", () => all.every(({ imageId }) => stand.image(imageId).state === "READY"));
    for (const { id } of all) await stand.lifecycle().requestStart(id, USER);
    await eventually("all have started", () => all.every(({ id }) => stand.row(id).state === "STARTED"));
    const { start, look, sweep } = LIFECYCLE_LIMITS.lanes;
    t.ok(calls.most <= start.total + look.total + sweep.total, `${calls.most} calls at a time`);
    t.ok(
      all.every(({ service }) => stand.world.callCount(`deploy ${service}`) === 1),
      "each was started once",
    );

    for (const when of ["quiet", "after a restart"]) {
      if (when !== "quiet") await stand.restart();
      await turns(200);
      stand.world.calls.length = 0;
      await stand.clock.advance(LIFECYCLE_LIMITS.sweepMs);
      await turns(200);
      t.strictSame(stand.world.calls, ["list"], when);
    }
    t.equal(stand.world.running().length, COUNT);
  },
);

t.test("two hundred starts that never listen keep neither another user's wake waiting nor a stop", async (t) => {
  const stand = await openLifecycleFixture(t);
  const never = await Promise.all(
    Array.from({ length: 200 }, async (_, n) => stand.publish({ name: `mute-${n}`, app: mute, config: { onDemand: true } })),
  );
  const other = await stand.publish({ name: "other", config: { onDemand: true } });
  const running = await stand.publish({ name: "running" });
  await eventually("all images are ready", () => [...never, other, running].every(({ imageId }) => stand.image(imageId).state === "READY"));
  await stand.start(running.id);
  const from = stand.clock.now();
  for (const { id } of never) await stand.lifecycle().wake(id, USER);
  await eventually("as many wait for their boot as one user may have", () => {
    const starting = never.filter(({ id }) => stand.row(id).state === "STARTING").length;
    return starting === LIFECYCLE_LIMITS.lanes.start.perUser;
  });
  await stand.lifecycle().wake(other.id, OTHER);
  await stand.reaches(other.id, "STARTED");
  await stand.lifecycle().requestStop(running.id, USER);
  const [first, last] = [never[0]?.id ?? "", never.at(-1)?.id ?? ""];
  await stand.lifecycle().requestStop(first, USER);
  await stand.lifecycle().requestStop(last, USER);
  for (const id of [first, last]) await stand.reaches(id, "USER_STOPPED");
  t.equal(stand.clock.now() - from, 0, "no time passed");
  await stand.clock.advance(LIFECYCLE_LIMITS.userDrainMs);
  await stand.reaches(running.id, "USER_STOPPED");
});

t.test("a start that waits for its turn for longer than a start may take is no failure", async (t) => {
  const stand = await openLifecycleFixture(t, {
    limits: { statusMs: 60_000, lanes: { ...LIFECYCLE_LIMITS.lanes, start: { total: 1, perUser: 1 } } },
    driver: (driver) => ({
      ...driver,
      deploy: async (spec, call) => {
        await stand.clock.sleep(40_000, call.signal);
        return driver.deploy(spec, call);
      },
    }),
  });
  const all = await Promise.all(Array.from({ length: 4 }, async (_, n) => stand.publish({ name: `turn-${n}` })));
  await eventually("all images are ready", () => all.every(({ imageId }) => stand.image(imageId).state === "READY"));
  for (const { id } of all) await stand.lifecycle().requestStart(id, USER);
  for (let second = 0; second < 200; second++) {
    await stand.clock.advance(1_000);
    await turns(5);
  }
  t.strictSame(
    all.map(({ id }) => stand.row(id).state),
    all.map(() => "STARTED"),
  );
});

t.test("the engine creates a bounded number of containers at a time, of several users in turns", async (t) => {
  const creating = new Set<string>();
  const order: string[] = [];
  let most = 0;
  const releases: (() => void)[] = [];
  const stand = await openLifecycleFixture(t, {
    driver: (driver) => ({
      ...driver,
      deploy: async (spec, call) => {
        creating.add(spec.service);
        order.push(spec.service);
        most = Math.max(most, creating.size);
        await new Promise<void>((resolve) => releases.push(resolve));
        creating.delete(spec.service);
        return driver.deploy(spec, call);
      },
    }),
  });
  const { total, perUser } = LIFECYCLE_LIMITS.startSlots;
  const mine = await Promise.all(Array.from({ length: 20 }, async (_, n) => stand.publish({ name: `mine-${n}`, config: { onDemand: true } })));
  const others = await stand.publish({ name: "others", config: { onDemand: true } });
  await eventually("all images are ready", () => [...mine, others].every(({ imageId }) => stand.image(imageId).state === "READY"));
  for (const { id } of mine) await stand.lifecycle().wake(id, USER);
  await eventually("one user has all that he may have", () => creating.size === perUser);
  await stand.lifecycle().wake(others.id, OTHER);
  await eventually("another finds a place", () => creating.has(others.service));
  while (!mine.every(({ id }) => stand.row(id).state === "STARTED")) {
    releases.splice(0).forEach((release) => release());
    await turns(5);
  }
  t.ok(most <= total, `${most} at a time`);
  t.equal(new Set(order).size, order.length, "each once");
});
