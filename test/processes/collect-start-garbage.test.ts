import { cachedDataVersionTag, getHeapStatistics } from "node:v8";
import t from "tap";
import { collectStartGarbage } from "../../processes/collect-start-garbage.ts";
import { createStillClock } from "../fixtures/clock.ts";

const MIB = 1024 * 1024;
const usedMib = () => getHeapStatistics().used_heap_size / MIB;
/** In memory of V8, unlike a buffer. */
const numbers = (mib: number): number[][] => Array.from({ length: mib }, () => Array.from({ length: MIB / 8 }, (_, index) => index + 0.5));

t.test("the garbage of the start is collected once, after a while", async (t) => {
  const clock = createStillClock();
  const held = { all: numbers(20) };
  collectStartGarbage(clock);
  const before = usedMib();
  const tag = cachedDataVersionTag();
  held.all = [];
  await clock.advance(10_000);
  t.ok(usedMib() < before - 15, `${before} MiB became ${usedMib()}`);
  t.equal(cachedDataVersionTag(), tag, "compiled code of the cache fits as before");
  t.equal(clock.pending(), 0);
});

t.test("a large heap is left to V8: to collect it would hold up requests", async (t) => {
  const clock = createStillClock();
  const kept = numbers(40);
  const held = { all: numbers(20) };
  collectStartGarbage(clock);
  const before = usedMib();
  held.all = [];
  await clock.advance(10_000);
  t.ok(usedMib() > before - 5, `${before} MiB became ${usedMib()}`);
  t.equal(kept.length, 40);
});

t.test("a process that ends earlier collects nothing", async (t) => {
  const clock = createStillClock();
  collectStartGarbage(clock)();
  t.equal(clock.pending(), 0);
});
