import t from "tap";
import { startSlotsFor } from "../../control/lifecycle/limits.ts";
import { createFairSlots, createRoundRobinQueue } from "../../lib/fair-queues.ts";

const { signal } = new AbortController();
const settle = () => new Promise(setImmediate);
const full = (ofUser: boolean) => new Error(ofUser ? "full for the user" : "full for all");

function work() {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let begun = false;
  return { run: () => ((begun = true), promise), begun: () => begun, end: resolve, fail: reject };
}

t.test("a user who has many waiting does not keep another from the next slot", async (t) => {
  const slots = createFairSlots({ slots: 2, slotsPerUser: 2, waiting: 10, waitingPerUser: 10, full });
  const greedy = Array.from({ length: 5 }, work);
  const done = greedy.map((one) => slots.run("mallory", signal, one.run));
  const alice = work();
  const hers = slots.run("alice", signal, alice.run);
  t.same([...greedy.map((one) => one.begun()), alice.begun()], [true, true, false, false, false, false]);
  greedy[1]?.fail(new Error("no good"));
  await t.rejects(done[1] ?? Promise.resolve(""), /no good/);
  await settle();
  t.equal(alice.begun(), true, "alice came last and is next");
  t.equal(greedy[2]?.begun(), false);
  alice.end("alice");
  t.equal(await hers, "alice");
  for (const one of greedy) one.end("done");
  await Promise.all(done.toSpliced(1, 1));
});

t.test("a user has at most as many slots as one may have, though others are free", async (t) => {
  const slots = createFairSlots({ slots: 4, slotsPerUser: 1, waiting: 2, waitingPerUser: 1, full });
  const [a, b, c] = [work(), work(), work()];
  const first = slots.run("mallory", signal, a.run);
  const second = slots.run("mallory", signal, b.run);
  t.same([a.begun(), b.begun()], [true, false]);
  await t.rejects(slots.run("mallory", signal, c.run), /full for the user/);
  const other = slots.run("alice", signal, c.run);
  t.equal(c.begun(), true);
  a.end("a");
  b.end("b");
  c.end("c");
  t.same(await Promise.all([first, second, other]), ["a", "b", "c"]);
});

t.test("who stops waiting gives the place in the queue back", async (t) => {
  const slots = createFairSlots({ slots: 1, slotsPerUser: 1, waiting: 1, waitingPerUser: 1, full });
  const a = work();
  const first = slots.run("a", signal, a.run);
  const leaving = new AbortController();
  const reason = new Error("gone");
  const waiting = slots.run("b", leaving.signal, async () => "never");
  await t.rejects(
    slots.run("c", signal, async () => "never"),
    /full for all/,
  );
  leaving.abort(reason);
  await t.rejects(waiting, reason);
  const next = slots.run("c", signal, async () => "next");
  a.end("a");
  t.same(await Promise.all([first, next]), ["a", "next"]);
});

t.test("a signal that aborts after its user has a slot, or before, takes neither a slot nor another's place in the queue", async (t) => {
  const slots = createFairSlots({ slots: 1, slotsPerUser: 1, waiting: 2, waitingPerUser: 1, full });
  const [over, left] = [new AbortController(), AbortSignal.abort(new Error("gone"))];
  t.ok(slots.tryEnter("a"));
  const waiting = [slots.enter("b", over.signal), slots.enter("c", signal)];
  slots.leave("a");
  await waiting[0];
  over.abort();
  slots.leave("b");
  await waiting[1];
  slots.leave("c");
  await t.rejects(slots.enter("d", left), /gone/);
  t.ok(slots.tryEnter("e"));
});

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
