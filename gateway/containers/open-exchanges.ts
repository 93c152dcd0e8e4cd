import type { ContainerResponses } from "../access-record.ts";
import type { Caller, ContainerAddress, ContainerUse, ContainerView, OpenExchange, OpenExchangeList } from "../contract.ts";
import type { LeaseHolder } from "../decision.ts";
import { type ContainerPlaces, placesFor } from "./places.ts";
import type { OpenLoad, ReplicaUses } from "./replicas.ts";

/** An open lease, as the check of revoked callers sees it. */
export type RevocableLease = LeaseHolder & { readonly caller: Caller; readonly containerId: string };

/** An open lease in the list of its container. */
export type ListedLease = RevocableLease & {
  before: ListedLease | undefined;
  after: ListedLease | undefined;
  describe(): OpenExchange;
  /** The number of the replica that it reached. */
  readonly replica: number | undefined;
  onContainerStop(reason: string): void;
};

/** Linked through its members, oldest first: a `Set` would cost a sixth of a request's decision. */
export type LeaseList<Member extends LeaseListNode<Member>> = { oldest: Member | undefined; newest: Member | undefined; size: number };

type LeaseListNode<Member> = { before: Member | undefined; after: Member | undefined };

/** With the list of its open leases. Few objects are few waits for memory: a request reads this one where it would read five of the view. */
export type ContainerTally = ContainerUse &
  LeaseList<ListedLease> & {
    /** That of the last lease, and its content. */
    view: ContainerView;
    isAwake: boolean;
    /** Its requests reach it without a wait. */
    isRunning: boolean;
    /** The only address of a container that is awake, and no queue worker. */
    onlyAddress: ContainerAddress | undefined;
    reportDue: boolean;
    /** Its WebSockets: they end before it stops. */
    sockets: number;
    unwatchStop: (() => void) | undefined;
    /** Its requests that wait for a place. */
    placeWaiters: number;
    unwatchPlaces: (() => void) | undefined;
    /** Hardly another container has it: they count up to `MAX_TALLIES`, and begin again. */
    number: number;
    reportedAt: number;
    busyUntil: number;
    /** `busyUntil` was reported less than `BUSY_STEP_MS` ago: the next report waits, and then sends the latest value. */
    busyReported: boolean;
    /** Counts up, to use several addresses in turn. */
    turn: number;
    /** Of a container with replicas: the exchanges at each address. */
    replicas: ReplicaUses | undefined;
    load: OpenLoad | undefined;
    /** Of a container with a limit of requests; undefined: it has none. */
    places: ContainerPlaces | undefined;
    /** The counters of the container's responses. */
    responses: ContainerResponses | undefined;
  };

/** The open exchanges of this process, by container. */
export type OpenExchanges = {
  /** The open exchanges of a container. */
  at(id: string): OpenExchangeList;
  /** All open leases. */
  leases(): RevocableLease[];
  /** The container's tally; `responsesOf` is called for a new one. */
  tally(view: ContainerView, responsesOf?: (view: ContainerView) => ContainerResponses): ContainerTally;
};

/** Exchanges of one container that `at` describes: the oldest ones explain why it does not stop. */
const MAX_DESCRIBED = 200;
/** Beyond it, tallies of unused containers are deleted. */
const MAX_TALLIES = 10_000;

export function createOpenExchanges(): OpenExchanges {
  const tallies = new Map<string, ContainerTally>();
  let created = 0;
  return {
    at: (id) => {
      const tally = tallies.get(id);
      return tally === undefined
        ? { count: 0, open: [] }
        : { count: tally.size, open: oldestLeases(tally, MAX_DESCRIBED).map((lease) => lease.describe()) };
    },
    leases: () => [...tallies.values()].flatMap((tally) => oldestLeases(tally, tally.size)),
    tally: (view, responsesOf) => {
      const { id } = view;
      const existing = tallies.get(id);
      if (existing !== undefined) {
        if (existing.view === view) return existing;
        existing.places = placesFor(view, existing.places);
        return Object.assign(existing, factsOf(view));
      }
      if (tallies.size >= MAX_TALLIES) for (const [unused, { size }] of tallies) if (size === 0) tallies.delete(unused);
      const tally: ContainerTally = {
        id,
        number: created++ % MAX_TALLIES,
        open: 0,
        streams: 0,
        lastActive: 0,
        reportedAt: 0,
        oldest: undefined,
        newest: undefined,
        size: 0,
        reportDue: false,
        sockets: 0,
        unwatchStop: undefined,
        placeWaiters: 0,
        unwatchPlaces: undefined,
        ...factsOf(view),
        busyUntil: 0,
        busyReported: false,
        turn: 0,
        replicas: undefined,
        load: undefined,
        places: placesFor(view, undefined),
        responses: responsesOf?.(view),
      };
      tallies.set(id, tally);
      return tally;
    },
  };
}

function factsOf(view: ContainerView): Pick<ContainerTally, "view" | "isAwake" | "isRunning" | "onlyAddress"> {
  const { availability } = view;
  const isAwake = availability.kind === "awake";
  const addresses =
    isAwake && !availability.worker && availability.addresses.length === 1 && view.replicas === undefined ? availability.addresses : [];
  return { view, isAwake, isRunning: isRunning(view), onlyAddress: addresses[0] };
}

/** Its requests reach it without a wait. */
export function isRunning({ availability }: ContainerView): boolean {
  return (availability.kind === "awake" && !availability.worker) || availability.kind === "portless";
}

export function addLease<Member extends LeaseListNode<Member>>(list: LeaseList<Member>, lease: Member): void {
  lease.before = list.newest;
  if (list.newest === undefined) list.oldest = lease;
  else list.newest.after = lease;
  list.newest = lease;
  list.size++;
}

/** `lease` must be in the list. */
export function removeLease<Member extends LeaseListNode<Member>>(list: LeaseList<Member>, lease: Member): void {
  const { before, after } = lease;
  if (before === undefined) list.oldest = after;
  else before.after = after;
  if (after === undefined) list.newest = before;
  else after.before = before;
  lease.before = undefined;
  lease.after = undefined;
  list.size--;
}

/** At most `max` of them. */
export function oldestLeases<Member extends LeaseListNode<Member>>({ oldest }: LeaseList<Member>, max: number): Member[] {
  const leases: Member[] = [];
  for (let lease = oldest; lease !== undefined && leases.length < max; lease = lease.after) leases.push(lease);
  return leases;
}
