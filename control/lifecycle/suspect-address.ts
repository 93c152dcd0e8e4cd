import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Container, ContainerPatch, OwnedAddress } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import type { EndCounts } from "./address-ownership.ts";
import type { Changes } from "./changes.ts";
import type { LifecycleLimits } from "./limits.ts";
import { isStable } from "./mark-lost.ts";
import type { Moves } from "./moves.ts";
import type { Outages } from "./outages.ts";

export type SuspectAddress = (row: Container, patch?: ContainerPatch, byUser?: string) => Promise<Container | undefined>;

type SuspectAddressDeps = {
  moves: Pick<Moves, "container">;
  outages: Pick<Outages, "mayHaveEnded">;
  clock: Pick<Clock, "now">;
  limits: Pick<LifecycleLimits, "stableMs">;
};

/**
 * Marks a container's address as suspect: nothing is sent to it until the check has verified where the container is. The check has a clock of its own, so the row
 * keeps whether it ran well until now, or may have ended with the engine.
 */
export function createSuspectAddress({ moves, outages, clock, limits }: SuspectAddressDeps): SuspectAddress {
  return (row, patch = {}, byUser) => {
    const now = clock.now();
    const isForgiven = isStable(row, now, limits) || outages.mayHaveEnded(row.since);
    // A start requested at this very moment has another cause, unless the event is its cause.
    const since = row.requestedOn === now && patch.requestedOn === undefined ? now + 1 : now;
    return moves.container(row, "doubted", { since, ...patch, address: undefined, ...(isForgiven ? { attempts: 0 } : {}) }, { byUser });
  };
}

export type ReportEndDeps = {
  store: Pick<Store, "containers" | "transaction">;
  moves: Pick<Moves, "update">;
  suspect: SuspectAddress;
  changes: Pick<Changes, "publish">;
  ends: EndCounts;
  log: Log;
};

/**
 * The orchestrator has reported that an instance of the container ended: from then on its address may be another's, so it is taken away at once, before
 * any inspection. The end of an earlier instance does not concern the one that runs.
 */
export async function reportEnd(
  { store, moves, suspect, changes, ends, log }: ReportEndDeps,
  id: string,
  instance: string | undefined,
): Promise<void> {
  ends.record(id);
  let row: Container | undefined;
  try {
    await store.transaction(async () => {
      row = await store.containers.find(id);
      if (row?.address === undefined || !concerns(row.address, instance)) return;
      if (row.state === "STARTED") await suspect(row);
      else await moves.update(id, { address: undefined });
    });
  } catch (error) {
    if (!(error instanceof Fault) || row === undefined) throw error;
    // A full disk must not cause requests to be sent there.
    log.error({ container: id, fault: error.code }, "end of a container not stored");
    changes.publish({ ...row, state: row.state === "STARTED" ? "CHECKING" : row.state, address: undefined });
  }
}

function concerns(address: OwnedAddress, instance: string | undefined): boolean {
  return instance === undefined || address.instance === undefined || address.instance === instance;
}
