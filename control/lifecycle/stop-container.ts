import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Container, ContainerPatch } from "../model/entities.ts";
import { serviceName } from "../model/names.ts";
import type { Store } from "../store/open-store.ts";
import type { Changes } from "./changes.ts";
import type { ContainerEngine } from "./engine.ts";
import type { LifecycleLimits } from "./limits.ts";
import { type Moves, NOT_RUNNING } from "./moves.ts";
import type { ContainerUsage } from "./usage.ts";

export type StopDeps = {
  store: Pick<Store, "containers" | "tombstones" | "transaction">;
  engine: Pick<ContainerEngine, "call" | "destroy" | "logTail">;
  moves: Pick<Moves, "container" | "update">;
  clock: Pick<Clock, "now">;
  changes: Pick<Changes, "seqOf" | "forgetRemoved">;
  usage: Pick<ContainerUsage, "drained" | "joiningMs">;
  limits: Pick<LifecycleLimits, "pausedMs" | "userDrainMs">;
  environment: string;
};

/** Stops the container, or pauses it. `leftMs`: how long it may stay in its state. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED, STOP_TIMED_OUT. */
export async function stopContainer(
  { store, engine, moves, clock, limits, environment }: StopDeps,
  row: Container,
  { leftMs, signal }: { leftMs: () => Promise<number>; signal: AbortSignal },
): Promise<void> {
  const within = async (verb: string) => ({
    ms: await leftMs(),
    overdue: () => new Fault("STOP_TIMED_OUT", `The engine did not ${verb} ${row.name} in time.`),
  });
  /** Undefined where a user has requested its end while it was paused: then it is to end after all. A request that came resumes it in a moment. */
  const finish = (isPaused: boolean) =>
    store.transaction(async () => {
      const now = await store.containers.find(row.id);
      if (isPaused && now?.stopFor !== "system") return undefined;
      if (!now) return "gone";
      // A user may have requested the same while the system was at it.
      const event = now.stopFor === "user" ? "stoppedForUser" : "stoppedForSystem";
      const stopped = { ...NOT_RUNNING, pausedOn: isPaused ? clock.now() : undefined, attempts: 0, notBefore: 0 };
      await moves.container(now, event, { ...stopped, ...releasedService(now, environment), ...(lastLogs === "" ? {} : { lastLogs }) });
      return "stopped";
    });
  const lastLogs = await engine.logTail(row, signal);
  const toPause = row.pausedOn !== undefined && row.stopFor === "system" && limits.pausedMs > 0;
  const isPaused = toPause && (await engine.call("pause", [row.service], { deadline: await within("pause"), signal })) === true;
  if (isPaused && (await finish(true)) !== undefined) return;
  await engine.destroy(row, signal, await within("stop"));
  await finish(false);
}

/** Ends what is paused, and clears that it is. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
export async function endPaused({ engine, moves }: Pick<StopDeps, "engine" | "moves">, row: Container, signal: AbortSignal): Promise<void> {
  await engine.destroy(row, signal);
  await moves.update(row.id, { pausedOn: undefined });
}

/** Ends what is left of an adopted instance. False where the row is gone. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
export async function releaseAdopted({ engine, store, environment }: StopDeps, row: Container, signal: AbortSignal): Promise<boolean> {
  await engine.destroy(row, signal);
  return (await store.containers.update(row.id, releasedService(row, environment))) !== undefined;
}

/** What its row says once an adopted instance is gone: from then on it is berth's own, under a new name that no other service had. */
function releasedService({ adopted, name, id }: Container, environment: string): ContainerPatch {
  return adopted === undefined ? {} : { adopted: undefined, service: serviceName(environment, name, id) };
}

/**
 * Ends the service of a container that was removed, once nothing of it is open. Returns how long that may take at most, in milliseconds; undefined: nothing
 * is left to do. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED.
 */
export async function finalizeRemoval(
  { store, engine, clock, changes, usage, limits }: StopDeps,
  id: string,
  signal: AbortSignal,
): Promise<number | undefined> {
  const tombstone = await store.tombstones.find(id);
  if (!tombstone || tombstone.clearedOn !== undefined) return undefined;
  const drainMs = Math.min(tombstone.removedOn - clock.now(), 0) + limits.userDrainMs;
  if (drainMs > 0 && !usage.drained(id, changes.seqOf(id))) return Math.min(drainMs, usage.joiningMs() || drainMs);
  await engine.destroy(tombstone, signal);
  await store.tombstones.clear(id, clock.now());
  changes.forgetRemoved(id);
  return undefined;
}
