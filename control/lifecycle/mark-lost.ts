import type { Observed } from "../../drivers/driver.ts";
import { Fault } from "../../lib/fault.ts";
import type { Container } from "../model/entities.ts";
import { readLogTailLines } from "./log-tail.ts";
import { failure, moveContainer, NOT_RUNNING } from "./moves.ts";
import { retryDelay } from "./limits.ts";
import type { Rooms, Outcome } from "./rooms.ts";

/**
 * It should run and does not. An on-demand one sleeps until the next request, unless one asks for it already; any other is started
 * again: at once the first time, since it had run, then more slowly each time, and given up after several losses in a row that
 * each came soon after a start. What may have ended with the engine does not count.
 */
export function markLost(rooms: Rooms, row: Container, fault: Fault): Outcome {
  const { clock, limits, random } = rooms;
  const attempts = rooms.outages.mayHaveEnded(startedOn(rooms, row)) ? 0 : isStable(rooms, row) ? 1 : row.attempts + 1;
  const notBefore = clock.now() + (attempts <= 1 ? 0 : retryDelay(limits.startRetry, attempts - 1, random));
  const patch = { ...failure(rooms, attempts, fault.toJSON()), ...NOT_RUNNING, notBefore };
  if (row.config.onDemand && !isAskedFor(row)) {
    moveContainer(rooms, row, "lostAsleep", { ...patch, desiredInstances: 0, stopFor: "system" });
    return "moved";
  }
  const pending = moveContainer(rooms, row, "lost", { ...patch, wishedOn: clock.now(), wishedFor: "loss" });
  if (pending && attempts >= limits.lossesInARow) moveContainer(rooms, pending, "startFailed", { fault: fault.toJSON() });
  return "moved";
}

/** Loses a container of which the engine says that it does not run; unless it has moved by the time its last words are read. */
export async function markLostAsObserved(rooms: Rooms, row: Container, fact: Observed | undefined, signal: AbortSignal): Promise<Outcome> {
  const why = await whyLost(rooms, row, fact, signal);
  const now = rooms.store.containers.find(row.id);
  return now?.state === row.state ? markLost(rooms, now, why) : "moved";
}

async function whyLost(rooms: Rooms, row: Container, fact: Observed | undefined, signal: AbortSignal): Promise<Fault> {
  if (!fact) return new Fault("CONTAINER_CRASHED", `The container ${row.name} is gone: something other than berth removed it.`);
  const logs = await readLogTailLines(rooms, row, signal);
  if (fact.exit?.outOfMemory) {
    const sentence = `The container ${row.name} ran out of memory and was killed. Raise \`memory\` in container.json.`;
    return new Fault("CONTAINER_OUT_OF_MEMORY", sentence, { logs });
  }
  const withEngine = rooms.outages.mayHaveEnded(startedOn(rooms, row)) ? " while the container engine was away or restarted" : "";
  const how = fact.paused ? "was frozen by something other than berth" : `ended with code ${fact.exit?.code ?? "unknown"}`;
  return new Fault("CONTAINER_CRASHED", `The container ${row.name} ${how}${withEngine}.`, { logs });
}

/** It has run for so long that it owes nothing to earlier failures. */
export function isStable({ clock, limits }: Pick<Rooms, "clock" | "limits">, row: Container): boolean {
  return row.state === "STARTED" && clock.now() - row.since >= limits.stableMs;
}

/** When it was last known to run: before its address was put in doubt. Epoch ms. */
function startedOn({ store }: Pick<Rooms, "store">, row: Container): number {
  if (row.state === "STARTED") return row.since;
  return store.history.of(row.id).findLast(({ toState }) => toState === "STARTED")?.at ?? row.since;
}

/** A request met nobody at its address, which is why it is being checked. */
function isAskedFor(row: Container): boolean {
  return row.state === "CHECKING" && row.wishedOn >= row.since;
}
