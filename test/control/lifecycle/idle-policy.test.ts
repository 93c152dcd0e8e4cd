import t from "tap";
import { nextWarm, warmUntil } from "../../../control/model/warm-hours.ts";
import { openLifecycleFixture, type LifecycleFixture } from "./lifecycle-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

const MINUTE = 60_000;
const at = (iso: string) => Date.parse(iso);
const shown = (moment: number | undefined) => moment && new Date(moment).toISOString().slice(0, 16);

t.test("hours begin and end as clocks on the wall have it, over midnight, a weekend and a change of the clocks", async (t) => {
  for (const [lines, now, ends, next] of [
    // 2023-11-14 is a Tuesday.
    [["Mon-Fri 08:00-18:00"], "2023-11-14T07:59:59Z", undefined, "2023-11-14T08:00"],
    [["Mon-Fri 08:00-18:00"], "2023-11-14T08:00:00Z", "2023-11-14T18:00", "2023-11-15T08:00"],
    [["Mon-Fri 08:00-18:00"], "2023-11-14T17:59:59Z", "2023-11-14T18:00", "2023-11-15T08:00"],
    [["Mon-Fri 08:00-18:00"], "2023-11-17T18:00:00Z", undefined, "2023-11-20T08:00"],
    [["mon-fri 08:00-18:00 Europe/Berlin"], "2023-11-14T07:00:00Z", "2023-11-14T17:00", "2023-11-15T07:00"],
    [["Sat,Sun 22:00-02:00"], "2023-11-20T01:00:00Z", "2023-11-20T02:00", "2023-11-25T22:00"],
    [["Fri-Mon 00:00-24:00"], "2023-11-19T12:00:00Z", "2023-11-20T00:00", "2023-11-20T00:00"],
    [["Mon 08:00-10:00", "Mon 09:00-12:00"], "2023-11-20T09:30:00Z", "2023-11-20T12:00", "2023-11-27T08:00"],
    // On 2024-03-31 the clocks of Berlin go from 2:00 to 3:00.
    [["Sun 08:00-18:00 Europe/Berlin"], "2024-03-31T00:00:00Z", undefined, "2024-03-31T06:00"],
    [["Sun 00:00-18:00 Europe/Berlin"], "2024-03-31T00:00:00Z", "2024-03-31T16:00", "2024-04-06T22:00"],
    [["Sun 00:00-18:00 Europe/Berlin"], "2024-10-27T00:30:00Z", "2024-10-27T17:00", "2024-11-02T23:00"],
  ] as const) {
    t.equal(shown(warmUntil(lines, at(now))), ends, `${lines.join()} at ${now}: until`);
    t.equal(shown(nextWarm(lines, at(now))), next, `${lines.join()} at ${now}: next`);
  }
});

// Time stands still at 22:13:20 on a Tuesday.
const HOURS = ["Tue 22:15-22:45"];

async function pass(stand: LifecycleFixture, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 5_000) await stand.clock.advance(Math.min(left, 5_000));
}

t.test("it is started when its hours come, stays awake within them, and sleeps after them", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish({ config: { onDemand: true, shutdownTimeoutMinutes: 1, keepWarm: HOURS } });
  await eventually("its image is there", () => stand.image(stand.row(id).imageId).state === "READY");
  const begins = at("2023-11-14T22:15:00Z");
  t.match((await stand.lifecycle().explain(id, new AbortController().signal)).timers, [{ kind: "warmHours", at: begins }]);
  await pass(stand, MINUTE);
  t.equal(stand.row(id).state, "SYSTEM_STOPPED");
  await stand.restart();
  await pass(stand, MINUTE);
  t.match(await stand.reaches(id, "STARTED"), { requestedFor: "keepWarm", desiredInstances: 1 });
  await pass(stand, 20 * MINUTE);
  t.equal(stand.row(id).state, "STARTED");
  t.match((await stand.lifecycle().explain(id, new AbortController().signal)).awake, [{ kind: "warmHours" }]);
  await pass(stand, 11 * MINUTE);
  await stand.reaches(id, "SYSTEM_STOPPED");
  t.match(await stand.store().wakes.of(id), [{ startReason: "keepWarm", byUser: undefined, outcome: "answered" }]);
});

t.test("a user's stop counts for more than its hours, until a request wakes it", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish({ config: { onDemand: true, keepWarm: HOURS } });
  await pass(stand, 2 * MINUTE);
  await stand.reaches(id, "STARTED");
  await stand.stop(id);
  await pass(stand, 5 * MINUTE);
  t.equal(stand.row(id).state, "USER_STOPPED");
  await stand.wake(id);
});

t.test("one that crashes within its hours is started again, more and more slowly", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, service } = await stand.publish({ config: { onDemand: true, keepWarm: HOURS } });
  await pass(stand, 2 * MINUTE);
  await stand.reaches(id, "STARTED");
  for (let seconds = 0; seconds < 60; seconds++) {
    await stand.world.kill(service);
    await stand.clock.advance(1_000);
  }
  const deploys = stand.world.callCount(`deploy ${service}`);
  t.ok(deploys >= 4 && deploys <= 10, `${deploys} starts in a minute`);
  await pass(stand, 2 * MINUTE);
  t.equal(stand.row(id).state, "STARTED");
});
