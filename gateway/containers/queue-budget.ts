/** Whoever reads a client's frames into a queue. */
export type QueueReader = { pause(): void; resume(): void };

export type QueueShare = {
  /** The queue takes so many bytes of memory now. */
  uses(bytes: number): void;
  /** The queue is gone. May be repeated. */
  release(): void;
};

export type QueueBudget = {
  /** `user`: whose part of the budget the queue counts against. A reader that may not read now is told to pause before this returns. */
  join(user: string, reader: QueueReader): QueueShare;
};

type Member = { reader: QueueReader; bytes: number; pools: readonly [Pool, Pool] };

/** Queues that share so many bytes. */
type Pool = { limit: number; used: number; full: boolean; members: Set<Member> };

/**
 * How much memory the queues of waiting WebSockets take together, of one user and of the process. Where that is spent, none of those
 * queues is read until half of it is free again: what their clients send waits in the system's own buffers, and nothing is lost.
 */
export function openQueueBudget({ ofUser, ofAll }: { ofUser: number; ofAll: number }): QueueBudget {
  const all: Pool = { limit: ofAll, used: 0, full: false, members: new Set() };
  const users = new Map<string, Pool>();

  return {
    join: (user, reader) => {
      const own = users.get(user) ?? { limit: ofUser, used: 0, full: false, members: new Set<Member>() };
      users.set(user, own);
      const member: Member = { reader, bytes: 0, pools: [own, all] };
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

function fill(pool: Pool): void {
  pool.full = true;
  for (const { reader } of pool.members) reader.pause();
}

function drain(pool: Pool): void {
  pool.full = false;
  for (const member of pool.members) if (!mustWait(member)) member.reader.resume();
}

function mustWait({ pools: [own, all] }: Member): boolean {
  return own.full || all.full;
}
