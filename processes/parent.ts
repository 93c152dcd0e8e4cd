import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Clock } from "../lib/clock.ts";
import type { Fault } from "../lib/fault.ts";
import type { Snapshot } from "../lib/metrics/open-metrics.ts";
import type { ListeningHandle } from "./listeners.ts";
import type { ChildReport, ParentOrder } from "./supervise-process.ts";

/** The process that forked this one, seen from here. */
export type Parent = {
  ready(): void;
  /** Hands over why this process cannot start; resolves once it was sent. */
  fault(fault: Fault): Promise<void>;
  /** The socket to accept on, sent when the processes that this one needs are ready. An order to end during the wait ends the process. */
  handle(): Promise<ListeningHandle>;
  /** A control process runs beside this one, as in `berth serve`. Known with the handle. */
  isBesideControl(): boolean;
  /** Resolves once whatever held this process's data before has let go of it. An order to end while it waits ends the process. */
  released(): Promise<void>;
  /** Resolves when this process is to finish what is under way, and end; `handedOver`: others accept in its place already. */
  stopRequested(): Promise<{ handedOver: boolean }>;
  /** Announces that this process ends by itself, as planned, and is to be started again. */
  ends(): void;
  /** Says what is to be answered when it asks what this process counted: nothing before that. */
  onMetricsRequest(snapshot: () => Promise<Snapshot>): void;
};

/**
 * Undefined if this process has no parent. Call it first: messages without a listener are lost. A process whose parent died ends: it would keep the port
 * and the data from the next berth.
 */
export function findParent(): Parent | undefined {
  if (!process.send) return undefined;
  process.once("disconnect", () => process.exit(1));
  if (!process.connected) process.exit(1);
  // A service manager may signal every process at once; in which order they end is then still the parent's to say.
  // Code that reads files again on SIGHUP adds its own listener.
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => undefined);
  const handle = Promise.withResolvers<ListeningHandle>();
  const released = Promise.withResolvers<void>();
  const stopRequested = Promise.withResolvers<{ handedOver: boolean }>();
  let hasHandle = false;
  let besideControl = false;
  let isReleased = false;
  let counted: () => Promise<Snapshot> = async () => [];
  process.on("message", (order: ParentOrder, sent) => {
    if (order.kind === "end") return stopRequested.resolve({ handedOver: order.handedOver ?? false });
    if (order.kind === "released") {
      isReleased = true;
      return released.resolve();
    }
    if (order.kind === "ping") return void send({ kind: "pong" });
    // Without a reply, the parent serves what the other processes counted.
    if (order.kind === "metrics")
      return void counted()
        .then((metrics) => send({ kind: "metrics", metrics }))
        .catch(() => undefined);
    if (!sent) return undefined;
    hasHandle = true;
    ({ besideControl } = order);
    return handle.resolve(sent as unknown as ListeningHandle);
  });
  const send = (report: ChildReport) => new Promise<void>((resolve) => process.send?.(report, () => resolve()));
  return {
    ready: () => void send({ kind: "ready" }),
    fault: (fault) => send({ kind: "fault", fault: fault.toJSON() }),
    handle: () => {
      // An order to end before that: there is nothing to finish, and the handle never comes.
      void stopRequested.promise.then(() => hasHandle || process.exit(0));
      return handle.promise;
    },
    released: () => {
      void stopRequested.promise.then(() => isReleased || process.exit(0));
      return released.promise;
    },
    isBesideControl: () => besideControl,
    stopRequested: () => stopRequested.promise,
    ends: () => void send({ kind: "ends" }),
    onMetricsRequest: (snapshot) => void (counted = snapshot),
  };
}

export type StoppableProcess = {
  /** `handedOver`: others accept connections in its place already, so no client has to be turned away. */
  close(handedOver?: boolean): Promise<void>;
};

const STOP_SIGNALS = ["SIGTERM", "SIGINT"] as const;

/** Resolves at the first of these signals. A second one of any kind ends the process at once. */
export function untilSignal(signals: readonly NodeJS.Signals[] = STOP_SIGNALS): Promise<void> {
  return new Promise((resolve) => {
    let stopRequested = false;
    const onSignal = () => {
      if (stopRequested) process.exit(130);
      stopRequested = true;
      resolve();
    };
    for (const signal of signals) process.on(signal, onSignal);
  });
}

/** Starts the role, reports to the parent that it is ready, and closes it at the order to end, or when it has `ended` by itself. An order during the start counts too. */
export async function runUntilStopped(
  start: () => Promise<StoppableProcess & { ended?: Promise<void> }>,
  { parent, clock }: { parent: Parent | undefined; clock: Clock },
): Promise<void> {
  const stopRequested = parent?.stopRequested() ?? untilSignal();
  const role = await start();
  parent?.ready();
  const cancelCollection = collectStartGarbage(clock);
  const end = await (role.ended === undefined ? stopRequested : Promise.race([stopRequested, role.ended.then(() => parent?.ends())]));
  cancelCollection();
  await role.close(end?.handedOver ?? false);
}

/** Everything is loaded and connected by then, and V8 has compiled what runs often. */
const AFTER_MS = 10_000;
/** The event loop stands still meanwhile: about 1 ms for each megabyte in use. A larger heap is a busy one, and collects by itself. */
const MOST_BYTES = 48 * 1024 * 1024;

/**
 * Collects the garbage of the start once, and so returns its memory to the system: 50 MB of three processes. V8 collects when more is allocated, and an
 * idle process allocates little. A heap of more than `mostBytes` is left alone. The returned function cancels it.
 */
export function collectStartGarbage(clock: Clock, mostBytes = MOST_BYTES): () => void {
  return clock.after(AFTER_MS, () => {
    if (getHeapStatistics().used_heap_size <= mostBytes) collectGarbage();
  });
}

function collectGarbage(): void {
  // A flag is the only way to V8's collector. Compiled code depends on the flags, so that it must not stay.
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  setFlagsFromString("--no-expose-gc");
  collect();
}
