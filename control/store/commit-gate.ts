/**
 * A read of a remote database takes time. Without the gate, what it returns could be older than a commit whose `afterCommit` has run meanwhile: who keeps
 * a copy would go back to the old row. A commit waits for the reads that are under way, and reads that begin meanwhile wait for the commit. So lists, which
 * may take long, and of which no caller keeps a copy, pass without it (`Database.readUnordered`).
 */
export function createCommitGate() {
  let reads = 0;
  let underWay: { commit: Promise<void> } | undefined;
  let lastRead: (() => void) | undefined;
  const opened = async () => {
    for (;;) {
      const current = underWay;
      if (!current) return;
      await current.commit;
    }
  };
  return {
    read: async <R>(work: () => Promise<R>): Promise<R> => {
      if (underWay) await opened();
      reads++;
      try {
        return await work();
      } finally {
        if (--reads === 0) lastRead?.();
      }
    },
    /** One at a time. */
    commit: async (work: () => Promise<void>): Promise<void> => {
      const { promise, resolve } = Promise.withResolvers<void>();
      underWay = { commit: promise };
      try {
        if (reads > 0) await new Promise<void>((done) => (lastRead = done));
        await work();
      } finally {
        lastRead = undefined;
        underWay = undefined;
        resolve();
      }
    },
  };
}
