import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { ContainerEngine } from "./engine.ts";
import { type ListenerFinding, SLOW_START_MS, type StartStep } from "./start-steps.ts";

/** The start whose container is watched. */
type WatchedStart = { of(): StartStep | undefined; found(finding: ListenerFinding): void };

/** Reads where the container of a slow start listens. */
export type WatchListeners = (
  service: string,
  start: WatchedStart,
) => {
  /** Its container has been launched. */
  begin(): void;
  /** Reads once more, at the end of a start that fails. Never rejects. */
  read(): Promise<void>;
  end(): void;
};

/** A helper container takes a second where the engine is busy. */
const READ_MS = 5_000;
/** Of many containers that start slowly at once, so many are read at a time; the others try again after a moment. */
const MOST_READS = 8;
const BUSY_MS = 1_000;

/**
 * Reads where a container listens that is not ready after 10 s, again after 20 s, 40 s and so on. It only helps an explanation: no failure of it fails
 * a start.
 */
export function createListenerWatch({ engine, clock }: { engine: Pick<ContainerEngine, "call">; clock: Clock }): WatchListeners {
  let reading = 0;
  const overdue = () => new Fault("ENGINE_UNREACHABLE", `The container engine did not report where a container listens within ${READ_MS / 1_000} s.`);
  return (service, { of, found }) => {
    const over = new AbortController();
    const { signal } = over;
    let began = false;
    const read = async () => {
      const step = of();
      if (step?.launchedOn === undefined || !step.expected?.length || signal.aborted || reading >= MOST_READS) return;
      reading++;
      try {
        found((await engine.call("listeners", [service], { deadline: { ms: READ_MS, overdue }, signal })) ?? "unknown");
      } catch {
        // What was found before may still be so.
        if (!signal.aborted && step.finding === undefined) found("unknown");
      } finally {
        reading--;
      }
    };
    const watch = async () => {
      for (let passed = 0, next = SLOW_START_MS; ;) {
        await clock.sleep(next - passed, signal);
        passed = next;
        if (reading >= MOST_READS) {
          next = passed + BUSY_MS;
          continue;
        }
        await read();
        next = passed * 2;
      }
    };
    return {
      begin: () => {
        if (began) return;
        began = true;
        watch().catch(() => {});
      },
      read,
      end: () => over.abort(new Error("The start has ended.")),
    };
  };
}
