import t from "tap";
import type { Driver } from "../../../drivers/driver.ts";
import { wrapDriver } from "../../../drivers/driver.ts";
import { openMetrics } from "../../../lib/metrics/open-metrics.ts";
import { turns } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { openLifecycleFixture } from "./lifecycle-fixture.ts";

/** A deploy that was sent, and reaches the orchestrator only when it is released, whatever became of the process that sent it. */
function lateDeploys() {
  const sent: (() => void)[] = [];
  const wrap = (driver: Driver): Driver =>
    wrapDriver(driver, {
      deploy: async (spec, call) => {
        await new Promise<void>((resolve) => void sent.push(resolve));
        return driver.deploy(spec, { ...call, signal: new AbortController().signal });
      },
    });
  return { sent, wrap };
}

async function afterFailover(t: Parameters<typeof openLifecycleFixture>[0], epochs: readonly [number, number]) {
  const { sent, wrap } = lateDeploys();
  const metrics = openMetrics();
  let opened = 0;
  const stand = await openLifecycleFixture(t, {
    metrics,
    leaderEpoch: () => epochs[opened++] ?? 0,
    // Of the first leader.
    driver: (driver) => (opened === 0 ? wrap(driver) : driver),
  });
  const { id, service } = await stand.publish();
  await stand.lifecycle().requestStart(id, "22222222-2222-4222-8222-222222222222");
  await eventually("the deploy to be sent", () => sent.length === 1);
  // The leader is gone, its call is under way.
  await stand.restart();
  const late = () => metrics.lateStarts.at().value;
  return { stand, id, service, late, arrive: () => sent[0]?.() };
}

t.test("a start of a deposed leader that arrives after the next one has stopped the container is recognized by its epoch, and stopped", async (t) => {
  const { stand, id, service, late, arrive } = await afterFailover(t, [1, 2]);
  await stand.reaches(id, "STARTED");
  await stand.stop(id);
  const before = stand.world.callCount(`destroy ${service}`);
  arrive();
  await eventually("it is recognized", () => late() === 1);
  await eventually("it is stopped again", () => stand.world.callCount(`destroy ${service}`) > before);
  await stand.reaches(id, "USER_STOPPED");
  t.notOk((await stand.world.open().inspect(service, { signal: new AbortController().signal }))?.running);
  t.equal(late(), 1);
});

t.test("a start of a deposed leader that arrives while the container runs is the same container, and changes nothing", async (t) => {
  const { stand, id, service, late, arrive } = await afterFailover(t, [1, 2]);
  const { addresses } = await stand.reaches(id, "STARTED");
  arrive();
  await turns();
  t.same(stand.row(id).addresses, addresses);
  t.equal((await stand.world.open().list({ signal: new AbortController().signal })).filter((one) => one.service === service).length, 1);
  t.equal(late(), 0);
});

t.test("what the same leader started late is stopped, and does not count", async (t) => {
  const { stand, id, service, late, arrive } = await afterFailover(t, [2, 2]);
  await stand.reaches(id, "STARTED");
  await stand.stop(id);
  const before = stand.world.callCount(`destroy ${service}`);
  arrive();
  await eventually("it is stopped again", () => stand.world.callCount(`destroy ${service}`) > before);
  t.equal(late(), 0);
});
