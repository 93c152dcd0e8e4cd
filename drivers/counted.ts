import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import type { Metrics } from "../lib/metrics/open-metrics.ts";
import type { Call, Driver } from "./driver.ts";

/** The same driver, whose calls are counted: how long each took, and how it ended. Logs and events go on for as long as somebody listens, and are left out. */
export function countedDriver(driver: Driver, { metrics, clock }: { metrics: Pick<Metrics, "driverSeconds">; clock: Clock }): Driver {
  const counted = async <T>(verb: string, { signal }: Call, ask: () => Promise<T>): Promise<T> => {
    const from = clock.monotonic();
    let outcome = "done";
    try {
      return await ask();
    } catch (error) {
      outcome = signal.aborted ? "aborted" : error instanceof Fault ? error.code : "INTERNAL";
      throw error;
    } finally {
      metrics.driverSeconds.at(verb, outcome).observe((clock.monotonic() - from) / 1_000);
    }
  };
  const { capacity, foreign, pause } = driver;
  return {
    get name() {
      return driver.name;
    },
    ...(driver.pulls ? { pulls: driver.pulls } : {}),
    ...(driver.watchedAddresses ? { watchedAddresses: driver.watchedAddresses } : {}),
    ...(driver.linkLocal ? { linkLocal: driver.linkLocal } : {}),
    ...(capacity ? { capacity: (call: Call) => counted("capacity", call, () => capacity(call)) } : {}),
    ...(foreign ? { foreign: (call: Call) => counted("foreign", call, () => foreign(call)) } : {}),
    ...(pause ? { pause: (service: string, call: Call) => counted("pause", call, () => pause(service, call)) } : {}),
    resolve: (image, call) => counted("resolve", call, () => driver.resolve(image, call)),
    deploy: (spec, call) => counted("deploy", call, () => driver.deploy(spec, call)),
    destroy: (service, call) => counted("destroy", call, () => driver.destroy(service, call)),
    inspect: (service, call) => counted("inspect", call, () => driver.inspect(service, call)),
    list: (call) => counted("list", call, () => driver.list(call)),
    logs: (service, options, call) => driver.logs(service, options, call),
    events: (call) => driver.events(call),
    close: () => driver.close(),
  };
}
