import type { Usage } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Container } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import type { ContainerEngine } from "./engine.ts";
import type { LifecycleLimits } from "./limits.ts";
import type { ContainerUsage } from "./usage.ts";

/**
 * A queue worker gets its work past the gateways: what it uses of processors and network shows whether it works. Without statistics nothing shows that, and it
 * is not stopped for idleness.
 */
export type WorkerActivity = {
  /** Samples queue workers that may be stopped for idleness, each once. Returns those of which it is known now whether they work. */
  sample(signal: AbortSignal): Promise<string[]>;
  /** How long ago the use was measured, in milliseconds; 0 for what is no queue worker. Undefined: not since it started. */
  measuredMsAgo(row: Pick<Container, "id" | "deployed">): number | undefined;
};

export type WorkerActivityDeps = {
  store: Pick<Store, "containers">;
  engine: Pick<ContainerEngine, "call">;
  usage: Pick<ContainerUsage, "used">;
  clock: Pick<Clock, "now" | "monotonic">;
  limits: Pick<LifecycleLimits, "workerCpuShare" | "workerBytesPerSecond">;
};

/** `since`: when the container started: counters of another start do not continue these. `measuredAt`: a rate was known then, on the monotonic scale. */
type UsageSample = Usage & { since: number; at: number; measuredAt?: number | undefined };

const CALL_MS = 5_000;
const AT_ONCE = 4;
/** In one round. The others are the first of the next. */
const MOST = 200;

export function createWorkerActivity({ store, engine, usage, clock, limits }: WorkerActivityDeps): WorkerActivity {
  /** The least recently sampled first. */
  let samples = new Map<string, UsageSample>();

  const isAtWork = (cpuMs: number, networkBytes: number, ms: number) =>
    cpuMs / ms > limits.workerCpuShare || (networkBytes * 1_000) / ms > limits.workerBytesPerSecond;

  /** True if it is known now whether it works. */
  const sampleOne = async ({ id, service, since }: Pick<Container, "id" | "service" | "since">, signal: AbortSignal): Promise<boolean> => {
    const before = samples.get(id);
    samples.delete(id);
    const overdue = () => new Fault("ENGINE_UNREACHABLE", `The statistics of ${service} did not come within ${CALL_MS / 1_000} s.`);
    // Not known is a result, too: then it is not idle.
    const now = await engine.call("usage", [service], { deadline: { ms: CALL_MS, overdue }, signal }).catch(() => undefined);
    const at = clock.monotonic();
    const isFirst =
      before === undefined || before.since !== since || now === undefined || now.cpuMs < before.cpuMs || now.networkBytes < before.networkBytes;
    const sample: UsageSample = { cpuMs: 0, networkBytes: 0, ...now, since, at };
    samples.set(id, sample);
    if (now === undefined || (now.windowMs === undefined && (isFirst || at <= before.at))) return false;
    const isWorking =
      now.windowMs === undefined
        ? isAtWork(now.cpuMs - (before?.cpuMs ?? 0), now.networkBytes - (before?.networkBytes ?? 0), at - (before?.at ?? 0))
        : isAtWork(now.cpuMs, now.networkBytes, now.windowMs);
    if (isWorking) usage.used(id, clock.now());
    sample.measuredAt = at;
    return true;
  };

  return {
    measuredMsAgo: ({ id, deployed }) => {
      if (!deployed?.worker) return 0;
      const measuredAt = samples.get(id)?.measuredAt;
      return measuredAt === undefined ? undefined : clock.monotonic() - measuredAt;
    },
    sample: async (signal) => {
      const workers = await store.containers.idleWorkers();
      const ids = new Set(workers.map(({ id }) => id));
      samples = new Map([...samples].filter(([id]) => ids.has(id)));
      const order = new Map([...samples.keys()].map((id, index) => [id, index]));
      const orderOf = ({ id }: Pick<Container, "id">) => order.get(id) ?? -1;
      const due = workers.toSorted((one, other) => orderOf(one) - orderOf(other)).slice(0, MOST);
      const measured: string[] = [];
      const takeTurns = async () => {
        for (let next = due.shift(); next !== undefined && !signal.aborted; next = due.shift()) {
          if (await sampleOne(next, signal)) measured.push(next.id);
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, takeTurns));
      return measured;
    },
  };
}
