import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import type { Metrics } from "../lib/metrics/open-metrics.ts";
import { type Driver, wrapDriver } from "./driver.ts";

/** The same driver, whose calls are counted: the time of each and its outcome. Logs and events are left out: they last as long as their reader. */
export function countCalls(driver: Driver, { metrics, clock }: { metrics: Pick<Metrics, "driverSeconds">; clock: Clock }): Driver {
  return wrapDriver(driver, {}, async (verb, { signal }, next) => {
    const from = clock.monotonic();
    let outcome = "done";
    try {
      return await next();
    } catch (error) {
      outcome = signal.aborted ? "aborted" : error instanceof Fault ? error.code : "INTERNAL";
      throw error;
    } finally {
      metrics.driverSeconds.at(verb, outcome).observe((clock.monotonic() - from) / 1_000);
    }
  });
}
