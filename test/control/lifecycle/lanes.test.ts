import t from "tap";
import { createFairLane } from "../../../control/lifecycle/lanes.ts";
import { startSlotsFor } from "../../../control/lifecycle/limits.ts";

t.test("one user has all places but one, and while another one starts something, both have the same number", async (t) => {
  const lane = createFairLane(startSlotsFor(2));
  for (let n = 0; n < 10; n++) lane.put(`storm-${n}`, "storm");
  t.equal(lane.begin()?.item, "storm-0");
  t.equal(lane.begin()?.item, "storm-1");
  t.equal(lane.begin(), undefined, "one place is free for another user");
  lane.put("single", "other");
  t.equal(lane.begin()?.item, "single", "at once");
  lane.end("storm");
  t.equal(lane.begin(), undefined, "the first user has as many as the other one");
  lane.end("storm");
  t.equal(lane.begin()?.item, "storm-2");
  lane.end("other");
  t.equal(lane.begin()?.item, "storm-3", "alone again");
});

t.test("with more users than places each has one, in turns", async (t) => {
  const lane = createFairLane({ total: 3, perUser: 2, equalShares: true });
  for (const user of ["a", "b", "c", "d"]) for (const n of [1, 2]) lane.put(`${user}${n}`, user);
  t.strictSame([lane.begin()?.item, lane.begin()?.item, lane.begin()?.item, lane.begin()?.item], ["a1", "b1", "c1", undefined]);
  lane.end("a");
  t.equal(lane.begin()?.item, "d1");
});
