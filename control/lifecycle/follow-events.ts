import { reportEnd } from "./suspect-address.ts";
import { retryAfterOutage } from "./outages.ts";
import { containerKey, SWEEP, type Rooms } from "./rooms.ts";
import { retryDelay } from "./limits.ts";

/**
 * Turns the driver's events into looks for as long as the signal lasts. They are hints only: whatever is missed, the sweep finds. But an end takes the
 * container's address away before it is looked at.
 */
export async function followEvents(rooms: Rooms, signal: AbortSignal): Promise<void> {
  for (let failures = 1; !signal.aborted; failures++) {
    try {
      for await (const event of rooms.driver.events({ signal })) {
        failures = 0;
        if (event.kind === "disconnected") {
          rooms.outages.began();
          rooms.watched.disconnected();
        } else if (event.kind === "connected") {
          rooms.outages.ended();
          rooms.watched.connected();
          retryAfterOutage(rooms);
          rooms.queue.add(SWEEP);
        } else if (rooms.store.containers.find(event.container)) {
          if (event.ended) reportEnd(rooms, event.container, event.ended.instance);
          // What a start under way does, the engine reports too. The start itself ends with the engine's word for what runs.
          else if (rooms.flights.generation(containerKey(event.container)) !== undefined) continue;
          rooms.queue.add(containerKey(event.container));
        }
      }
    } catch (error) {
      if (!signal.aborted) rooms.log.warn({ err: error }, "the driver's events broke off");
    }
    await rooms.clock.sleep(retryDelay(rooms.limits.lookRetry, Math.max(1, failures), rooms.random), signal).catch(() => {});
  }
}
