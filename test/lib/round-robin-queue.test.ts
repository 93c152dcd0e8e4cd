import t from "tap";
import { createRoundRobinQueue } from "../../lib/round-robin-queue.ts";
import { startSlotsFor } from "../../control/lifecycle/limits.ts";

t.test("one user has all places but one, and while another one starts something, both have the same number", async (t) => {
  const queue = createRoundRobinQueue(startSlotsFor(2));
  for (let n = 0; n < 10; n++) queue.put(`storm-${n}`, "storm");
  t.equal(queue.begin()?.item, "storm-0");
  t.equal(queue.begin()?.item, "storm-1");
  t.equal(queue.begin(), undefined, "one place is free for another user");
  queue.put("single", "other");
  t.equal(queue.begin()?.item, "single", "at once");
  queue.end("storm");
  t.equal(queue.begin(), undefined, "the first user has as many as the other one");
  queue.end("storm");
  t.equal(queue.begin()?.item, "storm-2");
  queue.end("other");
  t.equal(queue.begin()?.item, "storm-3", "alone again");
});

t.test("with more users than places each has one, in turns", async (t) => {
  const queue = createRoundRobinQueue({ total: 3, perUser: 2, equalShares: true });
  for (const user of ["a", "b", "c", "d"]) for (const n of [1, 2]) queue.put(`${user}${n}`, user);
  t.strictSame([queue.begin()?.item, queue.begin()?.item, queue.begin()?.item, queue.begin()?.item], ["a1", "b1", "c1", undefined]);
  queue.end("a");
  t.equal(queue.begin()?.item, "d1");
});
