import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultCode, type FaultData } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";

/** What is wrong with the engine rather than with what it runs: no container causes it, and it ends when the engine works again. */
const TROUBLE: ReadonlySet<FaultCode> = new Set(["ENGINE_UNREACHABLE", "ENGINE_FAILED"]);
/** How much of a log tail a fault carries to every gateway, in characters. */
export const LONGEST_FAULT_LOGS = 4_096;

export function isEngineTrouble(code: FaultCode | undefined): boolean {
  return code !== undefined && TROUBLE.has(code);
}

/** The orchestrator did not answer a call in time. It may still do so: what was requested is repeated, and fails only at its own limit. */
export function isUnanswered({ code, retryAfterMs }: Pick<Fault, "code" | "retryAfterMs">): boolean {
  return code === "ENGINE_UNREACHABLE" && retryAfterMs !== undefined;
}

/** What is stored of an error: a fault as it is. Anything else is a bug, which is logged here and stored without detail. */
export function asFault(error: unknown, log: Log): Fault {
  if (error instanceof Fault) return error;
  log.error({ err: error }, "unexpected error");
  return new Fault("INTERNAL", "An internal error occurred.", { cause: error });
}

/** A fault as it is stored and published: with its newest lines only. */
export function cutFaultLogs(fault: FaultData): FaultData {
  if (!fault.logs?.length) return fault;
  return { ...fault, logs: fault.logs.join("\n").slice(-LONGEST_FAULT_LOGS).split("\n") };
}

/** An engine that ends stops its containers first, for up to 15 s each: what fails so shortly before its events end failed with it. */
const SHUTDOWN_MS = 20_000;

/** When the engine was last away, restarted or not observed. A failure in an outage does not count against a container. */
export type Outages = {
  /** The engine's events were interrupted. */
  began(): void;
  /** Events arrive again; for a driver that reports no breaks, this is the only signal. */
  ended(): void;
  /** True for what was started at `since` (epoch ms), ran until the last outage, and may have ended with it. */
  mayHaveEnded(since: number): boolean;
  /** True for a failure at `at` (epoch ms) that the last outage explains. */
  explains(at: number): boolean;
};

/** Before the first `ended`, control itself was away since `openedAt`. */
export function createOutages(clock: Pick<Clock, "now">, openedAt: number): Outages {
  let from = openedAt;
  let broke = openedAt;
  let until: number | undefined;
  const began = () => {
    if (until === undefined) return;
    broke = clock.now();
    from = broke - SHUTDOWN_MS;
    until = undefined;
  };
  return {
    began,
    ended: () => {
      began();
      until = clock.now();
    },
    // What was started without events counts as ever: else it could be started again and again without a pause.
    mayHaveEnded: (since) => since < (until ?? broke),
    explains: (at) => at >= from && (until === undefined || at < until),
  };
}

/** A stand without plugin containers. */
export const CONTAINERS_DISABLED = new Fault(
  "CONTAINERS_DISABLED",
  "Containers are disabled on this server: dockerSettings.useGrokSpawner is off. An administrator has to turn it on and restart the server.",
);
