import type { ResolvedImage } from "../../drivers/driver.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import type { Image } from "../model/entities.ts";
import { asFault, isEngineTrouble } from "./failures.ts";
import { callDriver } from "./call-driver.ts";
import { imageSource, isMissing, scheduleMissingRetry } from "./image-lookups.ts";
import { moveImage } from "./moves.ts";
import { imageTimeLeft } from "./deadlines.ts";
import { isAtRest } from "./rest-container.ts";
import { containerKey, imageKey, type Rooms } from "./rooms.ts";

/** How soon an image that could not be validated because of the engine is tried again: soon where it was away, slowly where it said no. */
const ENGINE_BACK_MS: Partial<Record<FaultCode, number>> = { ENGINE_UNREACHABLE: 10_000, ENGINE_FAILED: 60_000 };

/** Brings one image as far as it comes now; containers that wait for it are then looked at. */
export async function reconcileImage(rooms: Rooms, id: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const image = rooms.store.images.find(id);
    if (!image) return;
    if (image.state === "PENDING_VALIDATION") {
      moveImage(rooms, image, "validationBegan", { logs: line(rooms, `validating ${image.ref}`) });
    } else if (image.state === "VALIDATING") {
      await validate(rooms, image, signal);
    } else if (image.state === "ERROR" && isEngineTrouble(image.fault?.code)) {
      const waitMs = image.since + ((image.fault && ENGINE_BACK_MS[image.fault.code]) ?? 0) - rooms.clock.now();
      if (waitMs > 0) {
        // Who waits for it hears now that it cannot be had, not when the engine is back.
        lookAtWaiting(rooms, id);
        return rooms.queue.addAfter(imageKey(id), waitMs);
      }
      moveImage(rooms, image, "validationWished", {});
    } else {
      if (isMissing(image)) scheduleMissingRetry(rooms, image);
      return lookAtWaiting(rooms, id);
    }
  }
}

/** Containers that are to run or still do. Those that rest take the image up with their next start. */
function lookAtWaiting(rooms: Rooms, imageId: string): void {
  for (const row of rooms.store.containers.byImage(imageId)) if (!isAtRest(row)) rooms.queue.add(containerKey(row.id));
}

async function validate(rooms: Rooms, image: Image, signal: AbortSignal): Promise<void> {
  try {
    const resolved = await resolve(rooms, image, signal);
    const logs =
      image.logs +
      findings(resolved)
        .map((finding) => line(rooms, finding))
        .join("");
    rooms.store.transaction(() => {
      const patch = { resolvedId: resolved.id, digest: resolved.digest, exposed: resolved.exposed, logs, fault: undefined };
      if (!moveImage(rooms, image, "resolved", patch) || image.resolvedId === undefined || image.resolvedId === resolved.id) return;
      // A tag that moved is a new definition of what runs from it.
      for (const { id, generation } of rooms.store.containers.byImage(image.id)) rooms.store.containers.update(id, { generation: generation + 1 });
    });
  } catch (error) {
    signal.throwIfAborted();
    // Wished again meanwhile: what this look found no longer counts.
    if (rooms.store.images.find(image.id)?.state !== "VALIDATING") return;
    const fault = asFault(error, rooms.log);
    const event = fault.code === "VALIDATION_TIMED_OUT" ? "timedOut" : "refused";
    const told = [`${fault.code}: ${fault.message}`, ...stillRunning(rooms, image)].map((text) => line(rooms, text)).join("");
    moveImage(rooms, image, event, { fault: fault.toJSON(), logs: image.logs + told });
  }
}

/** What its author would otherwise take for the new version. */
function stillRunning({ store }: Pick<Rooms, "store">, image: Image): string[] {
  const older = store.containers.byImage(image.id).filter((row) => row.runningGeneration !== undefined && row.runningGeneration !== row.generation);
  return older.map(({ name }) => `warning: ${name} goes on running what was published before`);
}

function resolve(rooms: Rooms, image: Image, signal: AbortSignal): Promise<ResolvedImage> {
  const { clock, limits } = rooms;
  const ms = Math.max(0, imageTimeLeft(rooms, image) ?? limits.statusMs);
  const overdue = () =>
    new Fault(
      "VALIDATION_TIMED_OUT",
      `The image ${image.ref} could not be resolved and pulled within ${Math.round(limits.statusMs / 1000)} s without progress.`,
    );
  return rooms.flights.run(imageKey(image.id), 0, signal, (flight) =>
    callDriver({ clock, ms, capMs: limits.pullCapMs, overdue, signal: flight }, (call, progressed) => {
      let renewedOn = image.since;
      const onPull = () => {
        progressed();
        // Durable now and then, for whoever waits on this row's clock and for a start after a crash.
        if (clock.now() - renewedOn < limits.flushMs || clock.now() - image.since > limits.pullCapMs) return;
        renewedOn = clock.now();
        rooms.store.images.move(image.id, "VALIDATING", "VALIDATING", { since: renewedOn });
      };
      return rooms.driver.resolve(imageSource(rooms, image), { signal: call, onPull });
    }),
  );
}

function findings({ id, digest, exposed, guessed, portsUnknown }: ResolvedImage): string[] {
  const [first, ...others] = exposed;
  const found = [`resolved to ${id}${digest ? ` (${digest})` : ""}`];
  if (portsUnknown)
    found.push("warning: what the image exposes is not known here; it is reached on the port that container.json or the package's Dockerfile names");
  else if (first === undefined) found.push("warning: no EXPOSE; requests to a container without a port are answered 400");
  else if (guessed)
    found.push(`warning: several ports are exposed and their order is unknown; ${first} is taken, also exposed: ${others.join(", ")}`);
  else if (others.length > 0) found.push(`warning: several ports are exposed; ${first} is taken, also exposed: ${others.join(", ")}`);
  else found.push(`exposes port ${first}`);
  return found;
}

function line(rooms: Pick<Rooms, "clock">, text: string): string {
  return `${new Date(rooms.clock.now()).toISOString()} ${text}\n`;
}
