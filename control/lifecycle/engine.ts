import type { Driver, Observed } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Container } from "../model/entities.ts";
import { type CallDriver, callUnderDeadline, createDriverCalls } from "./call-driver.ts";
import { cutLogTail } from "./failures.ts";
import type { LifecycleLimits } from "./limits.ts";

/** A stop or a failed start waits this long for a log tail, and no longer. */
const LOG_TAIL_MS = 1_000;
const LOG_TAIL_LINES = 200;

/** What the lifecycle asks of the orchestrator, each with its deadline. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
export type ContainerEngine = {
  call: CallDriver;
  /** That images are pulled to it, so that one can be pulled before its start. */
  pulls: boolean;
  /** The observed state of the row's service; undefined where there is none, or where it is not this container's. */
  observe(row: Pick<Container, "id" | "service">, signal: AbortSignal): Promise<Observed | undefined>;
  /** Everything with berth's labels, of whichever store. */
  list(signal: AbortSignal): Promise<Observed[]>;
  destroy(service: string, signal: AbortSignal): Promise<void>;
  /** Empty where it cannot be read soon: no step fails for it. */
  logTail(service: string, signal: AbortSignal): Promise<string>;
};

export type ContainerEngineDeps = {
  driver: Driver;
  clock: Clock;
  limits: Pick<LifecycleLimits, "callMs" | "statusMs" | "lookRetry">;
  storeId: string;
};

export function createContainerEngine({ driver, clock, limits, storeId }: ContainerEngineDeps): ContainerEngine {
  const call = createDriverCalls({ driver, clock });
  const within = (ms: number, what: string) => ({
    ms,
    overdue: () =>
      new Fault("ENGINE_UNREACHABLE", `The container engine did not ${what} within ${Math.round(ms / 1_000)} s.`, {
        retryAfterMs: limits.lookRetry.firstMs,
      }),
  });
  return {
    call,
    pulls: driver.pulls === true,
    observe: async ({ id, service }, signal) => {
      const observed = await call("inspect", [service], { deadline: within(limits.callMs, "answer"), signal });
      return observed && observed.labels.store === storeId && observed.labels.container === id ? observed : undefined;
    },
    list: (signal) => call("list", [], { deadline: within(limits.callMs, "list its containers"), signal }),
    destroy: (service, signal) => call("destroy", [service], { deadline: within(limits.statusMs, `remove ${service}`), signal }),
    logTail: (service, signal) => {
      const read = async (stop: AbortSignal) => {
        let text = "";
        for await (const piece of driver.logs(service, { tail: LOG_TAIL_LINES }, { signal: stop })) text = cutLogTail(text + piece);
        return text;
      };
      return callUnderDeadline({ ...within(LOG_TAIL_MS, "return the log tail"), clock, signal }, read).catch(() => "");
    },
  };
}

/** A log tail as a fault holds it. */
export function linesOfTail(tail: string): string[] {
  return tail.split("\n").filter((line) => line !== "");
}
