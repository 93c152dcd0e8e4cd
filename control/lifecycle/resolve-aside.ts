import type { ResolvedImage } from "../../drivers/driver.ts";
import { Fault } from "../../lib/fault.ts";
import type { Image } from "../model/entities.ts";
import { drive } from "./call-driver.ts";
import { imageSource } from "./image-source.ts";
import type { Rooms } from "./rooms.ts";

/** Asks the driver for an image beside its row, which tells nothing of that. `done` is what it was to be: "found", "pulled". Faults: VALIDATION_TIMED_OUT, and those of `resolve`. */
export function resolveAside(rooms: Rooms, image: Image, done: string, signal: AbortSignal): Promise<ResolvedImage> {
  const { driver, clock, limits } = rooms;
  const overdue = () =>
    new Fault("VALIDATION_TIMED_OUT", `${image.ref} was not ${done} within ${Math.round(limits.statusMs / 1000)} s without progress.`);
  return drive({ clock, ms: limits.statusMs, capMs: limits.pullCapMs, overdue, signal }, (call, progressed) =>
    driver.resolve(imageSource(rooms, image), { signal: call, onPull: progressed }),
  );
}
