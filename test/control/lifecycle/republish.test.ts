import t, { type Test } from "tap";
import { Fault } from "../../../lib/fault.ts";
import { listening } from "../../fixtures/memory-driver.ts";
import { turns } from "../../fixtures/clock.ts";
import { openLifecycleFixture, type LifecycleFixture, USER } from "./lifecycle-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

async function running(t: Test) {
  const stand = await openLifecycleFixture(t);
  const row = await stand.publish();
  await stand.start(row.id);
  return { stand, ...row };
}

/** As publishing writes it: the rows in one turn, then the lifecycle is notified. */
async function republish(stand: LifecycleFixture, id: string, ref: string) {
  const { imageId, generation } = stand.row(id);
  await stand.store().images.move(imageId, "READY", "PENDING_VALIDATION", { ref, resolvedId: undefined, logs: "", since: stand.clock.now() });
  await stand.store().containers.update(id, { generation: generation + 1 });
  await stand.lifecycle().requestValidation(imageId);
  await stand.lifecycle().definitionChanged(id);
}

t.test("what runs goes on serving until the image of the new definition is ready, and is then replaced", async (t) => {
  const { stand, id, imageId, service } = await running(t);
  stand.world.apps.set("datagrok/web:2", listening);
  const states: string[] = [];
  stand.lifecycle().watch((change) => {
    if ("container" in change) states.push(`${change.container.state} while its image is ${stand.image(imageId).state}`);
  });
  await republish(stand, id, "datagrok/web:2");
  t.equal(stand.row(id).state, "STARTED");
  await eventually("replaced", () => stand.row(id).runningGeneration === 2 && stand.row(id).state === "STARTED");
  t.ok(
    states.every((state) => state.startsWith("STARTED") || state.endsWith("READY")),
    states.join("; "),
  );
  t.same(stand.world.left(service), [service]);
  t.match(stand.image(imageId), { state: "READY", ref: "datagrok/web:2" });
});

t.test("where the new image is no good, the old instance goes on and the image's log says so", async (t) => {
  const { stand, id, imageId, service } = await running(t);
  await republish(stand, id, "datagrok/web:missing");
  await eventually("refused", () => stand.image(imageId).state === "ERROR");
  await stand.lifecycle().definitionChanged(id);
  await turns();
  await stand.clock.advance(60_000);
  t.match(stand.row(id), { state: "STARTED", runningGeneration: 1, generation: 2 });
  t.same(stand.world.running(), [service]);
  t.match(await stand.store().containers.deployed(), [{ ref: "datagrok/web:1.0.0" }], "no registry may be rid of the old image");
  t.match(stand.image(imageId).logs, /web goes on running what was published before/);

  const before = stand.row(id).addresses[0]?.port;
  await stand.world.moveAway(service);
  const moved = () => stand.row(id).state === "STARTED" && stand.row(id).addresses[0]?.port !== before;
  await stand.clock.advance(60_000);
  await eventually("it is found at its new address", moved);
  t.match(stand.row(id), { runningGeneration: 1 });

  stand.world.apps.set("datagrok/web:missing", listening);
  await stand.lifecycle().requestValidation(imageId);
  await eventually("replaced once the image is there", () => stand.row(id).runningGeneration === 2 && stand.row(id).state === "STARTED");
});

t.test("killed while it started and was published again, it runs the new definition once that one's image is ready", async (t) => {
  const resolving = Promise.withResolvers<void>();
  const stand = await openLifecycleFixture(t, {
    start: false,
    driver: (driver) => ({ ...driver, resolve: async (image, call) => (await resolving.promise, driver.resolve(image, call)) }),
  });
  stand.world.apps.set("datagrok/web:2", listening);
  // As a process leaves it that dies between the publish's commit and telling its lifecycle.
  const id = await stand.store().transaction(async () => {
    const container = await stand.publish();
    await stand.store().images.move(container.imageId, "PENDING_VALIDATION", "PENDING_VALIDATION", { ref: "datagrok/web:2" });
    await stand.store().containers.move(container.id, "USER_STOPPED", "STARTING", { desiredInstances: 1, generation: 2, requestedBy: USER });
    return container.id;
  });
  await stand.lifecycle().start();
  await eventually("it waits for its image", () => stand.row(id).state !== "STARTING");
  resolving.resolve();
  const { runningGeneration } = await stand.reaches(id, "STARTED");
  t.equal(runningGeneration, 2);
  t.same(
    (await stand.store().history.of(id)).map(({ event }) => event),
    ["redefined", "startBegan", "answered"],
  );
  t.same(stand.world.calls.filter((call) => /resolve|deploy/.test(call)).length, 2, "nothing is deployed that was not resolved");
});

t.test("where the engine failed to validate the new image, it is replaced once the engine is well again", async (t) => {
  let broken = false;
  const stand = await openLifecycleFixture(t, {
    driver: (driver) => ({
      ...driver,
      resolve: (image, call) => (broken ? Promise.reject(new Fault("ENGINE_FAILED", "The engine failed.")) : driver.resolve(image, call)),
    }),
  });
  const { id, imageId } = await stand.publish();
  await stand.start(id);
  stand.world.apps.set("datagrok/web:2", listening);
  broken = true;
  await republish(stand, id, "datagrok/web:2");
  await eventually("it failed", () => stand.image(imageId).state === "ERROR");
  broken = false;
  await stand.clock.advance(61_000);
  await eventually("replaced", () => stand.row(id).runningGeneration === 2 && stand.row(id).state === "STARTED");
});

t.test("a mutable tag is resolved anew at every start, any other only once", async (t) => {
  const stand = await openLifecycleFixture(t);
  for (const mutable of [true, false]) {
    const { id, imageId } = await stand.publish({ name: `tag-${mutable}` });
    await stand.store().images.update(imageId, { mutable });
    await eventually("validated", () => stand.image(imageId).state === "READY");
    const ref = stand.image(imageId).ref;
    for (const start of [1, 2]) {
      await stand.clock.advance(1_000);
      const before = stand.world.callCount(`resolve ${ref}`);
      await stand.start(id);
      t.equal(stand.world.callCount(`resolve ${ref}`) - before, mutable ? 1 : 0, `start ${start} of a ${mutable ? "mutable" : "fixed"} tag`);
      await stand.stop(id);
    }
  }
});

t.test("a mutable tag that is gone fails the start with the cause, and is looked for again by the next", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, imageId } = await stand.publish();
  await stand.store().images.update(imageId, { mutable: true });
  await eventually("validated", () => stand.image(imageId).state === "READY");
  const { ref } = stand.image(imageId);
  stand.world.apps.delete(ref);
  await stand.clock.advance(1_000);
  await stand.lifecycle().requestStart(id, USER);
  t.match(await stand.reaches(id, "ERROR"), { fault: { code: "IMAGE_NOT_FOUND" } });
  stand.world.apps.set(ref, listening);
  await stand.clock.advance(60_000);
  await stand.start(id);
});

t.test("a clock that was set back does not have an image resolved over and over", async (t) => {
  const { stand, id, imageId } = await running(t);
  await stand.store().images.update(imageId, { mutable: true });
  await stand.stop(id);
  const { ref } = stand.image(imageId);
  const before = stand.world.callCount(`resolve ${ref}`);
  // As a start that was requested an hour from now.
  await stand.store().containers.move(id, "USER_STOPPED", "PENDING_START", { desiredInstances: 1, since: stand.clock.now() + 3_600_000 });
  await stand.lifecycle().definitionChanged(id);
  await stand.reaches(id, "STARTED");
  t.ok(stand.world.callCount(`resolve ${ref}`) - before <= 1);
});
