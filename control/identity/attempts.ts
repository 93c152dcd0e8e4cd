import type { Clock } from "../../clock.ts";
import { Fault } from "../../fault.ts";

export type Attempts = {
  /** Faults: TOO_MANY_ATTEMPTS, whatever is shown: otherwise an answer would still tell a right guess from a wrong one. */
  check(peer: string | undefined): void;
  failed(peer: string | undefined): void;
};

/** So many failures at once, then one each `everyMs`. */
type Allowance = { burst: number; everyMs: number };

export type AttemptLimits = {
  /** Somebody with a wrong key in a script is slowed down; nobody else notices. */
  ofAPeer: Allowance;
  /** From however many addresses: still hopeless against the shortest key, far beyond honest mistakes. */
  ofAll: Allowance;
  /** Addresses that are remembered; with more, the one that failed longest ago is forgotten. */
  mostPeers: number;
};

export const ATTEMPT_LIMITS: AttemptLimits = { ofAPeer: { burst: 10, everyMs: 5_000 }, ofAll: { burst: 500, everyMs: 20 }, mostPeers: 5_000 };

/**
 * Slows down who guesses developer keys. Each failure moves a mark ahead of the clock; while the mark is further ahead than the
 * burst allows, nothing is even looked at. Kept in memory: a restart forgives.
 */
export function openAttempts({ clock, limits = ATTEMPT_LIMITS }: { clock: Clock; limits?: AttemptLimits }): Attempts {
  const marks = new Map<string, number>();
  let markOfAll = 0;

  const require = (mark: number, { burst, everyMs }: Allowance) => {
    const retryAfterMs = mark - clock.monotonic() - (burst - 1) * everyMs;
    if (retryAfterMs > 0) throw new Fault("TOO_MANY_ATTEMPTS", "Too many wrong developer keys were tried; wait a little.", { retryAfterMs });
  };
  const moved = (mark: number, { everyMs }: Allowance) => Math.max(mark, clock.monotonic()) + everyMs;

  return {
    check: (peer) => {
      require(markOfAll, limits.ofAll);
      if (peer !== undefined) require(marks.get(peer) ?? 0, limits.ofAPeer);
    },
    failed: (peer) => {
      markOfAll = moved(markOfAll, limits.ofAll);
      if (peer === undefined) return;
      const mark = moved(marks.get(peer) ?? 0, limits.ofAPeer);
      // Last in the map is who failed last.
      marks.delete(peer);
      marks.set(peer, mark);
      const [oldest] = marks.keys();
      if (marks.size > limits.mostPeers && oldest !== undefined) marks.delete(oldest);
    },
  };
}
