import t, { type Test } from "tap";
import type { Clock } from "../../../lib/clock.ts";
import type { DeployCall, Driver } from "../../../drivers/driver.ts";
import { listening, type MemoryApp } from "../../fixtures/memory-driver.ts";
import { openLifecycleFixture, type LifecycleFixture, USER } from "./lifecycle-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

const MINUTE = 60_000;

/** A driver that pulls for so many minutes before it does anything, and tells of progress each minute, or not. */
function pulling(minutes: number, tells: boolean, during: "resolve" | "deploy") {
  return (driver: Driver, clock: Clock): Driver => {
    const pull = async ({ signal, onPull }: DeployCall) => {
      for (let minute = 1; minute <= minutes; minute++) {
        await clock.sleep(MINUTE, signal);
        if (tells) onPull?.({ done: minute, total: minutes });
      }
    };
    const first =
      <Spec, Answer>(act: (spec: Spec, call: DeployCall) => Promise<Answer>) =>
      async (spec: Spec, call: DeployCall) => {
        await pull(call);
        return act(spec, call);
      };
    return { ...driver, [during]: first(driver[during] as (spec: unknown, call: DeployCall) => Promise<unknown>) };
  };
}

/** Time in pieces, so that what one piece sets going is done before the next. */
async function pass(stand: LifecycleFixture, minutes: number): Promise<void> {
  for (let tick = 0; tick < minutes * 4; tick++) await stand.clock.advance(MINUTE / 4);
}

async function started(t: Test, driver: (driver: Driver, clock: Clock) => Driver, app: MemoryApp = listening) {
  const stand = await openLifecycleFixture(t, { driver });
  const { id, imageId, service } = await stand.publish({ app, config: { onDemand: true } });
  return { stand, id, imageId, service };
}

t.test("an image may take longer than the status limit for as long as its pull makes progress", async (t) => {
  const { stand, imageId } = await started(t, pulling(12, true, "resolve"));
  await pass(stand, 11);
  t.equal(stand.image(imageId).state, "VALIDATING");
  await pass(stand, 2);
  t.equal(stand.image(imageId).state, "READY");
});

t.test("one without progress is an error at the limit, and its validation's log says so", async (t) => {
  const { stand, imageId } = await started(t, pulling(12, false, "resolve"));
  await pass(stand, 4.75);
  t.equal(stand.image(imageId).state, "VALIDATING");
  await pass(stand, 0.5);
  t.match(stand.image(imageId), { state: "ERROR", fault: { code: "VALIDATION_TIMED_OUT" }, logs: /validating .*\n.*VALIDATION_TIMED_OUT/ });
});

t.test("progress renews the limit for half an hour in all, and no longer", async (t) => {
  const { stand, imageId } = await started(t, pulling(60, true, "resolve"));
  await pass(stand, 28);
  t.equal(stand.image(imageId).state, "VALIDATING");
  await pass(stand, 10);
  t.match(stand.image(imageId), { state: "ERROR", fault: { code: "VALIDATION_TIMED_OUT" } });
});

t.test("a start that has to pull once more is given the same time", async (t) => {
  const { stand, id, imageId } = await started(t, pulling(12, true, "deploy"));
  await eventually("valid", () => stand.image(imageId).state === "READY");
  await stand.lifecycle().wake(id, USER);
  await pass(stand, 11);
  t.equal(stand.row(id).state, "STARTING");
  await pass(stand, 2);
  t.match(await stand.reaches(id, "STARTED"), { fault: undefined });
});

t.test("and without progress fails at the status limit", async (t) => {
  const { stand, id, imageId, service } = await started(t, pulling(12, false, "deploy"));
  await eventually("valid", () => stand.image(imageId).state === "READY");
  await stand.lifecycle().wake(id, USER);
  await stand.reaches(id, "STARTING");
  await pass(stand, 5);
  t.match(await stand.reaches(id, "ERROR"), { fault: { code: "START_TIMED_OUT" }, desiredInstances: 1 });
  t.same(stand.world.left(service), []);
});

t.test("a request that has waited for too long during a pull gets its progress", async (t) => {
  const { stand, id, imageId } = await started(t, pulling(12, true, "deploy"));
  await eventually("valid", () => stand.image(imageId).state === "READY");
  await stand.lifecycle().wake(id, USER);
  await stand.reaches(id, "STARTING");
  await stand.clock.advance(MINUTE);
  const signal = new AbortController().signal;
  t.match(await stand.lifecycle().startStatus(id, signal), { text: "Its image has been pulling for 0 s: 0 of 0 MB." });
  await stand.clock.advance(MINUTE / 4);
  t.match(await stand.lifecycle().startStatus(id, signal), { text: "The container engine has been creating it for 75 s." });
});
