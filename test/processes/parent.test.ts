import { fork } from "node:child_process";
import { join } from "node:path";
import { constants, PerformanceObserver } from "node:perf_hooks";
import { cachedDataVersionTag, getHeapStatistics } from "node:v8";
import t from "tap";
import { collectStartGarbage } from "../../processes/parent.ts";
import { createStillClock } from "../fixtures/clock.ts";
import { eventually } from "../fixtures/eventually.ts";

const MIB = 1024 * 1024;
const AFTER_MS = 10_000;
const usedMib = () => getHeapStatistics().used_heap_size / MIB;
/** In memory of V8, unlike a buffer. */
const numbers = (mib: number): number[][] => Array.from({ length: mib }, () => Array.from({ length: MIB / 8 }, (_, index) => index + 0.5));

/** How often a program requested a collection of V8; what V8 does by itself is not counted. It is reported a little later. */
let requested = 0;
new PerformanceObserver((list) => {
  for (const { detail } of list.getEntries() as (PerformanceEntry & { detail: { flags: number } })[]) {
    if ((detail.flags & constants.NODE_PERFORMANCE_GC_FLAGS_FORCED) !== 0) requested++;
  }
}).observe({ type: "gc" });

t.test("the garbage of the start is collected once, after a while", async (t) => {
  const clock = createStillClock();
  const held = { all: numbers(20) };
  // Whatever else the tests have in memory.
  collectStartGarbage(clock, Infinity);
  const before = usedMib();
  const tag = cachedDataVersionTag();
  held.all = [];
  await clock.advance(AFTER_MS);
  t.ok(usedMib() < before - 15, `${before} MiB became ${usedMib()}`);
  await eventually("the report of it", async () => requested === 1);
  t.equal(cachedDataVersionTag(), tag, "compiled code of the cache fits as before");
  t.equal(clock.pending(), 0);
});

t.test("a large heap is left to V8: to collect it would hold up requests", async (t) => {
  const clock = createStillClock();
  collectStartGarbage(clock, MIB);
  await clock.advance(AFTER_MS);
  const before = requested;
  collectStartGarbage(clock, Infinity);
  await clock.advance(AFTER_MS);
  await eventually("the report of the second", async () => requested > before);
  t.equal(requested, before + 1, "only that of the small heap");
});

t.test("a process whose metrics cannot be collected lives on", async (t) => {
  const child = fork(join(import.meta.dirname, "fixtures/failing-metrics.ts"), { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  t.teardown(() => child.kill("SIGKILL"));
  const replies: unknown[] = [];
  child.on("message", (report: { kind: string }) => replies.push(report.kind));
  child.send({ kind: "metrics" });
  child.send({ kind: "ping" });
  await eventually("it answers a ping", () => replies.length > 0);
  child.send({ kind: "ping" });
  await eventually("it goes on answering", () => replies.length > 1);
  t.same([replies, child.exitCode], [["pong", "pong"], null]);
});

t.test("a process that ends earlier collects nothing", async (t) => {
  const clock = createStillClock();
  collectStartGarbage(clock)();
  t.equal(clock.pending(), 0);
});
