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
