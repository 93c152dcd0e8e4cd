import { LATENCY_BOUNDS_MS, type TrafficCounts, type TrafficSource } from "../../lib/traffic-counts.ts";

/** Upgraded connections: their duration is no latency. */
const UPGRADED = 1;
const FAILED = 5;

/** Finished requests of one container since the last report to control. A request costs additions only. */
export class ContainerTraffic implements TrafficCounts, TrafficSource {
  #requests = 0;
  #errors = 0;
  #waits = 0;
  #waitMs = 0;
  readonly #latency: number[] = Array.from({ length: LATENCY_BOUNDS_MS.length + 1 }, () => 0);

  get requests(): number {
    return this.#requests;
  }

  get errors(): number {
    return this.#errors;
  }

  get latency(): number[] {
    return this.#latency;
  }

  /** `digit`: the first of the status; 0 if the client left before it. */
  count(digit: number, ms: number): void {
    this.#requests++;
    if (digit === FAILED) this.#errors++;
    if (digit === UPGRADED) return;
    let at = 0;
    while (at < LATENCY_BOUNDS_MS.length && !(ms <= (LATENCY_BOUNDS_MS[at] as number))) at++;
    this.#latency[at] = (this.#latency[at] as number) + 1;
  }

  /** A request has waited so long for the container, whether it started then or not. */
  waited(ms: number): void {
    this.#waits++;
    this.#waitMs += ms;
  }

  /** What was counted, which is then reported. Undefined: nothing. */
  take(): TrafficCounts | undefined {
    if (this.#requests === 0 && this.#waits === 0) return undefined;
    const taken: TrafficCounts = {
      requests: this.#requests,
      errors: this.#errors,
      latency: this.#latency.slice(0, this.#latency.findLastIndex((n) => n > 0) + 1),
      ...(this.#waits === 0 ? {} : { waits: this.#waits, waitMs: Math.round(this.#waitMs) }),
    };
    this.#requests = 0;
    this.#errors = 0;
    this.#waits = 0;
    this.#waitMs = 0;
    this.#latency.fill(0);
    return taken;
  }

  /** The report did not arrive. */
  putBack({ requests, errors, latency, waits = 0, waitMs = 0 }: TrafficCounts): void {
    this.#waits += waits;
    this.#waitMs += waitMs;
    this.#requests += requests;
    this.#errors += errors;
    for (const [at, count] of latency.entries()) this.#latency[at] = (this.#latency[at] ?? 0) + count;
  }
}
