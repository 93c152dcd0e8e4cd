import type { Clock } from "../../clock.ts";
import { Fault } from "../../fault.ts";

export type Attempts = {
  /** Faults: TOO_MANY_ATTEMPTS, whatever is shown: otherwise an answer would still tell a right guess from a wrong one. */
  check(peer: string | undefined): void;
  failed(peer: string | undefined): void;
};

/** So many failures at once, then one each `everyMs`. */
type Allowance = { burst: number; everyMs: number };

/** Somebody with a wrong key in a script is slowed down; nobody else notices. */
const OF_A_PEER: Allowance = { burst: 10, everyMs: 5_000 };
/** Of all together, from however many addresses: still hopeless against the shortest key, far beyond honest mistakes. */
const OF_ALL: Allowance = { burst: 500, everyMs: 20 };
/** Addresses that are remembered; with more, the one that failed longest ago is forgotten. */
const MOST_PEERS = 5_000;

/**
 * Slows down who guesses developer keys. Each failure moves a mark ahead of the clock; while the mark is further ahead than the
 * burst allows, nothing is even looked at. Kept in memory: a restart forgives.
 */
export function openAttempts({ clock }: { clock: Clock }): Attempts {
  const marks = new Map<string, number>();
  let markOfAll = 0;

  const require = (mark: number, { burst, everyMs }: Allowance) => {
    const retryAfterMs = mark - clock.monotonic() - (burst - 1) * everyMs;
    if (retryAfterMs > 0) throw new Fault("TOO_MANY_ATTEMPTS", "Too many wrong developer keys were tried; wait a little.", { retryAfterMs });
  };
  const moved = (mark: number, { everyMs }: Allowance) => Math.max(mark, clock.monotonic()) + everyMs;

  return {
    check: (peer) => {
      require(markOfAll, OF_ALL);
      if (peer !== undefined) require(marks.get(peer) ?? 0, OF_A_PEER);
    },
    failed: (peer) => {
      markOfAll = moved(markOfAll, OF_ALL);
      if (peer === undefined) return;
      const mark = moved(marks.get(peer) ?? 0, OF_A_PEER);
      // Last in the map is who failed last.
      marks.delete(peer);
      marks.set(peer, mark);
      const [oldest] = marks.keys();
      if (marks.size > MOST_PEERS && oldest !== undefined) marks.delete(oldest);
    },
  };
}
