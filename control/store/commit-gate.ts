import type { Clock } from "../../lib/clock.ts";

/** Of a read, before a commit that waits for it goes first: it may wait for the lock of another program on its table. */
const LONGEST_WAIT_MS = 1_000;

/** `isRepeated`: commits wait for it until it ends, since each of them could overtake it otherwise. */
type GatedRead = { isRepeated: boolean; isOvertaken: boolean };

/**
 * A read of a remote database takes time. Without the gate, what it returns could be older than a commit whose `afterCommit` has run meanwhile: who keeps
 * a copy would go back to the old row. A commit waits for the reads that are under way, and reads that begin meanwhile wait for the commit. So lists, which
 * may take long, and of which no caller keeps a copy, pass without it (`Database.readUnordered`). A read for which a commit has waited for a second is
 * overtaken, and repeated after it.
 */
export function createCommitGate(clock: Clock) {
  /** Under way, without those that were overtaken. */
  const reads = new Set<GatedRead>();
  let underWay: { commit: Promise<void> } | undefined;
  let lastRead: (() => void) | undefined;
  const opened = async () => {
    for (;;) {
      const current = underWay;
      if (!current) return;
      await current.commit;
    }
  };
  const ended = (read: GatedRead) => {
    if (reads.delete(read) && reads.size === 0) lastRead?.();
  };
  const readsEnd = async () => {
    const cancel = clock.after(LONGEST_WAIT_MS, () => {
      for (const read of reads) {
        if (read.isRepeated) continue;
        read.isOvertaken = true;
        ended(read);
      }
    });
    await new Promise<void>((done) => (lastRead = done));
    cancel();
  };
  return {
    read: async <R>(work: () => Promise<R>): Promise<R> => {
      for (let isRepeated = false; ; isRepeated = true) {
        if (underWay) await opened();
        const read: GatedRead = { isRepeated, isOvertaken: false };
        reads.add(read);
        try {
          const result = await work();
          if (!read.isOvertaken) return result;
        } finally {
          ended(read);
        }
      }
    },
    /** One at a time. */
    commit: async (work: () => Promise<void>): Promise<void> => {
      const { promise, resolve } = Promise.withResolvers<void>();
      underWay = { commit: promise };
      try {
        if (reads.size > 0) await readsEnd();
        await work();
      } finally {
        lastRead = undefined;
        underWay = undefined;
        resolve();
      }
    },
  };
}
