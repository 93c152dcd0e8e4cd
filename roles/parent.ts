import type { Fault } from "../fault.ts";
import type { ChildReport } from "./child.ts";
import type { ListeningHandle } from "./listening-handle.ts";

/** The process that forked this one, seen from here. */
export type Parent = {
  ready(): void;
  /** Hands over why this process cannot start; resolves once it was sent. */
  fault(fault: Fault): Promise<void>;
  /** The socket to accept on. */
  handle(): Promise<ListeningHandle>;
  /** The parent is gone, killed perhaps: nobody may go on without it, or the next berth would find the port taken. */
  onGone(act: () => void): void;
};

/** Undefined where this process was started by itself. Call it first thing: a message that nobody listens for is lost. */
export function findParent(): Parent | undefined {
  if (!process.send) return undefined;
  const handle = Promise.withResolvers<ListeningHandle>();
  process.on("message", (_message, sent) => {
    if (sent) handle.resolve(sent as unknown as ListeningHandle);
  });
  const tell = (report: ChildReport) => new Promise<void>((resolve) => process.send?.(report, () => resolve()));
  return {
    ready: () => void tell({ kind: "ready" }),
    fault: (fault) => tell({ kind: "fault", fault: fault.toJSON() }),
    handle: () => handle.promise,
    onGone: (act) => process.once("disconnect", act),
  };
}
