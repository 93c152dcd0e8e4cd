import type { Driver } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Store } from "../store/open-store.ts";
import type { WatchedAddresses } from "./container-view.ts";
import type { InFlightOperations } from "./in-flight-operations.ts";
import { containerKey, SWEEP } from "./lanes.ts";
import { type LifecycleLimits, retryDelay } from "./limits.ts";
import { type Outages, type RetryDeps, retryAfterOutage } from "./outages.ts";
import { reportEnd, type ReportEndDeps } from "./suspect-address.ts";

export type FollowEventsDeps = RetryDeps &
  ReportEndDeps & {
    store: Pick<Store, "containers">;
    driver: Pick<Driver, "events">;
    outages: Outages;
    inFlight: Pick<InFlightOperations, "generation">;
    watched: Pick<WatchedAddresses, "connected" | "disconnected">;
    clock: Clock;
    limits: Pick<LifecycleLimits, "lookRetry">;
    random: () => number;
    log: Log;
  };

/**
 * Queues what the driver's events name, for as long as the signal lasts. Events are hints only: whatever is missed, the sweep finds. But an end takes the
 * container's address away before it is looked at.
 */
export async function followEvents(deps: FollowEventsDeps, signal: AbortSignal): Promise<void> {
  const { store, driver, outages, watched, inFlight, queue, clock, limits, random, log } = deps;
  for (let failures = 1; !signal.aborted; failures++) {
    try {
      for await (const event of driver.events({ signal })) {
        failures = 0;
        if (event.kind === "disconnected") {
          outages.began();
          watched.disconnected();
        } else if (event.kind === "connected") {
          outages.ended();
          watched.connected();
          await retryAfterOutage(deps);
          queue.add(SWEEP);
        } else if (await store.containers.find(event.container)) {
          if (event.ended) await reportEnd(deps, event.container, event.ended.instance);
          // The engine also reports what a start in progress does. The start itself ends with what the engine reports of it.
          else if (inFlight.generation(containerKey(event.container)) !== undefined) continue;
          queue.add(containerKey(event.container));
        }
      }
    } catch (error) {
      if (!signal.aborted) log.warn({ err: error }, "driver events interrupted");
    }
    await clock.sleep(retryDelay(limits.lookRetry, Math.max(1, failures), random), signal).catch(() => {});
  }
}
