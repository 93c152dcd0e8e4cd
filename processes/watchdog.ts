import type { Clock } from "../lib/clock.ts";

/** How many checks in a row a process may leave unanswered; the next one is its end. */
export const MISSED_CHECKS = 3;

type WatchdogOptions = {
  /** Time between two checks, in milliseconds. */
  everyMs: number;
  /** The unanswered checks after which the process counts as hung. */
  limit(): number;
  /** Resolves when the process answers; rejects where it cannot be reached. At most one is pending. */
  ping(): Promise<void>;
  /** Called once, with the milliseconds since the last answer. */
  hung(silentMs: number): void;
  clock: Clock;
};

/**
 * Asks a process again and again whether its event loop runs. A check that comes late itself proves nothing: the whole machine was
 * suspended, or so busy that this process did not run either. It starts the count anew.
 */
export function startWatchdog({ everyMs, limit, ping, hung, clock }: WatchdogOptions): { stop(): void } {
  let answeredAt = clock.monotonic();
  let dueAt = answeredAt;
  let missed = 0;
  let state: "answered" | "pending" | "failed" = "answered";
  let cancel = () => {};
  let stopped = false;

  const check = () => {
    const now = clock.monotonic();
    const isLate = now - dueAt > everyMs / 2;
    missed = isLate || state === "answered" ? 0 : missed + 1;
    if (missed >= limit()) return hung(now - answeredAt);
    if (state !== "pending") {
      state = "pending";
      ping().then(
        () => {
          answeredAt = clock.monotonic();
          return void (state = "answered");
        },
        () => void (state = "failed"),
      );
    }
    if (stopped) return undefined;
    dueAt = now + everyMs;
    cancel = clock.after(everyMs, check);
    return undefined;
  };
  check();
  return {
    stop: () => {
      stopped = true;
      cancel();
    },
  };
}
