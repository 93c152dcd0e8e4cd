import type { Change } from "../lifecycle/changes.ts";

/** What changed lately, so that whoever comes back after a short while is told of what was missed only. */
export type RecentChanges = {
  add(change: Change): void;
  /** The newest change of each container and image after `seq`, oldest first; undefined where that is too long ago to say, or no number. */
  since(seq: number): Change[] | undefined;
};

/** Telling more than this anew costs more than that the client reads its lists again. */
const KEPT = 200;

/** `first`: the newest change before it was opened. */
export function recentChanges(first: number): RecentChanges {
  const kept: Change[] = [];
  let known = first;
  return {
    add: (change) => {
      kept.push(change);
      if (kept.length > KEPT) known = kept.shift()?.seq ?? known;
    },
    since: (seq) => {
      const newest = kept.at(-1)?.seq ?? first;
      if (!(seq >= known && seq <= newest)) return undefined;
      const last = new Map(kept.filter((change) => change.seq > seq).map((change) => [keyOf(change), change]));
      return [...last.values()].toSorted((one, other) => one.seq - other.seq);
    },
  };
}

function keyOf(change: Change): string {
  if ("removed" in change) return change.removed;
  return "container" in change ? change.container.id : change.image.id;
}
