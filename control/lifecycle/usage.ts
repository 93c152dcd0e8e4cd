import type { Usage } from "../../drivers/driver.ts";
import type { ContainerUse, UseReport } from "../../gateway/contract.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { inTurns } from "../../lib/in-turns.ts";
import type { Log } from "../../lib/log.ts";
import type { Container } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import type { ContainerEngine } from "./engine.ts";
import type { LifecycleLimits } from "./limits.ts";

/**
 * `lostUntil`: its connection was lost, and until then (epoch ms) it may be serving all the same. `reported`: the number of the report that the uses are
 * from.
 */
type GatewayUsage = { seq: number; uses: ReadonlyMap<string, ContainerUse>; reported: number; lostUntil?: number };

/** Uses that are looked at in one turn of the event loop: some milliseconds. A gateway may report a hundred thousand. */
const IN_ONE_TURN = 2_000;

/** How the gateways use the containers, as far as they have reported; the process loses only a few seconds of `lastActive` when it ends. */
export type ContainerUsage = {
  /** `seq`: the newest change that the gateway has received for certain; 0: none. `was`: its name before it lost the connection; what it had open then counts until it reports. */
  joined(gateway: string, seq: number, was?: string): void;
  /** Its reports have stopped, but what it had open counts until `left`, which is to come at `until` (epoch ms) unless it joins again. */
  lost(gateway: string, until: number): void;
  /** Resolves with the containers that it had in use. */
  left(gateway: string): Promise<string[]>;
  /** How many gateway processes are connected, or may be serving all the same. */
  gateways(): number;
  /** Resolves with the containers whose last open request ended with this report. All of it counts at once, unless a newer one has come meanwhile. */
  report(report: UseReport): Promise<string[]>;
  /** It was used at `at` (epoch ms), past the gateways. */
  used(id: string, at: number): void;
  /** Epoch ms: until then some gateway may be using containers without a report; 0 where none does. */
  uncertainUntil(): number;
  /** HTTP requests in progress, at all gateways. */
  open(id: string): number;
  /** WebSockets that have reached it; at least, since requests that are held hide one each. */
  sockets(id: string): number;
  /** True where an HTTP request has reached it and is in progress: one that is held for it counts as open, but has not. */
  reached(id: string): boolean;
  /** For how long gateways may still be joining, in milliseconds; 0: all have. */
  joiningMs(): number;
  /**
   * True once every gateway has joined and received change `seq`, and none has an exchange with this container open. `except`: further replicas, whose exchanges are
   * counted in the container's own.
   */
  drained(id: string, seq: number, except?: readonly string[]): boolean;
  /** Epoch ms; 0 where it was not used since this process started. */
  lastActive(id: string): number;
  /** The clock was set back: uses of a later time count as of now. Returns their containers. */
  repairClockSkew(): string[];
  /** What `lastActive` has changed since the last call. */
  takeFresh(): Map<string, number>;
  /** Puts back what could not be written. */
  keepFresh(fresh: ReadonlyMap<string, number>): void;
  forget(id: string): void;
};

/** `joinMs`: as in `LifecycleLimits`, from now on. */
export function createUsage({ now, monotonic }: Pick<Clock, "now" | "monotonic">, joinMs: number): ContainerUsage {
  const joinedBy = monotonic() + joinMs;
  const joiningMs = () => Math.max(0, joinedBy - monotonic());
  const gateways = new Map<string, GatewayUsage>();
  const lastActive = new Map<string, number>();
  let fresh = new Map<string, number>();
  let reports = 0;

  const touch = (id: string, at: number) => {
    if (at <= (lastActive.get(id) ?? 0)) return;
    lastActive.set(id, at);
    fresh.set(id, at);
  };
  const sum = (id: string, of: (use: ContainerUse) => number) => {
    let total = 0;
    for (const { uses } of gateways.values()) {
      const use = uses.get(id);
      if (use) total += of(use);
    }
    return total;
  };
  const open = (id: string) => sum(id, (use) => use.open);
  /** Those that it had open until now, and of which `next` has none. An open request is activity by itself, so its end is the last moment of use. */
  const closing = async (before: GatewayUsage | undefined, next?: GatewayUsage["uses"]): Promise<string[]> => {
    const ids: string[] = [];
    await inTurns(before?.uses.values() ?? [], IN_ONE_TURN, ({ id, open: count }) => {
      if (count === 0 || (next?.get(id)?.open ?? 0) > 0) return;
      ids.push(id);
      touch(id, now());
    });
    return ids;
  };

  return {
    joined: (gateway, seq, was = "") => {
      const { uses = new Map<string, ContainerUse>() } = gateways.get(was) ?? {};
      gateways.delete(was);
      gateways.set(gateway, { seq, uses, reported: 0 });
    },
    lost: (gateway, until) => {
      const usage = gateways.get(gateway);
      if (usage) usage.lostUntil = until;
    },
    used: touch,
    gateways: () => gateways.size,
    uncertainUntil: () => Math.max(0, ...[...gateways.values()].map(({ lostUntil = 0 }) => lostUntil)),
    left: async (gateway) => {
      const before = gateways.get(gateway);
      await closing(before);
      gateways.delete(gateway);
      return [...(before?.uses.keys() ?? [])];
    },
    report: async ({ gateway, seq, at, uses }) => {
      const reported = ++reports;
      const aheadMs = at === undefined ? 0 : at - now();
      const next = new Map<string, ContainerUse>();
      // A report that overtook its feed's end, or that came before its begin: it counts as use, but no drain may wait for its sender.
      await inTurns(uses, IN_ONE_TURN, (use) => {
        touch(use.id, Math.min(use.lastActive - aheadMs, now()));
        next.set(use.id, use);
      });
      for (;;) {
        const before = gateways.get(gateway);
        if (before === undefined || before.reported > reported) return [];
        const closed = await closing(before, next);
        // Another report of it, or its end, came meanwhile.
        if (gateways.get(gateway) !== before) continue;
        gateways.set(gateway, { seq: Math.max(before.seq, seq), uses: next, reported });
        const ended: string[] = [];
        await inTurns(closed, IN_ONE_TURN, (id) => {
          if (open(id) === 0) ended.push(id);
        });
        return ended;
      }
    },
    open,
    sockets: (id) => sum(id, (use) => Math.max(0, use.streams - use.open)),
    joiningMs,
    reached: (id) => sum(id, (use) => Math.min(use.open, use.streams)) > 0,
    drained: (id, seq, except = []) => {
      const streams = (of: string) => sum(of, (use) => use.streams);
      if (joiningMs() > 0 || ![...gateways.values()].every((gateway) => gateway.seq >= seq)) return false;
      return except.reduce((left, one) => left - streams(one), streams(id)) <= 0;
    },
    lastActive: (id) => lastActive.get(id) ?? 0,
    repairClockSkew: () => {
      const at = now();
      const later = [...lastActive].filter(([, usedOn]) => usedOn > at).map(([id]) => id);
      for (const id of later) {
        lastActive.set(id, at);
        fresh.set(id, at);
      }
      return later;
    },
    takeFresh: () => {
      const taken = fresh;
      fresh = new Map();
      return taken;
    },
    keepFresh: (unwritten) => {
      for (const [id, at] of unwritten) if (!fresh.has(id)) fresh.set(id, at);
    },
    forget: (id) => {
      lastActive.delete(id);
      fresh.delete(id);
    },
  };
}

type UseRecordDeps = {
  store: Pick<Store, "containers">;
  usage: Pick<ContainerUsage, "takeFresh" | "keepFresh">;
  clock: Clock;
  flushMs: number;
  log: Log;
};

/** Stores the last use of containers now and then, and at the end. */
export function openUseRecord({ store, usage, clock, flushMs, log }: UseRecordDeps): { start(): void; close(): Promise<void> } {
  /** What could not be written is written with the next flush. */
  const flush = async () => {
    const fresh = usage.takeFresh();
    if (fresh.size === 0) return;
    try {
      await store.containers.touch(fresh);
    } catch (error) {
      usage.keepFresh(fresh);
      log.error({ err: error }, "last use not stored");
    }
  };
  let cancel = () => {};
  let flushing = Promise.resolve();
  const start = () => {
    cancel = clock.after(flushMs, () => {
      flushing = flush();
      start();
    });
  };
  return {
    start,
    close: async () => {
      cancel();
      await flushing;
      await flush();
    },
  };
}

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
