import type { Clock } from "../../../lib/clock.ts";
import type { DeployCall, Deployment, Driver } from "../../driver.ts";
import { withTimeout } from "../../../lib/deadline.ts";
import { Fault } from "../../../lib/fault.ts";
import type { Log } from "../../../lib/log.ts";
import { createBulkhead, type PullProgress, type Work } from "./work.ts";

/** Which deploy it is. */
export type Wanted = {
  service: string;
  /** Whose: nobody else's takes the place of one that is under way. */
  owner: string;
  /** Of one owner, what is the same deploy however often it is asked for. */
  identity: string;
  /** Counts the definitions of one owner, who may not count. */
  generation: number | undefined;
};

/** What is to be destroyed: all of it, or only a generation, and what one call began or may still begin. */
export type Doomed = { generation?: number | undefined; call?: string | undefined };

export type DeployLimits = {
  /** Deploys under way or waiting for their turn. */
  most: number;
  /** How long one may take, from its turn or the last progress of a pull on; and in all. Milliseconds. */
  startMs: number;
  capMs: number;
};

export const DEPLOY_LIMITS: DeployLimits = { most: 64, startMs: 300_000, capMs: 30 * 60_000 };

/** Stopping takes its grace time, removing what the engine needs. */
const DESTROY_MS = 90_000;

type Flight = Wanted & { work: Work<Deployment>; stop: AbortController };

export type Deploys = {
  /**
   * Begins a deploy, which nobody's going away ends, or joins the one that is the same. A newer one of the same owner ends the one under way,
   * and begins when that has cleaned up. Faults: SPAWNER_BUSY; DEPLOY_UNDER_WAY where it is not its turn to replace that; DEPLOY_SUPERSEDED where
   * this very `call` was called off before it came. Those who wait hear: START_TIMED_OUT, DEPLOY_SUPERSEDED, and what `task` fails with.
   */
  deploy(wanted: Wanted, call: string | undefined, task: (call: DeployCall) => Promise<Deployment>): Work<Deployment>;
  /** Ends a deploy that is under way and destroys the service, or what of it is doomed. */
  destroy(service: string, doomed?: Doomed): Promise<void>;
};

/** At any time one deploy or destroy of each service, in the order in which they were asked for. */
export function openDeploys(parts: { driver: Driver; limits: DeployLimits; clock: Clock; log: Log }): Deploys {
  const { driver, limits, clock, log } = parts;
  const places = createBulkhead(limits.most, "deploys");
  const flights = new Map<string, Flight>();
  const { inTurn } = createKeyedMutex();
  const calledOff = createCancelledCalls(clock);

  const begin = (wanted: Wanted, task: (call: DeployCall) => Promise<Deployment>): Flight => {
    const leave = places.enter();
    const stop = new AbortController();
    const listeners = new Set<(progress: PullProgress) => void>();
    const tell = (progress: PullProgress) => listeners.forEach((listener) => listener(progress));
    const { service } = wanted;
    const result = inTurn(service, () => timedDeploy({ ...limits, service, driver, stop, clock }, tell, task));
    const flight: Flight = {
      ...wanted,
      stop,
      work: {
        result,
        hear: (listener) => {
          listeners.add(listener);
          return () => void listeners.delete(listener);
        },
      },
    };
    flights.set(service, flight);
    const landed = (fields: object, sentence: string) => {
      leave();
      if (flights.get(service) === flight) flights.delete(service);
      log.info({ service, ...fields }, sentence);
    };
    // Also where nobody waits any more.
    result.then(
      ({ phases }) => landed({ phases }, "Deployed."),
      (err: unknown) => landed({ err }, "A deploy failed."),
    );
    return flight;
  };

  return {
    deploy: (wanted, call, task) => {
      if (call !== undefined && calledOff.has(call)) throw new Fault("DEPLOY_SUPERSEDED", `This deploy of ${wanted.service} was called off.`);
      const current = flights.get(wanted.service);
      if (!current || current.stop.signal.aborted) return begin(wanted, task).work;
      if (current.owner !== wanted.owner)
        throw new Fault("DEPLOY_UNDER_WAY", `${wanted.service} is being deployed for somebody else; ask again when that is over.`);
      if (current.identity === wanted.identity) return current.work;
      if ((wanted.generation ?? 0) < (current.generation ?? 0))
        throw new Fault("DEPLOY_UNDER_WAY", `A newer definition of ${wanted.service} is being deployed, generation ${current.generation}.`);
      const next = begin(wanted, task);
      current.stop.abort(new Fault("DEPLOY_SUPERSEDED", `Another definition of ${wanted.service} was asked for while this one was deployed.`));
      return next.work;
    },
    destroy: async (service, { generation, call } = {}) => {
      if (call !== undefined) calledOff.add(call);
      const current = flights.get(service);
      if (current && generation !== undefined && current.generation !== generation) return;
      current?.stop.abort(new Fault("DEPLOY_SUPERSEDED", `${service} was destroyed while it was deployed.`));
      const overdue = () => new Fault("STOP_TIMED_OUT", `${service} was not destroyed within ${DESTROY_MS / 1_000} s.`);
      await inTurn(service, () =>
        withTimeout({ clock, ms: DESTROY_MS, overdue }, async (signal) => {
          if (generation !== undefined && (await driver.inspect(service, { signal }))?.labels.generation !== generation) return;
          await driver.destroy(service, { signal });
        }),
      );
    },
  };
}

/** A call and its calling off come over two connections, in whichever order; by then both have come. Milliseconds. */
const LATE_MS = 120_000;
const MOST = 10_000;

/** Calls that were called off, perhaps before they came. */
export type CancelledCalls = { add(call: string): void; has(call: string): boolean };

export function createCancelledCalls(clock: Clock): CancelledCalls {
  /** The oldest first. */
  const since = new Map<string, number>();
  return {
    has: (call) => since.has(call),
    add: (call) => {
      const now = clock.monotonic();
      for (const [one, at] of since) {
        if (since.size < MOST && now - at < LATE_MS) break;
        since.delete(one);
      }
      since.set(call, now);
    },
  };
}

/** What is done with one thing is done one after the other, in the order in which it was asked for; with others at the same time. */
export type KeyedMutex = { inTurn<T>(key: string, task: () => Promise<T>): Promise<T> };

export function createKeyedMutex(): KeyedMutex {
  const last = new Map<string, Promise<void>>();
  return {
    inTurn: (key, task) => {
      const mine = (last.get(key) ?? Promise.resolve()).then(task);
      const over = mine.then(
        () => undefined,
        () => undefined,
      );
      last.set(key, over);
      void over.then(() => void (last.get(key) === over && last.delete(key)));
      return mine;
    },
  };
}

const LAST_LINES = 20;
const LAST_LINES_MS = 1_000;

/**
 * Runs a deploy for `startMs`, from now or the last progress of a pull on, which pushes the end back for `capMs` in all. Then aborts `stop`, whose
 * reason tells the container's last lines: they are asked for before the driver takes it away. Faults: START_TIMED_OUT, and what `task` fails with.
 */
export async function timedDeploy(
  parts: { service: string; driver: Pick<Driver, "logs">; startMs: number; capMs: number; stop: AbortController; clock: Clock },
  tell: (progress: PullProgress) => void,
  task: (call: DeployCall) => Promise<Deployment>,
): Promise<Deployment> {
  const { service, driver, startMs, capMs, stop, clock } = parts;
  stop.signal.throwIfAborted();
  const began = clock.monotonic();
  const overdue = async () => {
    const logs = await lastLines(driver, service, clock);
    const seconds = Math.round((clock.monotonic() - began) / 1_000);
    stop.abort(new Fault("START_TIMED_OUT", `${service} did not become ready within ${seconds} s.`, { logs }));
  };
  const arm = () => clock.after(startMs, () => void overdue());
  let cancel = arm();
  const onPull = (progress: PullProgress) => {
    tell(progress);
    if (clock.monotonic() - began > capMs) return;
    cancel();
    cancel = arm();
  };
  try {
    return await task({ signal: stop.signal, onPull });
  } finally {
    cancel();
  }
}

async function lastLines(driver: Pick<Driver, "logs">, service: string, clock: Clock): Promise<string[]> {
  let text = "";
  const read = async (signal: AbortSignal) => {
    for await (const piece of driver.logs(service, { tail: LAST_LINES }, { signal })) text += piece;
  };
  await withTimeout({ clock, ms: LAST_LINES_MS, overdue: () => new Error("Enough of it.") }, read).catch(() => undefined);
  return text.split(/\r?\n/).filter((line) => line !== "");
}
