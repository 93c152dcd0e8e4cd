/**
 * How much may be in progress at a time, in all and of one user. `equalShares`: while several users have something in progress or waiting, each has as many of `total` as the others, and
 * what does not divide stays free.
 */
export type RoundRobinLimits = { total: number; perUser: number; equalShares?: boolean };

/**
 * A queue in which users take turns, with each user's items in their order. A user with a hundred items needs a hundred turns, and no other user
 * waits for them. An item is in it once.
 */
export type RoundRobinQueue = {
  put(item: string, user: string): void;
  /** True where it was waiting. */
  remove(item: string): boolean;
  /** The next one that may begin, which then counts as in progress until `end`; undefined where nothing waits or may begin. */
  begin(): { item: string; user: string } | undefined;
  end(user: string): void;
  waiting(): number;
};

export function createRoundRobinQueue(limits: RoundRobinLimits): RoundRobinQueue {
  // In the order of turns: a user who had one goes to the end.
  const queues = new Map<string, Set<string>>();
  const userOf = new Map<string, string>();
  const inProgress = new Map<string, number>();
  let total = 0;
  const most = () => {
    if (limits.equalShares !== true) return limits.perUser;
    const users = new Set([...queues.keys(), ...inProgress.keys()]).size;
    return Math.min(limits.perUser, Math.max(1, Math.floor(limits.total / Math.max(1, users))));
  };
  return {
    put: (item, user) => {
      if (userOf.has(item)) return;
      userOf.set(item, user);
      const queue = queues.get(user);
      if (queue) queue.add(item);
      else queues.set(user, new Set([item]));
    },
    remove: (item) => {
      const user = userOf.get(item);
      if (user === undefined) return false;
      userOf.delete(item);
      const queue = queues.get(user);
      queue?.delete(item);
      if (queue?.size === 0) queues.delete(user);
      return true;
    },
    begin: () => {
      if (total >= limits.total || queues.size === 0) return undefined;
      const perUser = most();
      for (const [user, queue] of queues) {
        const count = inProgress.get(user) ?? 0;
        const [item] = queue;
        if (item === undefined || count >= perUser) continue;
        queue.delete(item);
        userOf.delete(item);
        queues.delete(user);
        if (queue.size > 0) queues.set(user, queue);
        inProgress.set(user, count + 1);
        total++;
        return { item, user };
      }
      return undefined;
    },
    end: (user) => {
      const left = (inProgress.get(user) ?? 0) - 1;
      if (left > 0) inProgress.set(user, left);
      else inProgress.delete(user);
      total--;
    },
    waiting: () => userOf.size,
  };
}

/** A semaphore that is shared fairly between users. */
export type FairSlots = {
  /**
   * Runs `work` in a slot. A free slot goes to the waiting user who holds the fewest, and among equals to who waits longest. Where no more may
   * wait, it throws what `full` makes, at once; while it waits, the signal's reason.
   */
  run<R>(user: string, signal: AbortSignal, work: () => Promise<R>): Promise<R>;
  /** Takes a slot at once if one is free for this user. `leave` gives it back. */
  tryEnter(user: string): boolean;
  /** Resolves with a slot, which `leave` gives back. Throws and rejects as `run` does. */
  enter(user: string, signal: AbortSignal): Promise<void>;
  leave(user: string): void;
  /** Gives free slots to those who wait, after the limits were raised. */
  limitsChanged(): void;
};

/** They may change; call `limitsChanged` then. */
export type FairSlotLimits = {
  slots: number;
  slotsPerUser: number;
  waiting: number;
  waitingPerUser: number;
  /** `ofUser`: the limit that was met is the user's own. */
  full(ofUser: boolean): Error;
};

type SlotWaiter = { user: string; enter(): void };

export function createFairSlots(limits: FairSlotLimits): FairSlots {
  let used = 0;
  /** By user. */
  const held = new Map<string, number>();
  const queue: SlotWaiter[] = [];
  const heldBy = (user: string) => held.get(user) ?? 0;

  const take = (user: string) => {
    used++;
    held.set(user, heldBy(user) + 1);
  };
  const tryEnter = (user: string): boolean => {
    if (used >= limits.slots || heldBy(user) >= limits.slotsPerUser) return false;
    take(user);
    return true;
  };
  const nextWaiter = (): SlotWaiter | undefined => {
    let next: SlotWaiter | undefined;
    for (const waiter of queue) {
      const mine = heldBy(waiter.user);
      if (mine < limits.slotsPerUser && (next === undefined || mine < heldBy(next.user))) next = waiter;
    }
    return next;
  };
  const leave = (user: string) => {
    used--;
    if (heldBy(user) > 1) held.set(user, heldBy(user) - 1);
    else held.delete(user);
    serve();
  };
  const serve = () => {
    for (let next = nextWaiter(); used < limits.slots && next !== undefined; next = nextWaiter()) {
      queue.splice(queue.indexOf(next), 1);
      // Taken before the waiter continues, so that no other request takes it.
      take(next.user);
      next.enter();
    }
  };

  const wait = (user: string, signal: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      const onAbort = () => {
        queue.splice(queue.indexOf(waiter), 1);
        reject(signal.reason as Error);
      };
      const waiter: SlotWaiter = {
        user,
        enter: () => {
          signal.removeEventListener("abort", onAbort);
          resolve();
        },
      };
      signal.addEventListener("abort", onAbort, { once: true });
      queue.push(waiter);
    });

  const enter = async (user: string, signal: AbortSignal) => {
    signal.throwIfAborted();
    if (tryEnter(user)) return;
    const waitingOfUser = queue.filter((waiter) => waiter.user === user).length;
    if (waitingOfUser >= limits.waitingPerUser) throw limits.full(true);
    if (queue.length >= limits.waiting) throw limits.full(false);
    await wait(user, signal);
  };

  return {
    tryEnter,
    enter,
    leave,
    limitsChanged: serve,
    run: async (user, signal, work) => {
      signal.throwIfAborted();
      if (!tryEnter(user)) await enter(user, signal);
      try {
        return await work();
      } finally {
        leave(user);
      }
    },
  };
}
