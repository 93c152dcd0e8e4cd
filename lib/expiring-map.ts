import type { Clock } from "./clock.ts";

/** A map whose entries end `ms` after they were set. It has `most` of them at most: one more replaces the oldest. */
export class ExpiringMap<Key, Value> {
  readonly #ms: number;
  readonly #most: number;
  readonly #clock: Pick<Clock, "monotonic">;
  /** In the order of their ends: all have the same lifetime. */
  readonly #entries = new Map<Key, { value: Value; until: number }>();

  constructor({ ms, most, clock }: { ms: number; most: number; clock: Pick<Clock, "monotonic"> }) {
    this.#ms = ms;
    this.#most = most;
    this.#clock = clock;
  }

  get(key: Key): Value | undefined {
    const entry = this.#entries.get(key);
    return entry !== undefined && entry.until > this.#clock.monotonic() ? entry.value : undefined;
  }

  set(key: Key, value: Value): void {
    const now = this.#clock.monotonic();
    this.#entries.delete(key);
    this.#entries.set(key, { value, until: now + this.#ms });
    for (const [oldest, { until }] of this.#entries) {
      if (until > now && this.#entries.size <= this.#most) break;
      this.#entries.delete(oldest);
    }
  }

  delete(key: Key): void {
    this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
  }
}
