/** A semaphore that is shared fairly between users. */
type FairSlots = {
  /**
   * Runs `work` in a slot. A free slot goes to the waiting user who holds the fewest, and among equals to who waits longest. Where no more may
   * wait, it throws what `full` makes, at once; while it waits, the signal's reason.
   */
  run<R>(user: string, signal: AbortSignal, work: () => Promise<R>): Promise<R>;
};

type FairSlotLimits = {
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

  const enter = (user: string) => {
    used++;
    held.set(user, heldBy(user) + 1);
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
    const next = used < limits.slots ? nextWaiter() : undefined;
    if (!next) return;
    queue.splice(queue.indexOf(next), 1);
    // Taken before the waiter continues, so that no other request takes it.
    enter(next.user);
    next.enter();
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

  return {
    run: async (user, signal, work) => {
      signal.throwIfAborted();
      if (used < limits.slots && heldBy(user) < limits.slotsPerUser) enter(user);
      else {
        const waitingOfUser = queue.filter((waiter) => waiter.user === user).length;
        if (waitingOfUser >= limits.waitingPerUser) throw limits.full(true);
        if (queue.length >= limits.waiting) throw limits.full(false);
        await wait(user, signal);
      }
      try {
        return await work();
      } finally {
        leave(user);
      }
    },
  };
}
