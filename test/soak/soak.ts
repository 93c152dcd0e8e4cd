import { ABORTS } from "./aborts.ts";
import { playAll, type Played, type SoakScript } from "./script.ts";
import { grown, inWords } from "./growth.ts";
import { WEBSOCKETS } from "./websockets.ts";
import { openWorld, type SoakSnapshot } from "./world.ts";

/** What there is to be played, and how often in all. */
export const SOAKS: Record<string, { scripts: readonly SoakScript[]; count: number }> = {
  "WebSocket connects": { scripts: WEBSOCKETS, count: 100_000 },
  "aborted requests": { scripts: ABORTS, count: 200_000 },
};

export type SoakResult = Played & { before: SoakSnapshot; after: SoakSnapshot; grown: string[] };

export type SoakOptions = {
  scripts: readonly SoakScript[];
  count: number;
  /** Played before the baseline is taken, so that whatever is made once is there. */
  warmUp: number;
  /** No client begins after this. */
  withinMs: number;
};

/** At most so many clients are there at once. */
const AT_ONCE = 100;

/** Plays clients against a gateway process of their own, and compares what it holds before and after. */
export async function soak({ scripts, count, warmUp, withinMs }: SoakOptions): Promise<SoakResult> {
  const world = await openWorld();
  try {
    const { port } = world;
    const warmed = await playAll(scripts, { port, count: warmUp, atOnce: AT_ONCE, withinMs });
    const before = await world.settled();
    const played = await playAll(scripts, { port, count, atOnce: AT_ONCE, withinMs });
    const after = await world.settled();
    return { ...played, failures: [...warmed.failures, ...played.failures], before, after, grown: grown(before, after) };
  } finally {
    world.close();
  }
}

/** Why it did not pass, in words; empty where it did. */
export function faultsOf(outcome: SoakResult, count: number): string[] {
  const few = outcome.count < count ? [`only ${outcome.count} of ${count} were played to their end in time`] : [];
  return [...outcome.grown, ...few, ...[...new Set(outcome.failures)].slice(0, 5)];
}

export function described({ count, ms, before, after }: SoakResult): string {
  return `  ${count} in ${Math.round(ms / 1_000)} s\n  before: ${inWords(before)}\n  after:  ${inWords(after)}`;
}
