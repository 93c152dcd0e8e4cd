import t, { type Test } from "tap";
import { LIFECYCLE_LIMITS } from "../../../control/lifecycle/limits.ts";
import { type LanePlace, MOST_OUTSIDE, openWorkQueue } from "../../../control/lifecycle/work-queue.ts";
import { createStillClock, turns } from "../../fixtures/clock.ts";

/** A queue whose work a test ends by hand. */
function openTestQueue(
  t: Test,
  options: { concurrency?: number; perUser?: number; place?: (key: string) => LanePlace; failing?: () => boolean } = {},
) {
  const clock = createStillClock();
  const began: string[] = [];
  const ends = new Map<string, () => void>();
  const leaves = new Map<string, () => void>();
  let most = 0;
  const queue = openWorkQueue({
    work: async (key, signal, { leaveLane }) => {
      began.push(key);
      leaves.set(key, leaveLane);
      if (options.failing) {
        if (options.failing()) throw new Error("not now");
        return;
      }
      if (ends.has(key)) throw new Error(`two workers for ${key}`);
      await new Promise<void>((resolve) => {
        ends.set(key, resolve);
        most = Math.max(most, ends.size);
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
      ends.delete(key);
    },
    place: async (key) => options.place?.(key) ?? { lane: "look", user: "" },
    failed: () => {},
    clock,
    lanes: { ...LIFECYCLE_LIMITS.lanes, look: { total: options.concurrency ?? 8, perUser: options.perUser ?? 8 } },
    retry: { firstMs: 250, longestMs: 1_000 },
    random: () => 0,
  });
  t.teardown(() => queue.close());
  const end = async (key: string) => {
    ends.get(key)?.();
    await turns();
  };
  const leave = async (key: string) => {
    leaves.get(key)?.();
    await turns();
  };
  return { clock, queue, began, end, leave, most: () => most };
}

t.test("a key that is added a hundred times is worked on once", async (t) => {
  const { queue, began } = openTestQueue(t);
  for (let time = 0; time < 100; time++) queue.add("a");
  await turns();
  t.same(began, ["a"]);
});

t.test("a key that is added at any moment of another's placing is worked on", async (t) => {
  for (let moment = 0; moment < 20; moment++) {
    const { queue, began } = openTestQueue(t);
    queue.add("a");
    for (let past = 0; past < moment; past++) await Promise.resolve();
    queue.add("b");
    await turns();
    t.same(began, ["a", "b"], `${moment} microtasks later`);
  }
});

t.test("a key that is added while it is worked on is worked on once more, by one worker at a time", async (t) => {
  const { queue, began, end } = openTestQueue(t);
  queue.add("a");
  await turns();
  for (let time = 0; time < 100; time++) queue.add("a");
  await turns();
  t.same(began, ["a"], "not before the first has ended");
  await end("a");
  t.same(began, ["a", "a"]);
  await end("a");
  t.same(began, ["a", "a"]);
});

t.test("many keys are worked on at once, but no more than allowed", async (t) => {
  const { queue, began, end, most } = openTestQueue(t, { concurrency: 3 });
  for (const key of "abcdefg") queue.add(key);
  await turns();
  t.same(began, ["a", "b", "c"]);
  for (const key of "abcdefg") await end(key);
  t.same(began.join(""), "abcdefg");
  t.equal(most(), 3);
});

t.test("users take turns: who comes last with one key is not behind a hundred of another's", async (t) => {
  const { queue, began, end } = openTestQueue(t, { concurrency: 2, perUser: 1, place: (key) => ({ lane: "look", user: key.slice(0, 1) }) });
  for (let n = 0; n < 100; n++) queue.add(`a${n}`);
  await turns();
  t.same(began, ["a0"], "one of each at a time");
  queue.add("b0");
  queue.add("b1");
  queue.add("c0");
  await turns();
  t.same(began, ["a0", "b0"]);
  await end("a0");
  await end("b0");
  t.same(began, ["a0", "b0", "a1", "c0"]);
  await end("c0");
  t.same(began.at(-1), "b1");
});

t.test("a full lane keeps no other waiting, and a key that changes its lane leaves the queue of the old one", async (t) => {
  const lanes = new Map<string, "look" | "stop">();
  const { queue, began, end } = openTestQueue(t, { concurrency: 1, place: (key) => ({ lane: lanes.get(key) ?? "look", user: "" }) });
  for (const key of ["a", "b", "c"]) queue.add(key);
  await turns();
  t.same(began, ["a"]);
  lanes.set("c", "stop");
  queue.add("c");
  await turns();
  t.same(began, ["a", "c"]);
  await end("c");
  await end("a");
  await end("b");
  t.same(began, ["a", "c", "b"], "and is worked on once");
  t.same(queue.depth(), { waiting: 0, running: 0 });
});

t.test("a place that comes with the key is not looked up, and counts until the key is added again", async (t) => {
  const looked: string[] = [];
  const { queue, began, end } = openTestQueue(t, {
    place: (key) => {
      looked.push(key);
      return { lane: "look", user: "" };
    },
  });
  queue.add("a", { lane: "look", user: "ada" });
  queue.add("b", { lane: "stop", user: "ada" });
  queue.add("c", { lane: "stop", user: "ada" });
  queue.add("c");
  await turns();
  t.same(began.toSorted(), ["a", "b", "c"]);
  t.same(looked, ["c"]);
  for (const key of "abc") await end(key);
  t.same(queue.depth(), { waiting: 0, running: 0 });
});

t.test("work that fails comes back later and later, and at once after a new request", async (t) => {
  let failing = true;
  const { clock, queue, began } = openTestQueue(t, { failing: () => failing });
  queue.add("a");
  const at = async (ms: number, runs: number) => {
    await clock.advance(ms);
    t.equal(began.length, runs);
  };
  await at(0, 1);
  await at(249, 1);
  await at(1, 2);
  await at(499, 2);
  await at(1, 3);
  await at(1_000, 4);
  await at(1_000, 5);
  queue.add("a");
  await at(0, 6);
  failing = false;
  await at(1_000, 7);
  await at(60_000, 7);
  t.equal(clock.pending(), 0, "a key that is done leaves nothing behind");
});

t.test("the earliest of several times counts", async (t) => {
  const { clock, queue, began } = openTestQueue(t);
  queue.addAfter("a", 500);
  queue.addAfter("a", 100);
  queue.addAfter("a", 900);
  await clock.advance(99);
  t.same(began, []);
  await clock.advance(1);
  t.same(began, ["a"]);
});

t.test("only so much work is outside its lane at a time: then it keeps its place", async (t) => {
  const { queue, began, end, leave } = openTestQueue(t, { concurrency: 1 });
  const keys = Array.from({ length: MOST_OUTSIDE + 3 }, (_, index) => `key ${index}`);
  for (const key of keys) queue.add(key);
  await turns();
  for (const key of keys) await leave(key);
  t.equal(began.length, MOST_OUTSIDE + 1);
  await end("key 0");
  t.equal(began.length, MOST_OUTSIDE + 1, "it had left its place before");
  await leave(`key ${MOST_OUTSIDE}`);
  t.equal(began.length, MOST_OUTSIDE + 2);
});

t.test("closed, it ends what runs and begins nothing more", async (t) => {
  const { clock, queue, began } = openTestQueue(t);
  queue.add("a");
  await turns();
  queue.add("a");
  queue.addAfter("b", 10);
  await queue.close();
  queue.add("c");
  await clock.advance(1_000);
  t.same(began, ["a"]);
  t.equal(clock.pending(), 0);
});

t.test("work that leaves its lane lets another key begin, once, and stays the only work on its own", async (t) => {
  const { queue, began, end, leave } = openTestQueue(t, { concurrency: 1 });
  for (const key of "abcd") queue.add(key);
  await turns();
  t.same(began, ["a"]);
  await leave("a");
  await leave("a");
  t.same(began, ["a", "b"]);
  queue.add("a");
  await end("b");
  t.same(began, ["a", "b", "c"]);
  await end("a");
  t.same(began, ["a", "b", "c"], "the place that it left is not given back twice");
  await end("c");
  await end("d");
  t.same(began, ["a", "b", "c", "d", "a"], "it is worked on once more");
  t.same(queue.depth(), { waiting: 0, running: 1 });
});
