import type { Observed } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Container, Image } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import type { Changes } from "./changes.ts";
import type { Outages } from "./outages.ts";
import type { ContainerUsage } from "./usage.ts";

/** Everything that a decision about a container is made from, as of one moment. */
export type ContainerSituation = {
  row: Container;
  image: Image | undefined;
  /** What the orchestrator reports: undefined where it has no such service, "unknown" where it was not queried yet. */
  observed: Observed | undefined | "unknown";
  /** Epoch ms. */
  now: number;
  /** Waiting counts from here at the earliest: berth did not run before, or the clock was set. Epoch ms. */
  epoch: number;
  usage: {
    /** HTTP requests in progress, at all gateways. */
    open: number;
    /** A request has reached the container and is in progress. */
    reached: boolean;
    sockets: number;
    /** Every gateway knows the container's newest change, and none has an exchange open. */
    drained: boolean;
    /** Epoch ms, as for `ContainerUsage`. */
    lastActive: number;
    uncertainUntil: number;
  };
  /** An outage of the orchestrator explains a failure at the time at which the row entered its state. */
  outageExplains: boolean;
};

export type ReadSituation = (row: Container, observed: ContainerSituation["observed"]) => Promise<ContainerSituation>;

export type SituationDeps = {
  store: Pick<Store, "images">;
  usage: ContainerUsage;
  changes: Pick<Changes, "seqOf">;
  outages: Pick<Outages, "explains">;
  clock: Pick<Clock, "now">;
  epoch: () => number;
};

export function createSituations({ store, usage, changes, outages, clock, epoch }: SituationDeps): ReadSituation {
  return async (row, observed) => ({
    row,
    image: await store.images.find(row.imageId),
    observed,
    now: clock.now(),
    epoch: epoch(),
    usage: {
      open: usage.open(row.id),
      reached: usage.reached(row.id),
      sockets: usage.sockets(row.id),
      drained: usage.drained(row.id, changes.seqOf(row.id)),
      lastActive: usage.lastActive(row.id),
      uncertainUntil: usage.uncertainUntil(),
    },
    outageExplains: outages.explains(row.since),
  });
}
