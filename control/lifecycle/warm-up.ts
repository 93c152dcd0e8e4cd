import type { Driver } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Container, WarmUp } from "../model/entities.ts";
import {
  firstLearnedWeek,
  hourOf,
  type HourOfUse,
  isWorthwhile,
  learnUsualHours,
  type LocalHour,
  localHours,
  MOST_MISSES,
  type UsualHours,
} from "../model/usual-hours.ts";
import type { WarmUpMode } from "../model/warm-hours.ts";
import type { ContainerToWarm } from "../store/containers.ts";
import type { Store } from "../store/open-store.ts";
import type { LifecycleRequests } from "./desired-state.ts";

/** `containers`, `memoryPercent`: how many may be kept warm by `auto`, and with which share of the machines' memory. */
export type WarmUpOptions = { mode: WarmUpMode; zone: string; containers: number; memoryPercent: number };

/** Counts what containers do, by the hour. */
export type UseHours = {
  /** A gateway has reported use, the last of it at `at` (epoch ms), and what requests have waited since its last report. */
  used(id: string, at: number, waitMs: number): void;
  /** A cold start for a request has succeeded. */
  started(id: string): void;
  /** It ran for `ms` of the time that began at `at` (epoch ms). */
  ran(id: string, ms: number, at: number): void;
  /** Stores the hours that have ended, and learns from them. */
  turn(): Promise<void>;
  /** Stores the hour in progress. */
  close(): Promise<void>;
};

/** What a container's last weeks lead to. */
export type WarmUpAdvice = { container: ContainerToWarm; learned: UsualHours };

export type WarmUps = {
  /** Undefined: nothing is counted. */
  hours: UseHours | undefined;
  options: WarmUpOptions;
  /** Learned now. Undefined: there is no such container. */
  adviceOn(id: string): Promise<WarmUpAdvice | undefined>;
  /** Those that save the most waiting for their memory, the best first, as of the last hour. */
  suggestions(): readonly WarmUpAdvice[];
  /** Learns from what is stored; by `auto`, chooses which containers are kept warm. */
  learn(): Promise<void>;
};

export type WarmUpDeps = {
  store: Pick<Store, "containers" | "useWeeks">;
  lifecycle: Pick<LifecycleRequests, "setWarmUp">;
  driver: Pick<Driver, "capacity">;
  clock: Clock;
  log: Log;
  options: WarmUpOptions;
};

const MOST_SUGGESTIONS = 100;
/** In one hour. Only containers that exist are stored. */
const MOST_COUNTED = 100_000;
/** That wait for a store that cannot be written. */
const MOST_HOURS = 24;
const CAPACITY_MS = 5_000;
const NO_USE = { used: false, starts: 0, waitMs: 0, runMs: 0 } as const;

type UseOfHour = Map<string, Omit<HourOfUse, "hour">>;

export function createWarmUps(deps: WarmUpDeps): WarmUps {
  const { store, clock, log, options } = deps;
  let suggestions: readonly WarmUpAdvice[] = [];
  let hours = new Map<number, UseOfHour>();
  let learning: Promise<void> | undefined;
  let isClosed = false;
  let calendar: readonly LocalHour[] = [];

  const calendarNow = () => {
    if (calendar.at(-1)?.hour !== hourOf(clock.now())) calendar = localHours(options.zone, clock.now());
    return calendar;
  };
  const useAt = (id: string, at: number): Omit<HourOfUse, "hour"> => {
    const hour = hourOf(at);
    const uses: UseOfHour = hours.get(hour) ?? new Map<string, Omit<HourOfUse, "hour">>();
    hours.set(hour, uses);
    const use = uses.get(id) ?? { ...NO_USE };
    if (uses.size < MOST_COUNTED) uses.set(id, use);
    return use;
  };
  /** What could not be stored counts with what has come for the same hour meanwhile. */
  const keepForLater = (hour: number, uses: UseOfHour) => {
    const later = hours.get(hour);
    for (const [id, use] of later ?? []) {
      const { used, starts, waitMs, runMs } = uses.get(id) ?? NO_USE;
      uses.set(id, { used: used || use.used, starts: starts + use.starts, waitMs: waitMs + use.waitMs, runMs: runMs + use.runMs });
    }
    if (later !== undefined || hours.size < MOST_HOURS) hours.set(hour, uses);
  };
  const storeHours = async (isDue: (hour: number) => boolean) => {
    for (const [hour, uses] of hours) {
      if (!isDue(hour)) continue;
      hours.delete(hour);
      try {
        await store.useWeeks.add(hour, uses);
      } catch (error) {
        keepForLater(hour, uses);
        throw error;
      }
    }
  };

  /** Calls `each` with what was learned of every container that has hours. Other work gets its turn in between. */
  const learnEach = async (each: (advice: WarmUpAdvice) => void) => {
    const from = firstLearnedWeek(clock.now());
    let ids = await store.useWeeks.containers("");
    while (ids.length > 0) {
      if (isClosed) return;
      const [rows, uses] = [await store.containers.toWarm(ids), await store.useWeeks.of(ids, from)];
      for (const container of rows) {
        each({ container, learned: learnOf(container, uses.get(container.id) ?? []) });
        await new Promise(setImmediate);
      }
      ids = await store.useWeeks.containers(ids.at(-1) ?? "");
    }
  };
  const learnOf = ({ createdOn }: ContainerToWarm, use: readonly HourOfUse[]) =>
    learnUsualHours(use, { calendar: calendarNow(), zone: options.zone, since: createdOn });

  const learnAll = async () => {
    // What `auto` chose is not kept warm under another setting, and is again when the setting is back.
    if (options.mode !== "auto")
      for (const container of await store.containers.warmed()) if (container.warmUp?.by === "auto") await pause(deps, container);
    if (options.mode === "off") return;
    await store.useWeeks.removeBefore(firstLearnedWeek(clock.now()));
    let best: WarmUpAdvice[] = [];
    const warm = new Map<string, WarmUpAdvice>();
    await learnEach((advice) => {
      if (options.mode === "auto" && advice.container.warmUp?.by === "auto") warm.set(advice.container.id, advice);
      else if (isSuggested(advice)) best = byBenefit([...best, advice]).slice(0, MOST_SUGGESTIONS);
    });
    if (isClosed) return;
    suggestions = best;
    if (options.mode === "auto") await choose(deps, warm, best);
  };
  const learn = () =>
    (learning ??= learnAll()
      .catch((err: unknown) => {
        if (!isClosed) log.error({ err }, "usual hours not learned");
      })
      .finally(() => {
        learning = undefined;
      }));

  return {
    options,
    suggestions: () => suggestions,
    adviceOn: async (id) => {
      const [container] = await store.containers.toWarm([id]);
      if (!container) return undefined;
      const use = (await store.useWeeks.of([id], firstLearnedWeek(clock.now()))).get(id) ?? [];
      return { container, learned: learnOf(container, use) };
    },
    learn,
    hours:
      options.mode === "off"
        ? undefined
        : {
            used: (id, at, waitMs) => {
              const now = clock.now();
              // An open WebSocket without traffic is reported again and again.
              if (hourOf(at) !== hourOf(now) && waitMs === 0) return;
              const use = useAt(id, now);
              use.used = true;
              use.waitMs += waitMs;
            },
            started: (id) => void useAt(id, clock.now()).starts++,
            ran: (id, ms, at) => {
              useAt(id, at).runMs += ms;
            },
            turn: async () => {
              const now = hourOf(clock.now());
              if ([...hours.keys()].every((hour) => hour === now)) return;
              await storeHours((hour) => hour !== now);
              void learn();
            },
            close: async () => {
              isClosed = true;
              await learning;
              await storeHours(() => true);
              hours = new Map();
            },
          },
  };
}

/** Whether to suggest hours to a user: not for one that berth keeps warm already, or for which a user has decided. */
export function isSuggested({ container, learned }: WarmUpAdvice): boolean {
  return isUndecided(container) && mayBeWarmed(container) && isWorthwhile(learned);
}

/** Neither a user has decided, nor does `auto` keep it warm now. */
export function isUndecided({ warmUp }: Pick<Container, "warmUp">): boolean {
  return warmUp === undefined || isPaused({ warmUp });
}

/** `auto` has kept it warm, and does not now. Warm, it had no cold starts, so that it need not be worth a suggestion. */
export function isPaused({ warmUp }: Pick<Container, "warmUp">): boolean {
  return warmUp?.by === "auto" && warmUp.hours.length === 0;
}

/** What it takes while it is warm, with its least replicas. */
export function warmMemoryMb({ config: { memoryMb, replicas } }: Pick<Container, "config">): number {
  return memoryMb * Math.max(1, replicas?.min ?? 1);
}

/** Only one that is stopped for idleness has cold starts. */
function mayBeWarmed({ config }: Pick<Container, "config">): boolean {
  return config.shutdownTimeoutMinutes !== undefined;
}

/** The most saved waiting for each hour of memory first. */
function byBenefit(all: readonly WarmUpAdvice[]): WarmUpAdvice[] {
  const benefit = ({ container, learned }: WarmUpAdvice) => learned.waitMs / Math.max(1, learned.extraMs * warmMemoryMb(container));
  return all.toSorted((one, other) => benefit(other) - benefit(one));
}

/**
 * Chooses which containers `auto` keeps warm: those that it does already, then those that it did, then the best suggestions, within the bounds. One that failed, or
 * was not used in its last usual periods, pauses; the author's own keep_warm counts for more.
 */
async function choose(deps: WarmUpDeps, warm: ReadonlyMap<string, WarmUpAdvice>, best: readonly WarmUpAdvice[]) {
  const { lifecycle, driver, clock, options, log } = deps;
  let memoryMb = await memoryBound(driver, clock, options.memoryPercent);
  let places = options.containers;
  const chosen = new Set<string>();
  const before = byBenefit([...warm.values()]).toSorted((one, other) => Number(isPaused(one.container)) - Number(isPaused(other.container)));
  for (const { container, learned } of [...before, ...best]) {
    const { id, config, state } = container;
    const isHabit = learned.hours.length > 0 && learned.misses < MOST_MISSES;
    const neededMb = warmMemoryMb(container);
    if (!isHabit || state === "ERROR" || config.keepWarm || !mayBeWarmed(container) || places === 0 || neededMb > memoryMb) continue;
    places--;
    memoryMb -= neededMb;
    chosen.add(id);
    if (container.warmUp?.hours.join() === learned.hours.join()) continue;
    const warmUp: WarmUp = { hours: learned.hours, by: "auto", since: Math.trunc(clock.now()) };
    if (await lifecycle.setWarmUp(id, warmUp, "auto")) log.info({ container: id, name: container.name, hours: learned.hours }, "usual hours learned");
  }
  for (const [id, { container, learned }] of warm) {
    if (chosen.has(id)) continue;
    const mayReturn = learned.hours.length > 0 && !container.config.keepWarm && mayBeWarmed(container);
    if (!mayReturn) await lifecycle.setWarmUp(id, undefined, "auto");
    else if (!(await pause(deps, container))) continue;
    log.info({ container: id, name: container.name, misses: learned.misses }, "usual hours ended");
  }
}

/** Whether it was kept warm until now. */
async function pause({ lifecycle, clock }: Pick<WarmUpDeps, "lifecycle" | "clock">, { id, warmUp }: ContainerToWarm): Promise<boolean> {
  if (isPaused({ warmUp })) return false;
  return lifecycle.setWarmUp(id, { hours: [], by: "auto", since: Math.trunc(clock.now()) }, "auto");
}

/** In MB; without a limit where the driver reports no capacity. */
async function memoryBound(driver: Pick<Driver, "capacity">, clock: Clock, percent: number): Promise<number> {
  const overdue = () => new Fault("ENGINE_UNREACHABLE", `The container engine did not report its size within ${CAPACITY_MS / 1_000} s.`);
  const capacity = await withTimeout({ clock, ms: CAPACITY_MS, overdue }, async (limit) => driver.capacity?.({ signal: limit }));
  return capacity === undefined ? Number.POSITIVE_INFINITY : (capacity.memoryMb * percent) / 100;
}
