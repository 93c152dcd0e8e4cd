import t, { type Test } from "tap";
import type { Driver } from "../../../drivers/driver.ts";
import type { MemoryApp } from "../../fixtures/memory-driver.ts";
import { Fault } from "../../../lib/fault.ts";
import { turns } from "../../fixtures/clock.ts";
import { newImage, openLifecycleFixture, type LifecycleFixture, USER } from "./lifecycle-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

const GATEWAY = "gateway-1";
const MINUTE = 60_000;
const PAUSED_MS = 10 * MINUTE;
const IDLE = { onDemand: true, shutdownTimeoutMinutes: 1 };

/** A container that was woken and counts its starts, on an engine that may freeze. */
async function awake(t: Test, options: { driver?: (driver: Driver) => Driver; pausedMs?: number } = {}) {
  const starts: Record<string, string>[] = [];
  const app: MemoryApp = {
    exposed: [5353],
    run: ({ env, listen }) => {
      starts.push(env);
      listen();
    },
  };
  const stand = await openLifecycleFixture(t, {
    limits: { pausedMs: options.pausedMs ?? PAUSED_MS },
    ...(options.driver ? { driver: options.driver } : {}),
  });
  const { id, service } = await stand.publish({ config: IDLE, app });
  const wake = async (user = USER) => {
    await stand.lifecycle().wake(id, user);
    await stand.reaches(id, "STARTED");
  };
  const sleep = async () => {
    await stand.clock.advance(MINUTE + 1_000);
    return stand.reaches(id, "SYSTEM_STOPPED");
  };
  const fact = () => stand.world.facts().find((one) => one.service === service);
  await wake();
  return { stand, id, service, app, starts, wake, sleep, fact };
}

/** A longer time, as the sweep sees it. */
async function pass(stand: LifecycleFixture, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 10_000) await stand.clock.advance(Math.min(left, 10_000));
}

t.test("what goes to sleep by itself lies frozen, is asleep to everybody, and goes on at a wake without another start", async (t) => {
  const { stand, id, starts, wake, sleep, fact } = await awake(t);
  const { addresses } = stand.row(id);
  t.match(await sleep(), { addresses: { length: 0 }, runningGeneration: undefined, pausedOn: stand.row(id).since, desiredInstances: 0 });
  t.match(fact(), { running: false, paused: true });
  await pass(stand, MINUTE);
  t.same([stand.row(id).state, fact()?.paused, stand.lifecycle().orphans()], ["SYSTEM_STOPPED", true, []], "the sweep leaves it so");
  t.match(await stand.store().containers.deployed(), [{ ref: "datagrok/web:1.0.0" }], "its image is in use");
  const explained = await stand.lifecycle().explain(id, new AbortController().signal);
  t.match(explained.timers, [{ kind: "pausedEnd", at: (stand.row(id).pausedOn ?? 0) + PAUSED_MS }]);
  await wake();
  t.match(stand.row(id), { addresses, pausedOn: undefined });
  t.match(fact(), { running: true });
  t.equal(starts.length, 1);
  t.equal((await stand.store().wakes.of(id)).length, 2, "a wake all the same");
  await sleep();
  t.match(fact(), { paused: true }, "and again");
});

t.test("without the setting, or where the engine cannot, it is ended as ever", async (t) => {
  const never = {
    driver: (driver: Driver) => {
      const without = { ...driver };
      delete without.pause;
      return without;
    },
  };
  const refuses = { driver: (driver: Driver) => ({ ...driver, pause: async () => false }) };
  for (const options of [{ pausedMs: 0 }, never, refuses]) {
    const { sleep, fact } = await awake(t, options);
    t.match(await sleep(), { pausedOn: undefined });
    t.equal(fact(), undefined);
  }
});

t.test("it is ended when it has lain frozen for as long as it may, and the next request starts it anew", async (t) => {
  const { stand, id, starts, wake, sleep, fact } = await awake(t);
  await sleep();
  const events: unknown[] = [];
  const unwatch = stand.lifecycle().watch((change) => "container" in change && events.push(change.container.pausedOn));
  await pass(stand, PAUSED_MS);
  await eventually("it is ended", () => fact() === undefined);
  await eventually("and the row says so", () => stand.row(id).pausedOn === undefined);
  unwatch();
  t.same(events, [undefined], "watchers receive the change, such as the one that ends its session");
  t.equal(stand.row(id).state, "SYSTEM_STOPPED");
  await wake();
  t.equal(starts.length, 2);
});

t.test("a user's stop ends it: before it sleeps, while it is being frozen, and after", async (t) => {
  const before = await awake(t);
  await before.stand.lifecycle().requestStop(before.id, USER);
  await before.stand.reaches(before.id, "USER_STOPPED");
  t.equal(before.fact(), undefined);
  let meanwhile = () => {};
  const during = await awake(t, {
    driver: (driver) => ({
      ...driver,
      pause: async (...args) => {
        meanwhile();
        return (await driver.pause?.(...args)) ?? false;
      },
    }),
  });
  meanwhile = () => during.stand.lifecycle().requestStop(during.id, USER);
  const left: unknown[] = [];
  during.stand.lifecycle().watch((change) => {
    if ("container" in change && change.container.state === "USER_STOPPED") left.push(during.fact());
  });
  await during.stand.clock.advance(MINUTE + 1_000);
  t.match(await during.stand.reaches(during.id, "USER_STOPPED"), { pausedOn: undefined });
  t.same(left, [undefined], "a caller who waits for the stop is notified when it is done");
  const after = await awake(t);
  await after.sleep();
  await after.stand.lifecycle().requestStop(after.id, USER);
  t.equal(after.stand.row(after.id).state, "USER_STOPPED");
  await eventually("it is ended", () => after.fact() === undefined && after.stand.row(after.id).pausedOn === undefined);
  t.match(
    [before, during, after].map(({ starts }) => starts.length),
    [1, 1, 1],
  );
});

t.test("a request that comes while it is being frozen has it go on", async (t) => {
  let meanwhile = () => {};
  const { stand, id, starts, fact } = await awake(t, {
    driver: (driver) => ({
      ...driver,
      pause: async (...args) => {
        const paused = await driver.pause?.(...args);
        meanwhile();
        return paused ?? false;
      },
    }),
  });
  meanwhile = () => stand.lifecycle().wake(id, USER);
  await stand.clock.advance(MINUTE + 1_000);
  await stand.reaches(id, "STARTED");
  t.match(fact(), { running: true });
  t.equal(starts.length, 1);
});

t.test("who wakes it as another user, or after it was published again or removed, does not meet what lay frozen", async (t) => {
  const { stand, id, app, starts, wake, sleep, fact } = await awake(t);
  const other = "44444444-4444-4444-8444-444444444444";
  await stand.store().users.insert({ id: other, login: "bob", friendlyName: "Bob", admin: false, createdOn: 1 });
  await sleep();
  await wake(other);
  t.match(starts, [{ USER_API_KEY: `token-of-${USER}` }, { USER_API_KEY: `token-of-${other}` }], "it acts for the user who started it");
  await sleep();
  const image = newImage("web-2", stand.clock.now());
  stand.world.apps.set(image.ref, app);
  await stand.store().images.insert(image);
  await stand.lifecycle().requestValidation(image.id);
  await stand.store().containers.update(id, { imageId: image.id, generation: 2 });
  await stand.lifecycle().definitionChanged(id);
  await eventually("what lay frozen is ended", () => fact() === undefined);
  await eventually("and the row says so", () => stand.row(id).pausedOn === undefined);
  await wake(other);
  t.match([starts.length, fact()?.labels.generation], [3, 2]);
  await sleep();
  t.match(fact(), { paused: true });
  await stand.lifecycle().remove(id);
  await eventually("removed, it is ended", () => fact() === undefined);
});

t.test("an open but unused WebSocket is closed: its other side would never learn that the container is frozen", async (t) => {
  const { stand, id, fact } = await awake(t);
  stand.lifecycle().gatewayJoined(GATEWAY, stand.lifecycle().seq());
  const report = () =>
    stand
      .lifecycle()
      .recordUse({ gateway: GATEWAY, seq: stand.lifecycle().seq(), uses: [{ id, open: 0, streams: 1, lastActive: stand.row(id).since }] });
  await report();
  await stand.clock.advance(MINUTE + 1_000);
  await report();
  await pass(stand, MINUTE);
  t.match(stand.row(id), { state: "SYSTEM_STOPPED", pausedOn: undefined });
  t.equal(fact(), undefined);
});

t.test("killed at any moment of it, berth finds it asleep, and wakes it without another start", async (t) => {
  // The engine's answer is lost; the engine did the work.
  const never = new Promise<never>(() => {});
  let deaf = true;
  const { stand, id, starts, wake, fact } = await awake(t, {
    driver: (driver) => ({ ...driver, pause: async (...args) => ((await driver.pause?.(...args)) && deaf ? never : true) }),
  });
  await stand.clock.advance(MINUTE + 1_000);
  await eventually("it is frozen", () => fact()?.paused === true);
  t.match(stand.row(id), { state: "STOPPING" });
  deaf = false;
  stand.world.forget();
  await stand.restart();
  await stand.reaches(id, "SYSTEM_STOPPED");
  stand.world.forget();
  await stand.restart();
  await pass(stand, MINUTE);
  t.match([stand.row(id).state, fact()?.paused], ["SYSTEM_STOPPED", true]);
  await wake();
  t.equal(starts.length, 1);
});

t.test("frozen ones that the engine ended are forgotten, and start anew", async (t) => {
  for (const end of ["kill", "vanish"] as const) {
    const { stand, id, service, starts, wake, sleep } = await awake(t);
    await sleep();
    stand.world.deaf = true;
    await stand.world[end](service);
    await pass(stand, 10_000);
    await eventually("the row says so", () => stand.row(id).pausedOn === undefined);
    t.equal(stand.row(id).state, "SYSTEM_STOPPED");
    await wake();
    t.equal(starts.length, 2);
  }
});

t.test("where its start fails before it could go on, it is ended rather than left to hold its memory", async (t) => {
  const { stand, id, starts, wake, sleep, fact } = await awake(t, {
    driver: (driver) => {
      const inTurn = [driver.deploy, () => Promise.reject(new Fault("NO_CAPACITY", "There is no capacity."))];
      return { ...driver, deploy: (spec, call) => (inTurn.shift() ?? driver.deploy)(spec, call) };
    },
  });
  await sleep();
  await stand.lifecycle().wake(id, USER);
  t.match(await stand.reaches(id, "ERROR"), { pausedOn: undefined });
  await eventually("it is ended", () => fact() === undefined);
  await pass(stand, 10_000);
  await wake();
  t.equal(starts.length, 2);
});

t.test("frozen by another program while it is to run, it goes on; freed by another program while it is to sleep, it is frozen again", async (t) => {
  const { stand, id, service, starts, sleep, fact } = await awake(t);
  stand.world.freeze(service, true);
  await eventually("it runs again", () => fact()?.running === true);
  await stand.reaches(id, "STARTED");
  await sleep();
  stand.world.freeze(service, false);
  await turns(20);
  await stand.reaches(id, "SYSTEM_STOPPED");
  t.match(fact(), { paused: true });
  t.equal(starts.length, 1);
});
