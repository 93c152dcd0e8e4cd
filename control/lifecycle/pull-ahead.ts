import { asFault } from "./as-fault.ts";
import { resolveAside } from "./resolve-aside.ts";
import type { Rooms } from "./rooms.ts";

/**
 * Brings what a mutable tag points at now to the engine, so that the next start finds it there. Nothing depends on it: the row stays as it is,
 * what runs goes on, and where it fails, that start pulls for itself.
 */
export async function pullAhead(rooms: Rooms, id: string, signal: AbortSignal): Promise<void> {
  const { store, log } = rooms;
  const image = store.images.find(id);
  // Whoever validates it now pulls it, too.
  if (image?.state !== "READY") return;
  try {
    await resolveAside(rooms, image, "pulled", signal);
    log.info({ image: image.ref }, "what was pushed was pulled ahead of its start");
  } catch (error) {
    signal.throwIfAborted();
    const { code, message } = asFault(error, log);
    log.info({ image: image.ref, fault: code, reason: message }, "what was pushed could not be pulled ahead; its start will try again");
  }
}
