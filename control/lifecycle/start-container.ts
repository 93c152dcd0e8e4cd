import { join } from "node:path";
import type { Address, Deployment, Spec } from "../../drivers/driver.ts";
import { Fault } from "../../lib/fault.ts";
import type { Container, Image } from "../model/entities.ts";
import { asFault } from "./failures.ts";
import { confirmDeployment, ownedAddress } from "./confirm-deployment.ts";
import { callDriver } from "./call-driver.ts";
import { rest } from "./keep-container.ts";
import { readLogTailLines } from "./log-tail.ts";
import { startLimit } from "./limits.ts";
import { failure, moveContainer, NOT_RUNNING, moveImage } from "./moves.ts";
import { enteredOn } from "./deadlines.ts";
import { containerKey, imageKey, type Rooms, type Step } from "./rooms.ts";
import { release } from "./stop-container.ts";
import { claimAddress } from "./address-ownership.ts";

/** A container that is wished: waits for its image and for its back-off to pass, then begins. */
export const beginStart: Step = async (rooms, row, signal) => {
  if (row.desiredInstances === 0) return moveContainer(rooms, row, "stopWished") ? "moved" : "rest";
  const image = rooms.store.images.find(row.imageId);
  if (!image || image.state === "DELETED") return failStart(rooms, row, new Fault("IMAGE_ENTITY_NOT_FOUND", `The image of ${row.name} was removed.`));
  const waitMs = row.notBefore - rooms.clock.now();
  if (isOutdated(rooms, image, row)) {
    if (waitMs > 0) return { lookInMs: waitMs };
    revalidate(rooms, image.id);
    return "rest";
  }
  if (image.state === "ERROR")
    return failStart(rooms, row, Fault.from(image.fault ?? { code: "INTERNAL", message: `The image ${image.name} is not valid.` }));
  if (image.state !== "READY") {
    rooms.queue.add(imageKey(image.id));
    return "rest";
  }
  if (waitMs > 0) return { lookInMs: waitMs };
  // Only now that its successor can be made: what is left of an adopted instance goes, and with it the name.
  if (row.adopted) return (await release(rooms, row, signal)) ? "moved" : "rest";
  if (!(await awaitSlot(rooms, row, signal))) return "moved";
  const now = rooms.store.containers.find(row.id);
  if (now?.state !== "PENDING_START" || now.generation !== row.generation || now.desiredInstances === 0) return "moved";
  moveContainer(rooms, row, "startBegan", { ...NOT_RUNNING, deployed: { ref: image.ref, digest: image.digest } });
  return "moved";
};

/** The deploy itself. Found in this state after a crash, it is simply asked for again: the driver adopts what is there. */
export const start: Step = async (rooms, row, signal) => {
  // Published again since it began: what is to run now waits for its image, as any start does.
  if (rooms.store.images.find(row.imageId)?.state !== "READY") return moveContainer(rooms, row, "redefined") ? "moved" : "rest";
  if (!(await awaitSlot(rooms, row, signal)) || rooms.store.containers.find(row.id)?.state !== "STARTING") return "moved";
  const queueMs = Math.max(0, row.since - row.wishedOn);
  const ends = rooms.endCounts.count(row.id);
  try {
    const deployment = await deploy(rooms, row, signal);
    await confirmDeployment(rooms, row, deployment, { ends, isNew: true, signal });
    const { address, instance, phases } = deployment;
    const patch = {
      address: ownedAddress(address, instance),
      phases: { queue: queueMs, ...phases },
      runningGeneration: row.generation,
      fault: undefined,
    };
    const started = moveContainer(rooms, row, "answered", patch);
    // What the deploy has just confirmed is not requested from the engine again.
    if (started?.desiredInstances === 1 && started.generation === row.generation) return rest(rooms, started);
  } catch (error) {
    signal.throwIfAborted();
    if (rooms.store.containers.find(row.id)?.state !== "STARTING") return "moved";
    const fault = asFault(error, rooms.log);
    // What was validated has left the engine: the next start finds it pulled again.
    if (fault.code === "IMAGE_NOT_FOUND") revalidate(rooms, row.imageId);
    return failStart(rooms, row, fault);
  }
  return "moved";
};

/** Waits until the engine has a place for one more start. False where the start was called off meanwhile. */
async function awaitSlot({ flights, slots }: Rooms, row: Container, signal: AbortSignal): Promise<boolean> {
  try {
    await flights.run(containerKey(row.id), row.generation, signal, (flight) => slots.enter(row.id, row.wishedBy ?? "", flight));
    return true;
  } catch {
    signal.throwIfAborted();
    return false;
  }
}

/** Makes the row's service run and answer, whether or not it does already. Faults: those of the driver, START_TIMED_OUT. */
export async function deploy(rooms: Rooms, row: Container, signal: AbortSignal, limitMs = startLimit(rooms.limits)): Promise<Deployment> {
  const { clock, limits } = rooms;
  const image = rooms.store.images.find(row.imageId);
  if (!image) throw new Fault("IMAGE_ENTITY_NOT_FOUND", `The image of ${row.name} was removed.`);
  let logs: string[] = [];
  const overdue = () =>
    new Fault("START_TIMED_OUT", `The container ${row.name} did not accept a connection within ${Math.round(limitMs / 1000)} s.`, { logs });
  // The driver takes away what did not start, and its log with it.
  const lastWords = async () => void (logs = await readLogTailLines(rooms, row, signal));
  const ms = Math.min(limitMs, enteredOn(rooms, row) + limitMs - clock.now());
  return rooms.flights.run(containerKey(row.id), row.generation, signal, (flight) =>
    callDriver({ clock, ms, capMs: limits.pullCapMs, overdue, lastWords, signal: flight }, async (stop, progressed) => {
      // First what may refuse, so that nothing is made for a container that cannot start.
      const own = rooms.renderEnv?.(row) ?? row.env;
      const spec = specOf(rooms, row, image, { ...(await rooms.injectedEnv(row, image)), ...own });
      stop.throwIfAborted();
      rememberImage(rooms, row, image);
      let renewedOn = row.since;
      const onLaunched = () => rooms.slots.leave(row.id);
      const onPull = () => {
        progressed();
        // A pull may take half an hour, and is the network's work rather than the engine's.
        onLaunched();
        if (clock.now() - Math.max(renewedOn, rooms.openedAt) < limits.flushMs || clock.now() - row.since > limits.pullCapMs) return;
        renewedOn = clock.now();
        rooms.store.containers.move(row.id, "STARTING", "STARTING", { since: renewedOn });
      };
      const onAddress = (address: Address, instance: string | undefined, isNew: boolean) => {
        if (!stop.aborted) claimAddress(rooms, row, { ...address, instance }, isNew);
      };
      return rooms.driver.deploy(spec, { signal: stop, onPull, onLaunched, onAddress });
    }),
  );
}

/** Before anything is made of it, so that nothing ever runs whose image could be taken for unused. */
function rememberImage({ store }: Pick<Rooms, "store">, { id, deployed }: Container, { ref, digest }: Image): void {
  if (deployed?.ref !== ref || deployed.digest !== digest) store.containers.update(id, { deployed: { ref, digest } });
}

function specOf(rooms: Rooms, row: Container, image: Image, env: Record<string, string>): Spec {
  const { cpu, memoryMb, shmMb, storageGb, gpu, port } = row.config;
  return {
    service: row.service,
    labels: { store: rooms.store.id, environment: rooms.environment, container: row.id, generation: row.generation },
    image: image.resolvedId ?? image.ref,
    package: rooms.store.packages.find(row.packageId)?.name,
    ...(image.files === "" ? {} : { folder: join(rooms.filesFolder, image.files) }),
    env,
    cpu,
    memoryMb,
    shmMb,
    storageGb,
    gpu,
    port: port ?? image.exposed[0],
    graceMs: rooms.limits.graceMs,
  };
}

/** What a mutable tag pointed at before this start was wished says nothing of what it points at now; nor does a failure then of one now. */
function isOutdated({ clock }: Pick<Rooms, "clock">, { mutable, state, since }: Image, row: Container): boolean {
  // Wished in the future: the clock was set back, and whatever is found now would be outdated too, for as long as that lasts.
  if (row.since > clock.now()) return false;
  return (state === "ERROR" || (mutable && state === "READY")) && since < row.since;
}

function revalidate(rooms: Rooms, imageId: string): void {
  const image = rooms.store.images.find(imageId);
  if (image && moveImage(rooms, image, "validationWished", {})) rooms.queue.add(imageKey(imageId));
}

/** Answers everybody who waits with the cause, and remembers it, so that the next hundred requests do not start it a hundred times. */
function failStart(rooms: Rooms, row: Container, fault: Fault): "moved" {
  moveContainer(rooms, row, "startFailed", { ...failure(rooms, row.attempts + 1, fault.toJSON()), ...NOT_RUNNING });
  return "moved";
}
