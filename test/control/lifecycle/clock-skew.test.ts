import t from "tap";
import { crashing, listening } from "../../fixtures/memory-driver.ts";
import { turns } from "../../fixtures/clock.ts";
import { openLifecycleFixture, USER } from "./lifecycle-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

const HOUR_MS = 3_600_000;
/** The sweep finds what was written in the future. */
const SWEEP_MS = 10_000;

t.test("set back by an hour, a failed container may be started again as soon as before", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, imageId } = await stand.publish({ app: crashing, config: { onDemand: true } });
  await stand.lifecycle().wake(id, USER);
  await stand.reaches(id, "ERROR");
  stand.clock.jump(-HOUR_MS);
  const reported: number[] = [];
  stand.lifecycle().watch((change) => void ("container" in change && reported.push(change.container.notBefore)));
  await stand.clock.advance(SWEEP_MS);
  t.ok((reported.at(-1) ?? Infinity) <= stand.clock.now(), "gateways get the event");
  stand.world.apps.set(stand.image(imageId).ref, listening);
  await stand.wake(id);
});

t.test("set back by an hour, a start without an answer still ends in time", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish();
  await eventually("validated", () => stand.image(stand.row(id).imageId).state === "READY");
  let release = () => {};
  stand.world.holdDestroy = new Promise((resolve) => (release = resolve));
  await stand.start(id);
  await stand.lifecycle().requestStop(id, USER);
  await stand.reaches(id, "STOPPING");
  stand.clock.jump(-HOUR_MS);
  await stand.clock.advance(3 * SWEEP_MS + 5 * 60_000);
  // And is tried again since.
  const timedOut = async () => (await stand.store().history.of(id)).some(({ event }) => event === "timedOut");
  await eventually("it was given up", timedOut);
  stand.world.holdDestroy = undefined;
  release();
  await stand.clock.advance(3 * SWEEP_MS);
  await stand.reaches(id, "USER_STOPPED");
});

t.test("set back by an hour, an idle container sleeps when it has been idle from then on", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish({ config: { shutdownTimeoutMinutes: 1 } });
  await stand.start(id);
  stand.clock.jump(-HOUR_MS);
  await stand.clock.advance(SWEEP_MS + 61_000);
  await stand.reaches(id, "SYSTEM_STOPPED");
});

t.test("set back by an hour, a container that was used just before sleeps when it has been idle from then on, stored or not", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish({ config: { shutdownTimeoutMinutes: 1 } });
  await stand.start(id);
  const use = () => {
    const uses = [{ id, open: 0, streams: 0, lastActive: stand.clock.now() }];
    return stand.lifecycle().recordUse({ gateway: "gateway", seq: stand.lifecycle().seq(), uses });
  };
  stand.lifecycle().gatewayJoined("gateway", 0);
  for (const storedMs of [0, 30_000]) {
    await use();
    await stand.clock.advance(storedMs);
    stand.clock.jump(-HOUR_MS);
    await stand.clock.advance(SWEEP_MS);
    t.ok((stand.row(id).lastActive ?? 0) <= stand.clock.now());
    await stand.clock.advance(40_000);
    await use();
    await stand.clock.advance(30_000);
    t.equal(stand.row(id).state, "STARTED", "use after the step counts");
  }
  await stand.clock.advance(SWEEP_MS + 61_000);
  await stand.reaches(id, "SYSTEM_STOPPED");
});

t.test("set back by an hour, a container that ends soon after each start is started more slowly each time", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, service } = await stand.publish();
  await stand.start(id);
  stand.clock.jump(-HOUR_MS);
  await stand.clock.advance(SWEEP_MS);
  const waits: number[] = [];
  for (let loss = 1; loss <= 4; loss++) {
    await stand.world.kill(service);
    await eventually("the loss is seen", () => stand.world.callCount(`deploy ${service}`) === loss + 1 || stand.row(id).state === "PENDING_START");
    waits.push(Math.max(0, stand.row(id).notBefore - stand.clock.now()));
    await stand.clock.advance(waits.at(-1) ?? 0);
    await stand.reaches(id, "STARTED");
    await stand.clock.advance(1);
  }
  t.ok((waits.at(-1) ?? 0) >= 2_000, `${waits.join(", ")} ms`);
});

t.test("set back by an hour, a container runs for its max_minutes from then on", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish({ config: { onDemand: true, maxMinutes: 1 } });
  await stand.wake(id);
  stand.clock.jump(-HOUR_MS);
  await stand.clock.advance(SWEEP_MS + 61_000);
  await stand.reaches(id, "SYSTEM_STOPPED");
});

t.test("set back by an hour just before its address is verified, a container runs for its max_minutes from then on", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish({ config: { onDemand: true, maxMinutes: 1 } });
  await stand.wake(id);
  stand.clock.jump(-HOUR_MS);
  const moved = await stand.store().containers.move(id, "STARTED", "CHECKING", { since: stand.clock.now() });
  t.equal(moved?.state, "CHECKING");
  await stand.lifecycle().definitionChanged(id);
  await stand.clock.advance(SWEEP_MS);
  await stand.clock.advance(61_000);
  await stand.reaches(id, "SYSTEM_STOPPED");
});

t.test("set on by an hour, nothing times out, and nothing falls asleep that was just used", async (t) => {
  const stand = await openLifecycleFixture(t);
  const used = await stand.publish({ name: "used", config: { shutdownTimeoutMinutes: 30 } });
  await stand.start(used.id);
  const slow = await stand.publish({
    name: "slow",
    app: { exposed: [5353], run: ({ listen, env }) => void setImmediate(() => env["OWN"] && later.push(listen)) },
  });
  const later: (() => void)[] = [];
  await stand.lifecycle().requestStart(slow.id, USER);
  await stand.reaches(slow.id, "STARTING");
  await eventually("it runs", () => later.length > 0);
  stand.clock.jump(HOUR_MS);
  // Something triggers a check: an event, a report or a request would.
  await stand.lifecycle().definitionChanged(slow.id);
  await stand.lifecycle().definitionChanged(used.id);
  await turns(20);
  await stand.clock.advance(SWEEP_MS);
  t.equal(stand.row(used.id).state, "STARTED");
  t.equal(stand.row(slow.id).state, "STARTING");
  later[0]?.();
  await stand.clock.advance(100);
  await stand.reaches(slow.id, "STARTED");
  await stand.clock.advance(30 * 60_000);
  await stand.reaches(used.id, "SYSTEM_STOPPED");
});
