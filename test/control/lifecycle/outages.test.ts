import t, { type Test } from "tap";
import type { ContainerConfig } from "../../../control/model/entities.ts";
import { crashing, listening, type MemoryApp } from "../../fixtures/memory-driver.ts";
import { openLifecycleFixture, type LifecycleFixture, USER } from "./lifecycle-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

async function started(t: Test, config: Partial<ContainerConfig> = {}, app: MemoryApp = listening) {
  const stand = await openLifecycleFixture(t);
  const { id, service } = await stand.publish({ config, app });
  await stand.start(id);
  return { stand, id, service };
}

/** The engine ends, which ends the container, and comes back. */
async function restartEngine(stand: LifecycleFixture, service: string): Promise<void> {
  await stand.clock.advance(1_000);
  stand.world.tell({ kind: "disconnected" });
  stand.world.deaf = true;
  await stand.world.kill(service);
  await stand.clock.advance(1_000);
  stand.world.deaf = false;
  stand.world.tell({ kind: "connected" });
}

t.test("an always-on container runs on after twenty restarts of the engine", async (t) => {
  const { stand, id, service } = await started(t);
  for (let restart = 1; restart <= 20; restart++) {
    await restartEngine(stand, service);
    await eventually("started again, at once", () => stand.world.callCount(`deploy ${service}`) === restart + 1);
    t.match(await stand.reaches(id, "STARTED"), { desiredInstances: 1, attempts: 0 });
  }
});

t.test("an on-demand container that ended with the engine is woken without a delay, each time", async (t) => {
  const { stand, id, service } = await started(t, { onDemand: true });
  for (let restart = 1; restart <= 6; restart++) {
    await restartEngine(stand, service);
    await stand.reaches(id, "SYSTEM_STOPPED");
    t.match(await stand.wake(id), { attempts: 0 });
  }
});

t.test("losses that are seen while the engine ends are forgiven once it is back", async (t) => {
  const { stand, id, service } = await started(t);
  for (let restart = 1; restart <= 8; restart++) {
    // It ends its containers first, with events.
    await stand.clock.advance(1_000);
    await stand.world.kill(service);
    await eventually("the loss is seen", () => stand.world.callCount(`deploy ${service}`) === restart + 1);
    stand.world.tell({ kind: "disconnected" });
    await stand.clock.advance(3_000);
    stand.world.tell({ kind: "connected" });
    await stand.reaches(id, "STARTED");
    await eventually("it is forgiven", () => stand.row(id).attempts === 0);
    await stand.clock.advance(10_000);
  }
});

t.test("a start that failed while the engine ended is tried again once it is back, one that failed before is not", async (t) => {
  for (const [pauseMs, state] of [
    [3_000, "STARTED"],
    [60_000, "ERROR"],
  ] as const) {
    const stand = await openLifecycleFixture(t);
    const { id, service } = await stand.publish({ app: crashing });
    await stand.lifecycle().requestStart(id, USER);
    await stand.reaches(id, "ERROR");
    stand.world.apps.set("datagrok/web:1.0.0", listening);
    await stand.clock.advance(pauseMs);
    const deploys = stand.world.callCount(`deploy ${service}`);
    stand.world.tell({ kind: "disconnected" });
    stand.world.tell({ kind: "connected" });
    await stand.clock.advance(20_000);
    t.equal(stand.row(id).state, state);
    t.equal(stand.world.callCount(`deploy ${service}`), deploys + (state === "STARTED" ? 1 : 0));
  }
});

t.test("one that is lost again and again while the engine is out of sight is still started more slowly each time", async (t) => {
  const { stand, id, service } = await started(t);
  stand.world.tell({ kind: "disconnected" });
  await stand.clock.advance(1);
  const waits: number[] = [];
  for (let loss = 1; loss <= 4; loss++) {
    await stand.world.kill(service);
    await eventually("it is seen", () => stand.world.callCount(`deploy ${service}`) === loss + 1 || stand.row(id).state === "PENDING_START");
    waits.push(Math.max(0, stand.row(id).notBefore - stand.clock.now()));
    await stand.clock.advance(waits.at(-1) ?? 0);
    await stand.reaches(id, "STARTED");
    await stand.clock.advance(1);
  }
  t.ok((waits.at(-1) ?? 0) >= 2_000, `${waits.join(", ")} ms`);
});
