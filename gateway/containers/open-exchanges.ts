import type { Count } from "../../lib/metrics/open-metrics.ts";
import type { Caller, ContainerUse, ContainerView, OpenExchange, OpenExchangeList } from "../contract.ts";
import type { LeaseHolder } from "../decision.ts";

/** An open lease, as the check of revoked callers sees it. */
export type RevocableLease = LeaseHolder & { readonly caller: Caller; readonly containerId: string };

/** An open lease in the list of its container. */
export type ListedLease = RevocableLease & { before: ListedLease | undefined; after: ListedLease | undefined; describe(): OpenExchange };

/** Linked through its members, oldest first: a `Set` would cost a sixth of a request's decision. */
export type LeaseList<Member extends LeaseListNode<Member>> = { oldest: Member | undefined; newest: Member | undefined; size: number };

type LeaseListNode<Member> = { before: Member | undefined; after: Member | undefined };

export type ContainerTally = ContainerUse & {
  /** Hardly another container has it: they count up to `MAX_TALLIES`, and begin again. */
  number: number;
  reportedAt: number;
  leases: LeaseList<ListedLease>;
  busyUntil: number;
  /** `busyUntil` was reported less than `BUSY_STEP_MS` ago: the next report waits, and then sends the latest value. */
  busyReported: boolean;
  /** Counts up, to use several addresses in turn. */
  turn: number;
  /** The counters of the container's responses. */
  answers: readonly Count[] | undefined;
};

/** The open exchanges of this process, by container. */
export type OpenExchanges = {
  /** The open exchanges of a container. */
  at(id: string): OpenExchangeList;
  /** All open leases. */
  leases(): RevocableLease[];
  /** The container's tally; `answers` is called for a new one. */
  tally(view: ContainerView, answers?: (name: string) => readonly Count[]): ContainerTally;
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
      const leases = tallies.get(id)?.leases;
      return leases === undefined
        ? { count: 0, open: [] }
        : { count: leases.size, open: oldestLeases(leases, MAX_DESCRIBED).map((lease) => lease.describe()) };
    },
    leases: () => [...tallies.values()].flatMap(({ leases }) => oldestLeases(leases, leases.size)),
    tally: ({ id, name }, answers) => {
      const existing = tallies.get(id);
      if (existing !== undefined) return existing;
      if (tallies.size >= MAX_TALLIES) for (const [unused, { leases }] of tallies) if (leases.size === 0) tallies.delete(unused);
      const tally: ContainerTally = {
        id,
        number: created++ % MAX_TALLIES,
        open: 0,
        streams: 0,
        lastActive: 0,
        reportedAt: 0,
        leases: { oldest: undefined, newest: undefined, size: 0 },
        busyUntil: 0,
        busyReported: false,
        turn: 0,
        answers: answers?.(name),
      };
      tallies.set(id, tally);
      return tally;
    },
  };
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
