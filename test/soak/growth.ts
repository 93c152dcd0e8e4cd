import { MAX_SPARE_BYTES } from "../../gateway/connections/read-buffers.ts";
import type { SoakSnapshot } from "./world.ts";

const MIB = 1_048_576;

/** By how much each may have grown: what the engine compiles and keeps for itself, and a pool's last watcher, is no leak. */
const MAY_GROW: Record<Exclude<keyof SoakSnapshot, "objects">, number> = {
  files: 0,
  timers: 0,
  uses: 0,
  watchers: 0,
  leases: 0,
  pooled: 0,
  parserBytes: 0,
  heapBytes: 2 * MIB,
  // After a short warm-up, buffers for long bodies are still added to those that are kept.
  bufferBytes: MAX_SPARE_BYTES + MIB,
};

/** A connection that is gone may still be held by its last bytes; a leak counts in thousands. */
const OBJECTS_MAY_GROW = 20;

/** What there is more of than before, in words; empty where all is back at its baseline. */
export function grown(before: SoakSnapshot, after: SoakSnapshot): string[] {
  const problems = Object.entries(MAY_GROW).flatMap(([what, by]) => compared(what, before[what as "files"], after[what as "files"], by));
  const objects = Object.entries(after.objects).flatMap(([kind, count]) => compared(kind, before.objects[kind] ?? 0, count, OBJECTS_MAY_GROW));
  return [...problems, ...objects];
}

function compared(what: string, before: number, after: number, by: number): string[] {
  return after - before > by ? [`${what} grew from ${before} to ${after}`] : [];
}

export function inWords({ files, heapBytes, bufferBytes, parserBytes, timers, uses, watchers, leases, pooled, objects }: SoakSnapshot): string {
  const counts = Object.entries(objects).map(([kind, count]) => `${kind} ${count}`);
  return [
    `files ${files}`,
    `heap ${mib(heapBytes)}, buffers ${mib(bufferBytes)}, parser ${mib(parserBytes)} MiB`,
    `timers ${timers}, uses ${uses}, watchers ${watchers}, leases ${leases}, pooled ${pooled}`,
    counts.join(", "),
  ].join("; ");
}

function mib(bytes: number): string {
  return (bytes / MIB).toFixed(2);
}
