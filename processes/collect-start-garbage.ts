import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Clock } from "../lib/clock.ts";

/** Everything is loaded and connected by then, and V8 has compiled what runs often. */
const AFTER_MS = 10_000;
/** The event loop stands still meanwhile: about 1 ms for each megabyte in use. A larger heap is a busy one, and collects by itself. */
const MOST_BYTES = 48 * 1024 * 1024;

/**
 * Collects the garbage of the start once, and so returns its memory to the system: 50 MB of three processes. V8 collects when more is allocated, and an
 * idle process allocates little. A heap of more than `mostBytes` is left alone. The returned function cancels it.
 */
export function collectStartGarbage(clock: Clock, mostBytes = MOST_BYTES): () => void {
  return clock.after(AFTER_MS, () => {
    if (getHeapStatistics().used_heap_size <= mostBytes) collectGarbage();
  });
}

function collectGarbage(): void {
  // A flag is the only way to V8's collector. Compiled code depends on the flags, so that it must not stay.
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  setFlagsFromString("--no-expose-gc");
  collect();
}
