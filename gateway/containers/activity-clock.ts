import type { Clock } from "../../lib/clock.ts";

/** `recent` is at most this old: idle limits count in minutes. */
const MAX_AGE_MS = 100;

/** The time of activity, epoch ms. A request has several moments of activity, and each reading of the system's clock costs 1 % of a small request. */
export class ActivityClock {
  readonly #clock: Pick<Clock, "now" | "after">;
  #last = 0;
  #isRecent = false;

  constructor(clock: Pick<Clock, "now" | "after">) {
    this.#clock = clock;
  }

  /** The exact time. */
  read(): number {
    this.#last = this.#clock.now();
    if (!this.#isRecent) {
      this.#isRecent = true;
      this.#clock.after(MAX_AGE_MS, this.#expire);
    }
    return this.#last;
  }

  /** The time of the last reading if that is recent, else the exact time. */
  recent(): number {
    return this.#isRecent ? this.#last : this.read();
  }

  readonly #expire = (): void => {
    this.#isRecent = false;
  };
}
