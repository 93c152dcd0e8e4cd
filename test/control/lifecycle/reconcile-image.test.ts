import t from "tap";
import type { Container, ContainerConfig } from "../../../control/model/entities.ts";
import { turns } from "../../fixtures/clock.ts";
import { PATIENCE_MS } from "../../fixtures/eventually.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { listening } from "../../fixtures/memory-driver.ts";
import { type LifecycleFixture, openLifecycleFixture, USER } from "./lifecycle-fixture.ts";

t.test("an image that was missed is validated as soon as it is pushed, and its container starts", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, imageId } = await stand.publish({ config: { onDemand: true } });
  const { ref } = stand.image(imageId);
  stand.world.apps.delete(ref);
  await stand.lifecycle().requestStart(id, "22222222-2222-4222-8222-222222222222");
  await stand.reaches(id, "ERROR");
  stand.world.apps.set(ref, listening);
  const [repository = "", reference = "latest"] = ref.split(":");
  await stand.lifecycle().imagePushed({ repository, reference: `${reference}-other` });
  await stand.lifecycle().imagePushed({ repository: `${repository}-other`, reference });
  t.equal(stand.image(imageId).state, "ERROR");
  await stand.lifecycle().imagePushed({ repository, reference });
  t.not(stand.image(imageId).state, "ERROR");
  await stand
    .lifecycle()
    .settled(id, AbortSignal.timeout(PATIENCE_MS))
    .catch(() => undefined);
});

t.test("a push is of an image whatever registry its name says", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { imageId } = await stand.publish();
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
    if (image.state !== "ERROR") await stand.store().images.move(imageId, image.state, "ERROR", {});
    await stand.store().images.update(imageId, { ref });
    await stand.lifecycle().imagePushed({ repository: "datagrok/x", reference });
    t.equal(stand.image(imageId).state !== "ERROR", is, ref);
  }
});

t.test("a tag that may move is pulled ahead of the next start, and nothing else comes of the push", async (t) => {
  const stand = await openLifecycleFixture(t, { driver: (driver) => ({ ...driver, pulls: true }) });
  const { id, imageId } = await stand.publish();
  await eventually("it is ready", () => stand.image(imageId).state === "READY");
  const { ref } = stand.image(imageId);
  const [repository = "", reference = ""] = ref.split(":");
  const lookups = () => stand.world.callCount(`resolve ${ref}`);
  const before = { image: stand.image(imageId), container: stand.row(id), lookups: lookups() };
  await stand.lifecycle().imagePushed({ repository, reference });
  await turns(20);
  t.equal(lookups(), before.lookups, "a release is what it was");

  await stand.store().images.update(imageId, { mutable: true });
  await stand.lifecycle().imagePushed({ repository, reference });
  await eventually("it was pulled", () => lookups() === before.lookups + 1);
  stand.world.away = true;
  await stand.lifecycle().imagePushed({ repository, reference });
  await eventually("it was tried", () => lookups() === before.lookups + 2);
  await stand.clock.advance(60_000);
  t.equal(lookups(), before.lookups + 2, "one that fails is left to the start");
  t.match(stand.image(imageId), { state: "READY", resolvedId: before.image.resolvedId, logs: before.image.logs });
  t.match(stand.row(id), { state: before.container.state, generation: before.container.generation });
});

t.test("where another program pulls images, nothing is prefetched", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { imageId } = await stand.publish();
  await eventually("it is ready", () => stand.image(imageId).state === "READY");
  await stand.store().images.update(imageId, { mutable: true });
  const { ref } = stand.image(imageId);
  const before = stand.world.callCount(`resolve ${ref}`);
  const [repository = "", reference = ""] = ref.split(":");
  await stand.lifecycle().imagePushed({ repository, reference });
  await turns(20);
  t.equal(stand.world.callCount(`resolve ${ref}`), before);
});

t.test("an image that came past berth is found by itself, in looks that become rare, which leave its row alone until then", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, imageId } = await stand.publish({ config: { onDemand: true } });
  const { ref } = stand.image(imageId);
  stand.world.apps.delete(ref);
  await eventually("it is missed", () => stand.image(imageId).state === "ERROR");
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
  await eventually("it was found", () => stand.image(imageId).state === "READY");
  t.match(stand.image(imageId), { fault: undefined });
  t.equal(stand.row(id).state, "SYSTEM_STOPPED");
  const count = lookups();
  await stand.clock.advance(60 * 60_000);
  t.equal(lookups(), count, "what was found is not looked for");
});

/** In one transaction, as a package's publish: nothing works on the first before the last is there. */
function publishMany(stand: LifecycleFixture, count: number, config: Partial<ContainerConfig> = {}): Promise<Container[]> {
  return stand.store().transaction(async () => {
    const published: Container[] = [];
    for (let nth = 0; nth < count; nth++) published.push(await stand.publish({ config }));
    return published;
  });
}

t.test("a package that names one image 200 times has the engine resolve it once", async (t) => {
  const calls: string[] = [];
  const stand = await openLifecycleFixture(t, {
    driver: (driver) => ({ ...driver, resolve: async (image, call) => (calls.push(image.ref), driver.resolve(image, call)) }),
  });
  const published = await stand.store().transaction(async () => {
    const all = await publishMany(stand, 200, { onDemand: true });
    // Each has a folder of its own, with its container.json.
    for (const [n, { imageId }] of all.entries()) await stand.store().images.update(imageId, { files: `packages/many/${n}` });
    return all;
  });
  const [first] = published;
  const ref = stand.image(first?.imageId ?? "").ref;
  await eventually("all ready", () => published.every(({ imageId }) => stand.image(imageId).state === "READY"));
  t.same(calls, [ref]);
  for (const { imageId } of published) t.match(stand.image(imageId), { resolvedId: /./, logs: /resolved to/, exposed: [5353], fault: undefined });
  await stand.lifecycle().wake(published[150]?.id ?? "", USER);
  await stand.reaches(published[150]?.id ?? "", "STARTED");
});

t.test("an image that does not exist fails once for all that name it, and for each of them with the cause", async (t) => {
  const calls: string[] = [];
  const stand = await openLifecycleFixture(t, {
    driver: (driver) => ({ ...driver, resolve: async (image, call) => (calls.push(image.ref), driver.resolve(image, call)) }),
  });
  const published = await stand.store().transaction(async () => {
    const all = await publishMany(stand, 60, { onDemand: true });
    stand.world.apps.clear();
    await stand.lifecycle().wake(all[0]?.id ?? "", USER);
    return all;
  });
  await eventually("all failed", () => published.every(({ imageId }) => stand.image(imageId).state === "ERROR"));
  t.equal(calls.length, 1);
  for (const { imageId } of published) t.match(stand.image(imageId), { fault: { code: "IMAGE_NOT_FOUND" }, logs: /IMAGE_NOT_FOUND/ });
  t.match(await stand.reaches(published[0]?.id ?? "", "ERROR"), { fault: { code: "IMAGE_NOT_FOUND" } });
});

t.test("whose validation is requested while the same image is resolved gets the result of a resolution that began later", async (t) => {
  const calls: PromiseWithResolvers<void>[] = [];
  const stand = await openLifecycleFixture(t, {
    driver: (driver) => ({
      ...driver,
      resolve: async (image, call) => {
        const release = Promise.withResolvers<void>();
        call.signal.addEventListener("abort", () => release.reject(call.signal.reason as Error));
        calls.push(release);
        await release.promise;
        return driver.resolve(image, call);
      },
    }),
  });
  const [one, two] = (await publishMany(stand, 2)) as [Container, Container];
  await eventually("the first resolution", () => calls.length === 1);
  const late = await stand.publish();
  await eventually("it waits", () => stand.image(late.imageId).state === "PENDING_VALIDATION");
  t.equal(calls.length, 1);
  calls[0]?.resolve();
  await eventually("the second resolution", () => calls.length === 2);
  t.same(
    [one, two, late].map(({ imageId }) => stand.image(imageId).state),
    ["READY", "READY", "VALIDATING"],
  );
  // Of two that are resolved together one is requested again: the result counts for neither before a new resolution.
  await stand.store().transaction(async () => {
    await stand.lifecycle().requestValidation(one.imageId, USER);
    await stand.lifecycle().requestValidation(late.imageId, USER);
  });
  await eventually("the third resolution", () => calls.length === 3);
  calls[2]?.resolve();
  await eventually("all ready", () => [one, two, late].every(({ imageId }) => stand.image(imageId).state === "READY"));
  t.equal(calls.length, 3);
});

t.test("killed while an image of many is resolved, the next one resolves it once", async (t) => {
  let calls = 0;
  let hangs = true;
  const stand = await openLifecycleFixture(t, {
    driver: (driver) => ({
      ...driver,
      resolve: async (image, call) => {
        calls++;
        if (hangs) await new Promise(() => {});
        return driver.resolve(image, call);
      },
    }),
  });
  const published = await publishMany(stand, 60);
  await eventually("called", () => calls === 1);
  hangs = false;
  await stand.restart();
  await eventually("all ready", () => published.every(({ imageId }) => stand.image(imageId).state === "READY"));
  t.equal(calls, 2);
});
