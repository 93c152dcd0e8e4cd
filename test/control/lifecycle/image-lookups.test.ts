import t from "tap";
import { listening } from "../../fixtures/memory-driver.ts";
import { turns } from "../../fixtures/still-clock.ts";
import { openLifecycleFixture, until } from "./lifecycle-fixture.ts";
import { PATIENCE_MS } from "../../fixtures/patience.ts";

t.test("an image that was missed is validated as soon as it is pushed, and its container starts", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, imageId } = stand.publish({ config: { onDemand: true } });
  const { ref } = stand.image(imageId);
  stand.world.apps.delete(ref);
  stand.lifecycle().requestStart(id, "22222222-2222-4222-8222-222222222222");
  await stand.reaches(id, "ERROR");
  stand.world.apps.set(ref, listening);
  const [repository = "", reference = "latest"] = ref.split(":");
  stand.lifecycle().imagePushed({ repository, reference: `${reference}-other` });
  stand.lifecycle().imagePushed({ repository: `${repository}-other`, reference });
  t.equal(stand.image(imageId).state, "ERROR");
  stand.lifecycle().imagePushed({ repository, reference });
  t.not(stand.image(imageId).state, "ERROR");
  await stand
    .lifecycle()
    .settled(id, AbortSignal.timeout(PATIENCE_MS))
    .catch(() => undefined);
});

t.test("a push is of an image whatever registry its name says", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { imageId } = stand.publish();
  const digest = `sha256:${"a".repeat(64)}`;
  for (const [ref, reference, is] of [
    ["datagrok/x:1", "1", true],
    ["registry.example/datagrok/x:1", "1", true],
    ["127.0.0.1:5000/datagrok/x:1", "1", true],
    ["localhost/datagrok/x:1", "1", true],
    ["datagrok/x", "latest", true],
    [`datagrok/x@${digest}`, digest, true],
    [`datagrok/x:1@${digest}`, "1", false],
    ["other/datagrok/x:1", "1", false],
    ["datagrok/x:10", "1", false],
  ] as const) {
    const image = stand.image(imageId);
    if (image.state !== "ERROR") stand.store().images.move(imageId, image.state, "ERROR", {});
    stand.store().images.update(imageId, { ref });
    stand.lifecycle().imagePushed({ repository: "datagrok/x", reference });
    t.equal(stand.image(imageId).state !== "ERROR", is, ref);
  }
});

t.test("a tag that may move is pulled ahead of the next start, and nothing else comes of the push", async (t) => {
  const stand = await openLifecycleFixture(t, { driver: (driver) => ({ ...driver, pulls: true }) });
  const { id, imageId } = stand.publish();
  await until("it is ready", () => stand.image(imageId).state === "READY");
  const { ref } = stand.image(imageId);
  const [repository = "", reference = ""] = ref.split(":");
  const lookups = () => stand.world.callCount(`resolve ${ref}`);
  const before = { image: stand.image(imageId), container: stand.row(id), lookups: lookups() };
  stand.lifecycle().imagePushed({ repository, reference });
  await turns(20);
  t.equal(lookups(), before.lookups, "a release is what it was");

  stand.store().images.update(imageId, { mutable: true });
  stand.lifecycle().imagePushed({ repository, reference });
  await until("it was pulled", () => lookups() === before.lookups + 1);
  stand.world.away = true;
  stand.lifecycle().imagePushed({ repository, reference });
  await until("it was tried", () => lookups() === before.lookups + 2);
  await stand.clock.advance(60_000);
  t.equal(lookups(), before.lookups + 2, "one that fails is left to the start");
  t.match(stand.image(imageId), { state: "READY", resolvedId: before.image.resolvedId, logs: before.image.logs });
  t.match(stand.row(id), { state: before.container.state, generation: before.container.generation });
});

t.test("where another program pulls images, nothing is prefetched", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { imageId } = stand.publish();
  await until("it is ready", () => stand.image(imageId).state === "READY");
  stand.store().images.update(imageId, { mutable: true });
  const { ref } = stand.image(imageId);
  const before = stand.world.callCount(`resolve ${ref}`);
  const [repository = "", reference = ""] = ref.split(":");
  stand.lifecycle().imagePushed({ repository, reference });
  await turns(20);
  t.equal(stand.world.callCount(`resolve ${ref}`), before);
});

t.test("an image that came past berth is found by itself, in looks that become rare, which leave its row alone until then", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, imageId } = stand.publish({ config: { onDemand: true } });
  const { ref } = stand.image(imageId);
  stand.world.apps.delete(ref);
  await until("it is missed", () => stand.image(imageId).state === "ERROR");
  const missed = stand.image(imageId);
  const lookups = () => stand.world.callCount(`resolve ${ref}`);
  const first = lookups();
  const times: number[] = [];
  for (let minute = 1; minute <= 60; minute++) {
    const before = lookups();
    await stand.clock.advance(60_000);
    await turns(20);
    if (lookups() > before) times.push(minute);
  }
  t.strictSame(times, [1, 2, 4, 8, 16, 26, 36, 46, 56]);
  t.equal(lookups(), first + times.length);
  t.strictSame(stand.image(imageId), missed);

  await stand.restart();
  stand.world.apps.set(ref, listening);
  await stand.clock.advance(10 * 60_000);
  await until("it was found", () => stand.image(imageId).state === "READY");
  t.match(stand.image(imageId), { fault: undefined });
  t.equal(stand.row(id).state, "SYSTEM_STOPPED");
  const count = lookups();
  await stand.clock.advance(60 * 60_000);
  t.equal(lookups(), count, "what was found is not looked for");
});
