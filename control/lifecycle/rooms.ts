import type { Clock } from "../../lib/clock.ts";
import type { Driver } from "../../drivers/driver.ts";
import type { Log } from "../../lib/log.ts";
import type { Container, Image } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import type { Changes } from "./changes.ts";
import type { EndCounts } from "./address-ownership.ts";
import type { InFlightOperations } from "./in-flight-operations.ts";
import type { LifecycleLimits } from "./limits.ts";
import type { Outages } from "./outages.ts";
import type { StartSlots } from "./fair-lane.ts";
import type { ContainerUsage } from "./usage.ts";
import type { WatchedAddresses } from "./container-view.ts";
import type { WorkQueue } from "./work-queue.ts";

/** What the lifecycle is given. */
export type LifecycleDeps = {
  store: Store;
  driver: Driver;
  clock: Clock;
  log: Log;
  /** The installation's name, written on everything that it makes. */
  environment: string;
  /** The variables that every container is given; its own map is added after them. Asked at every start. */
  injectedEnv(container: Container, image: Image): Promise<Record<string, string>> | Record<string, string>;
  /** The container's own map as it is handed over; as it is written where this is not given. Faults: those that keep it from starting. */
  renderEnv?: (container: Container) => Record<string, string>;
  /** What `Image.files` is relative to. */
  filesFolder: string;
  random: () => number;
};

/** What its parts share. */
export type Rooms = LifecycleDeps & {
  limits: LifecycleLimits;
  /** Time before this does not count as waiting: nobody was there to act, or the clock was set on since. */
  readonly openedAt: number;
  changes: Changes;
  usage: ContainerUsage;
  flights: InFlightOperations;
  outages: Outages;
  slots: StartSlots;
  endCounts: EndCounts;
  watched: WatchedAddresses;
  /** Containers whose stop waits for what gateways report. */
  draining: Set<string>;
  queue: Pick<WorkQueue, "add" | "addAfter">;
};

export const SWEEP = "sweep";
export const containerKey = (id: string): string => `container:${id}`;
export const imageKey = (id: string): string => `image:${id}`;
/** The image is to be pulled, and nothing else to be done with it. */
export const aheadKey = (id: string): string => `ahead:${id}`;
/** The image that no registry had is to be looked for again. */
export const missingKey = (id: string): string => `missing:${id}`;

/** `moved`: look again at once. `rest`: something else will say when to look. */
export type Outcome = "moved" | "rest" | { lookInMs: number };

/**
 * Does what a container in one state needs next, which follows from its row alone. The row may have changed by the time that
 * a step has heard from the driver, so every move compares first.
 */
export type Step = (rooms: Rooms, row: Container, signal: AbortSignal) => Promise<Outcome>;
