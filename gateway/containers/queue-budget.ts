/** Reads a client's frames into a queue. */
export type QueueReader = { pause(): void; resume(): void };

export type QueueShare = {
  /** The queue takes so many bytes of memory now. */
  uses(bytes: number): void;
  /** The queue is gone. May be repeated. */
  release(): void;
};

export type QueueBudget = {
  /** `user`: whose part of the budget the queue counts against. A reader that may not read now gets `pause` before this returns. */
  join(user: string, reader: QueueReader): QueueShare;
};

type QueueMember = { reader: QueueReader; bytes: number; pools: readonly [BytePool, BytePool] };

/** Queues that share so many bytes. */
type BytePool = { limit: number; used: number; full: boolean; members: Set<QueueMember> };

/**
 * How much memory the queues of waiting WebSockets take together, of one user and of the process. Where that is spent, none of those
 * queues is read until half of it is free again: what their clients send waits in the system's own buffers, and nothing is lost.
 */
export function openQueueBudget({ ofUser, ofAll }: { ofUser: number; ofAll: number }): QueueBudget {
  const all: BytePool = { limit: ofAll, used: 0, full: false, members: new Set() };
  const users = new Map<string, BytePool>();

  return {
    join: (user, reader) => {
      const own = users.get(user) ?? { limit: ofUser, used: 0, full: false, members: new Set<QueueMember>() };
      users.set(user, own);
      const member: QueueMember = { reader, bytes: 0, pools: [own, all] };
      for (const pool of member.pools) pool.members.add(member);
      if (mustWait(member)) reader.pause();
      return {
        uses: (bytes) => {
          for (const pool of member.pools) {
            if (!pool.members.has(member)) continue;
            pool.used += bytes - member.bytes;
            if (!pool.full && pool.used >= pool.limit) fill(pool);
          }
          member.bytes = bytes;
        },
        release: () => {
          for (const pool of member.pools) {
            if (!pool.members.delete(member)) continue;
            pool.used -= member.bytes;
            if (pool.full && pool.used <= pool.limit / 2) drain(pool);
          }
          if (own.members.size === 0 && users.get(user) === own) users.delete(user);
        },
      };
    },
  };
}

function fill(pool: BytePool): void {
  pool.full = true;
  for (const { reader } of pool.members) reader.pause();
}

function drain(pool: BytePool): void {
  pool.full = false;
  for (const member of pool.members) if (!mustWait(member)) member.reader.resume();
}

function mustWait({ pools: [own, all] }: QueueMember): boolean {
  return own.full || all.full;
}
