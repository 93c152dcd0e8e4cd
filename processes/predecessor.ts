import type { ListeningHandle } from "./listening-handle.ts";

/**
 * What one berth tells the berth that takes over from it. `listener` comes with a listening socket, `listeners` after the last of them; `released`: the
 * old process of this role has ended, so that the new one may have its data.
 */
export type PredecessorOrder = { kind: "listener"; name: string } | { kind: "listeners" } | { kind: "released"; role: string };

/** What the new one tells the old one. `prepared`: its settings are good, and its processes load their code. */
export type SuccessorReport = { kind: "prepared" } | { kind: "ready"; version: string } | { kind: "fault"; message: string };

/** The variable by which a process knows that the one that forked it hands over to it; its value is that one's process id. */
export const HANDOVER_NAME = "HANDOVER_FROM";

/** The berth that hands over to this one. */
export type Predecessor = {
  /** Its listening sockets: `edge`, `registry`, `spawner`, `console`, `metrics`. */
  listeners: ReadonlyMap<string, ListeningHandle>;
  /** Resolves once the old process of this role has ended. */
  released(role: string): Promise<void>;
  /** Resolves once it was sent. */
  report(report: SuccessorReport): Promise<void>;
};

/** Undefined where no process hands over. Sockets come over the channel, since those that are inherited would be inherited by containers, too. */
export async function findPredecessor(env: NodeJS.ProcessEnv): Promise<Predecessor | undefined> {
  if (env[HANDOVER_NAME] === undefined || !process.send) return undefined;
  const listeners = new Map<string, ListeningHandle>();
  const released = new Map<string, PromiseWithResolvers<void>>();
  const of = (role: string) => {
    const found = released.get(role) ?? Promise.withResolvers<void>();
    released.set(role, found);
    return found;
  };
  const all = Promise.withResolvers<void>();
  let isReady = false;
  // The old one gave up, or died: its sockets and its data are somebody else's to start with.
  process.once("disconnect", () => isReady || process.exit(1));
  process.on("message", (order: PredecessorOrder, sent) => {
    if (order.kind === "released") of(order.role).resolve();
    else if (order.kind === "listeners") all.resolve();
    else if (sent) listeners.set(order.name, sent as unknown as ListeningHandle);
  });
  await all.promise;
  return {
    listeners,
    released: (role) => of(role).promise,
    report: (report) => {
      isReady ||= report.kind === "ready";
      return new Promise((resolve) => void (process.connected ? process.send?.(report, () => resolve()) : resolve()));
    },
  };
}
