import type { Address } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import { acceptsConnection, HELD_MS, isPostgresStarting } from "../../lib/connection-probe.ts";
import { createRoundRobinQueue, type RoundRobinLimits } from "../../lib/fair-queues.ts";
import { Fault, type FaultData } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Container, ContainerPatch, Image } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import { type EndCounts, ownedAddresses } from "./addresses.ts";
import { enteredOn } from "./decide.ts";
import type { Dependencies } from "./dependencies.ts";
import { confirmDeployment, type ConfirmDeps, type ContainerDeployment, declaredPort, type Deploy, type DeployParts } from "./deploy.ts";
import { asFault, type InFlightOperations, isUnanswered } from "./engine.ts";
import type { LifecycleLimits } from "./limits.ts";
import { failurePatch, type Moves, NOT_RUNNING } from "./moves.ts";
import { containerKey, imageKey, type PendingStart, turnOf, type WorkQueue } from "./work-queue.ts";

export type StartDeps = ConfirmDeps & {
  store: Pick<Store, "containers" | "images" | "packages" | "wakes" | "transaction" | "afterCommit">;
  moves: Pick<Moves, "container" | "image">;
  queue: Pick<WorkQueue, "add" | "addAfter">;
  slots: Pick<StartSlots, "enter">;
  inFlight: InFlightOperations;
  ends: EndCounts;
  dependencies: Dependencies;
  deploy: Deploy;
  /** Begins the reads of the result, which is as `environmentOf`. Undefined: something may refuse the start before, so the deploy makes the variables. */
  prepareEnv?: ((start: PendingStart) => (row: Container, image: Image) => Promise<Record<string, string>>) | undefined;
  clock: Clock;
  epoch: () => number;
  limits: LifecycleLimits;
  startDelay: (attempts: number) => number;
  log: Log;
};

/** A container whose start has begun, and what it is started from. */
export type BegunStart = { moved: Container; parts: DeployParts };

/**
 * Begins the start once the engine has a place for one more. `isDecided`: whether the row as it is then is still to be started. Undefined: it was not begun,
 * and is to be decided again.
 */
export async function beginStart(
  deps: StartDeps,
  row: PendingStart,
  signal: AbortSignal,
  isDecided: (now: Container, image: Image) => boolean | Promise<boolean>,
): Promise<BegunStart | undefined> {
  const { store, moves, inFlight } = deps;
  if (!(await awaitSlot(deps, row, signal))) return undefined;
  return store.transaction(async () => {
    const readEnv = deps.prepareEnv?.(row);
    const [now, image, owner, wakes] = await Promise.all([
      store.containers.find(row.id),
      store.images.find(row.imageId),
      store.packages.find(row.packageId),
      store.wakes.of(row.id),
    ]);
    // Refused where something else is desired since the row was read, or the image is to be validated again.
    if (!now || image?.state !== "READY" || now.imageId !== image.id || !(await isDecided(now, image))) return undefined;
    const { ref, digest } = image;
    const moved = await moves.container(now, "startBegan", { ...NOT_RUNNING, deployed: { ref, digest } }, { isCurrent: true });
    if (!moved) return undefined;
    // In this transaction, which is durable once with the container's token.
    const env = readEnv?.(moved, image);
    // The deploy fails with it.
    await env?.catch(() => undefined);
    return { moved, parts: { image, owner, wakes, begun: { aborts: inFlight.aborts(), env } } };
  });
}

/** The deploy itself. In this state after a crash, it is simply requested again: the driver adopts what is there. Returns the row as started; undefined: it is not. */
export async function startContainer(deps: StartDeps, row: Container, signal: AbortSignal, parts?: DeployParts): Promise<Container | undefined> {
  const { store, moves, queue, ends: counts, clock, limits, log } = deps;
  if (!(await awaitSlot(deps, row, signal))) return undefined;
  const waitedMs = Math.max(0, row.since - row.requestedOn);
  const dependenciesMs = deps.dependencies.waitedMs(row);
  const queued =
    dependenciesMs === undefined
      ? { queue: waitedMs }
      : { queue: Math.max(0, waitedMs - dependenciesMs), dependencies: Math.min(waitedMs, dependenciesMs) };
  const ends = counts.count(row.id);
  try {
    const deployment = await deps.deploy(row, signal, { parts });
    const { addresses, instance, phases } = deployment;
    await awaitPostgres(deps, row, addresses, signal);
    const patch = {
      ...(await deployedPatch(deps, deployment, signal)),
      addresses: ownedAddresses(addresses, instance),
      phases: { ...queued, ...phases },
      runningGeneration: row.generation,
      fault: undefined,
    };
    if (deployment.warning !== undefined)
      log.warn({ container: row.id, name: row.name, warning: deployment.warning }, "container started with a warning");
    return await confirmDeployment(deps, row, deployment, { ends, isNew: true, signal, isDeferred: true }, () =>
      moves.container(row, "answered", patch, { isFact: true }),
    );
  } catch (error) {
    signal.throwIfAborted();
    // Not the container's failure: what runs is adopted by the next deploy.
    if (error instanceof Fault && error.code === "STORE_UNAVAILABLE") throw error;
    return store.transaction(async () => {
      const now = await store.containers.find(row.id);
      if (now?.state !== "STARTING") return undefined;
      const fault = asFault(error, log);
      // It stays STARTING, and those who wait go on waiting, until the start's own limit.
      const leftMs = enteredOn(row, deps.epoch()) + limits.statusMs - clock.now();
      if (isUnanswered(fault) && leftMs > 0) {
        queue.addAfter(containerKey(row.id), leftMs);
        throw fault;
      }
      if (fault.code === "IMAGE_NOT_FOUND") {
        // What was validated has left the engine, as by `docker image prune`: it is pulled again.
        await revalidateImage(deps, row.imageId);
        if (now.fault?.code !== fault.code) {
          // Those who wait go on waiting, once: the start begins again when the image is there, or fails with it.
          await store.containers.update(row.id, { fault: fault.toJSON() });
          return undefined;
        }
      }
      await failStart(deps, now, fault.toJSON());
      return undefined;
    });
  }
}

const POSTGRES_PORT = 5_432;
const POSTGRES_RETRY_MS = 200;

/** A PostgreSQL opens its port before it accepts sessions, after a crash for as long as it recovers: clients of its TCP listener would be refused. */
async function awaitPostgres(deps: StartDeps, row: Container, [address]: readonly Address[], signal: AbortSignal): Promise<void> {
  const { store, clock, limits, inFlight } = deps;
  if (row.tcpPort === undefined || address === undefined) return;
  if (declaredPort({ row, image: await store.images.find(row.imageId) }) !== POSTGRES_PORT) return;
  const until = enteredOn(row, deps.epoch()) + limits.statusMs;
  await inFlight.run(containerKey(row.id), row.generation, signal, async (own) => {
    while ((await isPostgresStarting(address, { clock, signal: own })) && clock.now() < until) await clock.sleep(POSTGRES_RETRY_MS, own);
  });
}

/** What is known of it only once it runs, for users: whether a queue worker listens, since it may have a port for its health, and the driver's warning. */
async function deployedPatch(
  { clock }: StartDeps,
  { addresses: [address], warning, deployed }: ContainerDeployment,
  signal: AbortSignal,
): Promise<ContainerPatch> {
  const listens = deployed.worker !== undefined && address !== undefined && (await acceptsConnection(address, { clock, signal, heldMs: HELD_MS }));
  const worker = deployed.worker && (listens ? "listens" : "silent");
  if (deployed.worker === worker && deployed.warning === warning) return {};
  return { deployed: { ref: deployed.ref, digest: deployed.digest, ...(worker ? { worker } : {}), ...(warning === undefined ? {} : { warning }) } };
}

/** Waits until the engine has a place for one more start. False where the start was cancelled meanwhile. */
async function awaitSlot({ inFlight, slots }: StartDeps, row: PendingStart, signal: AbortSignal): Promise<boolean> {
  try {
    await inFlight.run(containerKey(row.id), row.generation, signal, (own) => slots.enter(row.id, turnOf(row), own));
    return true;
  } catch {
    signal.throwIfAborted();
    return false;
  }
}

export async function revalidateImage({ store, moves, queue }: Pick<StartDeps, "store" | "moves" | "queue">, imageId: string): Promise<void> {
  await store.transaction(async () => {
    const image = await store.images.find(imageId);
    if (image && (await moves.image(image, "validationWished", {}))) store.afterCommit(() => queue.add(imageKey(imageId)));
  });
}

/** All who wait receive the cause, and the row keeps it, so that the next hundred requests do not start it a hundred times. */
export async function failStart(
  { moves, clock, startDelay }: Pick<StartDeps, "moves" | "clock" | "startDelay">,
  row: Container,
  fault: FaultData,
): Promise<void> {
  const attempts = row.attempts + 1;
  await moves.container(row, "startFailed", { ...failurePatch(fault, attempts, clock.now() + startDelay(attempts)), ...NOT_RUNNING });
}

/**
 * How many starts the engine works on at a time. A start has a slot while the engine creates its container. It gives the slot back when it waits only for the
 * container's boot or a pull.
 */
export type StartSlots = {
  /** Resolves once `item` has a slot, which it may have already. Rejects with the signal's reason. */
  enter(item: string, user: string, signal: AbortSignal): Promise<void>;
  /** Gives the slot back; no fault where it has none. */
  leave(item: string): void;
};

export function createStartSlots(limits: RoundRobinLimits): StartSlots {
  const queue = createRoundRobinQueue(limits);
  const held = new Map<string, string>();
  const admitted = new Map<string, () => void>();

  const pump = () => {
    for (let next = queue.begin(); next !== undefined; next = queue.begin()) {
      held.set(next.item, next.user);
      admitted.get(next.item)?.();
    }
  };

  return {
    enter: (item, user, signal) =>
      new Promise((resolve, reject) => {
        if (signal.aborted) return reject(signal.reason as Error);
        if (held.has(item)) return resolve();
        const onAbort = () => {
          queue.remove(item);
          admitted.delete(item);
          reject(signal.reason as Error);
        };
        signal.addEventListener("abort", onAbort, { once: true });
        admitted.set(item, () => {
          signal.removeEventListener("abort", onAbort);
          admitted.delete(item);
          resolve();
        });
        queue.put(item, user);
        pump();
      }),
    leave: (item) => {
      const user = held.get(item);
      if (user === undefined) return;
      held.delete(item);
      queue.end(user);
      pump();
    },
  };
}
