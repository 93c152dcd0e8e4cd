import type { Fault } from "../fault.ts";
import type { ChildReport, ParentOrder } from "./child.ts";
import type { ListeningHandle } from "./listening-handle.ts";

/** The process that forked this one, seen from here. */
export type Parent = {
  ready(): void;
  /** Hands over why this process cannot start; resolves once it was sent. */
  fault(fault: Fault): Promise<void>;
  /** The socket to accept on; it comes once what this process connects to is there. Told to end while it waits, the process ends. */
  handle(): Promise<ListeningHandle>;
  /** Resolves when this process is to finish what is under way, and end. */
  told(): Promise<void>;
};

/**
 * Undefined where this process was started by itself. Call it first thing: a message that nobody listens for is lost.
 * Nobody goes on, or even starts, without a parent, which was killed perhaps: the next berth would find the port and the data taken.
 */
export function findParent(): Parent | undefined {
  if (!process.send) return undefined;
  process.once("disconnect", () => process.exit(1));
  if (!process.connected) process.exit(1);
  // A service manager may signal every process at once; in which order they end is then still the parent's to say.
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => undefined);
  const handle = Promise.withResolvers<ListeningHandle>();
  const told = Promise.withResolvers<void>();
  let given = false;
  process.on("message", (order: ParentOrder, sent) => {
    if (order.kind === "end") return told.resolve();
    if (!sent) return;
    given = true;
    handle.resolve(sent as unknown as ListeningHandle);
  });
  const tell = (report: ChildReport) => new Promise<void>((resolve) => process.send?.(report, () => resolve()));
  return {
    ready: () => void tell({ kind: "ready" }),
    fault: (fault) => tell({ kind: "fault", fault: fault.toJSON() }),
    handle: () => {
      // Told to end before that, it has nothing to finish, and what it waits for never comes.
      void told.promise.then(() => given || process.exit(0));
      return handle.promise;
    },
    told: () => told.promise,
  };
}
