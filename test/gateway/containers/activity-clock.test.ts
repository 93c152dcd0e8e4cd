import t from "tap";
import { ActivityClock } from "../../../gateway/containers/activity-clock.ts";
import { createStillClock } from "../../fixtures/clock.ts";

t.test("the time of activity is exact or a tenth of a second old", async (t) => {
  const clock = createStillClock();
  const activity = new ActivityClock(clock);
  const from = clock.now();
  t.equal(activity.recent(), from, "the first time is exact");
  await clock.advance(99);
  t.equal(activity.recent(), from);
  t.equal(activity.read(), from + 99);
  t.equal(activity.recent(), from + 99);
  await clock.advance(1);
  t.equal(activity.recent(), from + 100);
  await clock.advance(3_600_000);
  t.equal(activity.recent(), from + 3_600_100, "no timer is left that keeps it up to date");
});
