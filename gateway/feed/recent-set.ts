import type { Clock } from "../../lib/clock.ts";

/** Keys that were added within the last `ms`, at most `most`: one more takes the place of the oldest. */
export type RecentSet = { has(key: string): boolean; add(key: string): void; delete(key: string): void; clear(): void };

export function createRecentSet({ ms, most, clock }: { ms: number; most: number; clock: Clock }): RecentSet {
  // In the order of their ends, since all live equally long.
  const ends = new Map<string, number>();
  return {
    has: (key) => (ends.get(key) ?? Number.NEGATIVE_INFINITY) > clock.monotonic(),
    add: (key) => {
      const now = clock.monotonic();
      ends.delete(key);
      ends.set(key, now + ms);
      for (const [oldest, end] of ends) {
        if (end > now && ends.size <= most) break;
        ends.delete(oldest);
      }
    },
    delete: (key) => void ends.delete(key),
    clear: () => ends.clear(),
  };
}
