import type { Observed } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Container } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import { type ContainerEngine, linesOfTail } from "./engine.ts";
import { failurePatch } from "./failures.ts";
import type { LifecycleLimits } from "./limits.ts";
import { type Moves, NOT_RUNNING } from "./moves.ts";
import type { Outages } from "./outages.ts";

export type MarkLostDeps = {
  store: Pick<Store, "containers" | "history">;
  engine: Pick<ContainerEngine, "logTail">;
  moves: Pick<Moves, "container">;
  outages: Pick<Outages, "mayHaveEnded">;
  clock: Pick<Clock, "now">;
  limits: Pick<LifecycleLimits, "stableMs" | "lossesInARow">;
  /** How long to wait after so many failures in a row, in milliseconds. */
  startDelay: (attempts: number) => number;
};

/**
 * The container should run and does not. An on-demand one sleeps until the next request, unless one requests it already; any other is started
 * again: at once the first time, since it had run, then more slowly each time, and given up after several losses in a row that
 * each came soon after a start. What may have ended with the engine does not count.
 */
export async function markLost(deps: MarkLostDeps, row: Container, fault: Fault): Promise<void> {
  const { store, moves, outages, clock, limits, startDelay } = deps;
  const now = clock.now();
  const attempts = outages.mayHaveEnded(await startedOn(store, row)) ? 0 : isStable(row, now, limits) ? 1 : row.attempts + 1;
  const notBefore = now + (attempts <= 1 ? 0 : startDelay(attempts - 1));
  const patch = { ...failurePatch(fault.toJSON(), attempts, notBefore), ...NOT_RUNNING };
  if (row.config.onDemand && !isRequested(row)) {
    await moves.container(row, "lostAsleep", { ...patch, desiredInstances: 0, stopFor: "system" });
    return;
  }
  const pending = await moves.container(row, "lost", { ...patch, requestedOn: now, requestedFor: "loss" });
  if (pending && attempts >= limits.lossesInARow) await moves.container(pending, "startFailed", { fault: fault.toJSON() });
}

/** Marks a container lost that does not run as observed; unless it has moved by the time its log tail is read. */
export async function markLostAsObserved(deps: MarkLostDeps, row: Container, observed: Observed | undefined, signal: AbortSignal): Promise<void> {
  const fault = await lossFault(deps, row, observed, signal);
  const now = await deps.store.containers.find(row.id);
  if (now?.state === row.state) await markLost(deps, now, fault);
}

async function lossFault(
  { engine, outages, store }: MarkLostDeps,
  row: Container,
  observed: Observed | undefined,
  signal: AbortSignal,
): Promise<Fault> {
  const { name } = row;
  if (!observed) return new Fault("CONTAINER_CRASHED", `The container ${name} is gone: something other than berth removed it.`);
  const logs = linesOfTail(await engine.logTail(row.service, signal));
  if (observed.exit?.outOfMemory) {
    const sentence = `The container ${name} ran out of memory and was killed. Raise \`memory\` in container.json.`;
    return new Fault("CONTAINER_OUT_OF_MEMORY", sentence, { logs });
  }
  const withEngine = outages.mayHaveEnded(await startedOn(store, row)) ? " while the container engine was away or restarted" : "";
  const how = observed.paused ? "was frozen by something other than berth" : `ended with code ${observed.exit?.code ?? "unknown"}`;
  return new Fault("CONTAINER_CRASHED", `The container ${name} ${how}${withEngine}.`, { logs });
}

/** It has run for so long that its earlier failures no longer count. */
export function isStable(row: Container, now: number, { stableMs }: Pick<LifecycleLimits, "stableMs">): boolean {
  return row.state === "STARTED" && now - row.since >= stableMs;
}

/** When it last entered STARTED, before its address became suspect. Epoch ms. */
async function startedOn({ history }: Pick<Store, "history">, row: Container): Promise<number> {
  if (row.state === "STARTED") return row.since;
  return (await history.of(row.id)).findLast(({ toState }) => toState === "STARTED")?.at ?? row.since;
}

/** A request was refused at its address, which is why that is being checked. */
function isRequested(row: Container): boolean {
  return row.state === "CHECKING" && row.requestedOn >= row.since;
}
