/** A write that waits for those before it. `joins`: it may become a part of their transaction. */
export type WaitingWrite = { resume: () => void; joins: boolean };

/**
 * Writes that wait, in a queue of each user. Users take turns, so that one user's thousand writes delay another user's write by one. `user`: undefined for
 * what control does by itself.
 */
export type WriteQueue = {
  /** How many of this user wait. */
  count(user: string | undefined): number;
  add(user: string | undefined, write: WaitingWrite): void;
  remove(user: string | undefined, write: WaitingWrite): void;
  /** The one whose turn it is. */
  next(): WaitingWrite | undefined;
  take(): WaitingWrite | undefined;
};

export function createWriteQueue(): WriteQueue {
  // In the order of turns: a user who had one goes to the end.
  const queues = new Map<string | undefined, WaitingWrite[]>();
  return {
    count: (user) => queues.get(user)?.length ?? 0,
    add: (user, write) => {
      const queue = queues.get(user);
      if (queue) queue.push(write);
      else queues.set(user, [write]);
    },
    remove: (user, write) => {
      const queue = queues.get(user) ?? [];
      queue.splice(queue.indexOf(write), 1);
      if (queue.length === 0) queues.delete(user);
    },
    next: () => queues.values().next().value?.[0],
    take: () => {
      const [user, queue] = queues.entries().next().value ?? [undefined, []];
      const write = queue.shift();
      if (!write) return undefined;
      queues.delete(user);
      if (queue.length > 0) queues.set(user, queue);
      return write;
    },
  };
}
