import type { ResolvedImage } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import type { Image } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import { imageTimeLeft } from "./deadlines.ts";
import { asFault, isEngineTrouble, isUnanswered } from "./failures.ts";
import { isStoppedAsDesired } from "./idle-policy.ts";
import { type ImageLookupDeps, imageSource, isMissing, scheduleMissingRetry } from "./image-lookups.ts";
import type { InFlightOperations } from "./in-flight-operations.ts";
import { containerKey, imageKey } from "./lanes.ts";

export type ImageDeps = ImageLookupDeps & { store: Store; inFlight: InFlightOperations; epoch: () => number };

/** How soon an image that the engine could not validate is tried again: soon where it was away, slowly where it refused. */
const ENGINE_BACK_MS: Partial<Record<FaultCode, number>> = { ENGINE_UNREACHABLE: 10_000, ENGINE_FAILED: 60_000 };

/** Brings one image as far as it comes now; containers that wait for it are then looked at. */
export async function reconcileImage(deps: ImageDeps, id: string, signal: AbortSignal): Promise<void> {
  const { store, moves, queue, clock } = deps;
  for (;;) {
    signal.throwIfAborted();
    const image = store.images.find(id);
    if (!image) return;
    if (image.state === "PENDING_VALIDATION") {
      moves.image(image, "validationBegan", { logs: logLine(clock, `validating ${image.ref}`), fault: undefined });
    } else if (image.state === "VALIDATING") {
      await validate(deps, image, signal);
    } else if (image.state === "ERROR" && isEngineTrouble(image.fault?.code)) {
      const waitMs = image.since + ((image.fault && ENGINE_BACK_MS[image.fault.code]) ?? 0) - clock.now();
      if (waitMs > 0) {
        // What waits for it fails now, not when the engine is back.
        reconcileWaiting(deps, id);
        return queue.addAfter(imageKey(id), waitMs);
      }
      moves.image(image, "validationWished", {});
    } else {
      if (isMissing(image)) scheduleMissingRetry(deps, image);
      return reconcileWaiting(deps, id);
    }
  }
}

/** Containers that are to run or still do. Those that are stopped use the image with their next start. */
function reconcileWaiting({ store, queue }: ImageDeps, imageId: string): void {
  for (const row of store.containers.byImage(imageId)) if (!isStoppedAsDesired(row)) queue.add(containerKey(row.id));
}

async function validate(deps: ImageDeps, image: Image, signal: AbortSignal): Promise<void> {
  const { store, moves, clock, log } = deps;
  try {
    const resolved = await resolve(deps, image, signal);
    const logs = image.logs + findings(resolved, clock);
    store.synchronous(() => {
      const patch = { resolvedId: resolved.id, digest: resolved.digest, exposed: resolved.exposed, logs, fault: undefined };
      if (!moves.image(image, "resolved", patch) || image.resolvedId === undefined || image.resolvedId === resolved.id) return;
      // A tag that moved is a new definition of what runs from it.
      for (const { id, generation } of store.containers.byImage(image.id)) store.containers.update(id, { generation: generation + 1 });
    });
  } catch (error) {
    signal.throwIfAborted();
    // Validation was requested again meanwhile: this result no longer counts.
    if (store.images.find(image.id)?.state !== "VALIDATING") return;
    const result = asFault(error, log);
    // It stays VALIDATING, and those who wait go on waiting, until the validation's own limit: then this is the cause.
    if (isUnanswered(result)) {
      const { code, message } = result;
      if (!image.fault) store.images.update(image.id, { fault: { code, message }, logs: image.logs + logLine(clock, `${code}: ${message}`) });
      throw result;
    }
    const fault = result.code === "VALIDATION_TIMED_OUT" && image.fault ? Fault.from(image.fault) : result;
    const event = fault.code === "VALIDATION_TIMED_OUT" ? "timedOut" : "refused";
    const lines = [`${fault.code}: ${fault.message}`, ...stillRunning(store, image)].map((text) => logLine(clock, text)).join("");
    moves.image(image, event, { fault: fault.toJSON(), logs: image.logs + lines });
  }
}

/** Warns of what its author would otherwise take for the new version. */
function stillRunning({ containers }: Pick<Store, "containers">, image: Image): string[] {
  const older = containers.byImage(image.id).filter((row) => row.runningGeneration !== undefined && row.runningGeneration !== row.generation);
  return older.map(({ name }) => `warning: ${name} goes on running what was published before`);
}

function resolve(
  { store, engine, inFlight, clock, epoch, limits, filesFolder }: ImageDeps,
  image: Image,
  signal: AbortSignal,
): Promise<ResolvedImage> {
  const seconds = Math.round(limits.statusMs / 1000);
  const deadline = {
    ms: Math.max(0, imageTimeLeft(image, { now: clock.now(), epoch: epoch() }, limits)),
    capMs: limits.pullCapMs,
    overdue: () => new Fault("VALIDATION_TIMED_OUT", `The image ${image.ref} could not be resolved and pulled within ${seconds} s without progress.`),
  };
  let renewedOn = image.since;
  const onPull = () => {
    // Durable now and then, for whatever waits on this row's clock and for a start after a crash.
    const now = clock.now();
    if (now - renewedOn < limits.flushMs || now - image.since > limits.pullCapMs) return;
    renewedOn = now;
    store.images.move(image.id, "VALIDATING", "VALIDATING", { since: renewedOn });
  };
  return inFlight.run(imageKey(image.id), 0, signal, (own) =>
    engine.call("resolve", [imageSource(image, filesFolder)], { deadline, signal: own, onPull }),
  );
}

function findings({ id, digest, exposed, guessed, portsUnknown }: ResolvedImage, clock: Pick<Clock, "now">): string {
  const [first, ...others] = exposed;
  const lines = [`resolved to ${id}${digest ? ` (${digest})` : ""}`];
  if (portsUnknown)
    lines.push("warning: what the image exposes is not known here; it is reached on the port that container.json or the package's Dockerfile names");
  else if (first === undefined) lines.push("warning: no EXPOSE; requests to a container without a port are answered 400");
  else if (guessed)
    lines.push(`warning: several ports are exposed and their order is unknown; ${first} is taken, also exposed: ${others.join(", ")}`);
  else if (others.length > 0) lines.push(`warning: several ports are exposed; ${first} is taken, also exposed: ${others.join(", ")}`);
  else lines.push(`exposes port ${first}`);
  return lines.map((text) => logLine(clock, text)).join("");
}

function logLine(clock: Pick<Clock, "now">, text: string): string {
  return `${new Date(clock.now()).toISOString()} ${text}\n`;
}
