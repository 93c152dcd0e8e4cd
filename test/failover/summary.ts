import { FAULT_KINDS } from "./faults.ts";
import type { FailoverReport, FailoverResult } from "./play.ts";

/** How long until wakes are served, in milliseconds. Kinds without a target have none. */
const TARGETS_MS = { crash: 10_000, planned: 2_000 } as const;

/** The result as Markdown: for the page on several machines. */
export function resultTable({ results, plainMs, warm, wakes, writes, late, doubles }: FailoverReport): string {
  const problems = results.reduce((sum, result) => sum + result.problems.length, 0);
  const rows = FAULT_KINDS.flatMap((kind) => {
    const ofKind = results.filter((result) => result.kind === kind);
    const faults = [...new Set(ofKind.map(({ fault }) => fault))].toSorted();
    return [
      row(`**${kind}**`, ofKind),
      ...faults.map((fault) =>
        row(
          fault,
          ofKind.filter((result) => result.fault === fault),
        ),
      ),
    ];
  });
  return [
    "| fault | times | p50 | p90 | p99 | longest |",
    "| --- | ---: | ---: | ---: | ---: | ---: |",
    ...rows.filter((text) => text !== ""),
    "",
    `A wake without a fault took ${seconds(plainMs)}. Warm requests: ${warm.sent}, failed: ${warm.failed.length}. Wakes: ${wakes.sent}, failed: ${wakes.failed.length}.`,
    `Containers that ran twice: ${doubles.length}, at most for ${Math.round(Math.max(0, ...doubles.map(({ ms }) => ms)))} ms.`,
    `Writes: ${writes.sent}, acknowledged: ${writes.acknowledged}. Late starts: ${late.starts}, recognized: ${late.recognized}. Late stops: ${late.stops}. Problems: ${problems}.`,
  ].join("\n");
}

/** Whether each target is met, in sentences. */
export function judgeTargets({ results }: FailoverReport): string[] {
  return Object.entries(TARGETS_MS).map(([kind, target]) => {
    const times = timesOf(results.filter((result) => result.kind === kind));
    const p99 = percentile(times, 0.99);
    return `Target for ${kind}: p99 of at most ${seconds(target)}; ${times.length === 0 ? "not measured" : `${p99 <= target ? "met" : "MISSED"} with ${seconds(p99)}`}.`;
  });
}

function row(name: string, results: readonly FailoverResult[]): string {
  if (results.length === 0) return "";
  const times = timesOf(results);
  return `| ${[name, times.length, ...[0.5, 0.9, 0.99, 1].map((share) => seconds(percentile(times, share)))].join(" | ")} |`;
}

const timesOf = (results: readonly FailoverResult[]): number[] => results.map(({ servedMs }) => servedMs);
const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;

/** The smallest value that so many are at or below. `share`: 0.5 for the median. */
function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}
