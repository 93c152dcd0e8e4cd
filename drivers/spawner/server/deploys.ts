import type { Clock } from "../../../lib/clock.ts";
import { openDeadline, withTimeout } from "../../../lib/deadline.ts";
import { ExpiringMap } from "../../../lib/expiring-map.ts";
import { Fault } from "../../../lib/fault.ts";
import { createKeyedMutex } from "../../../lib/keyed-mutex.ts";
import type { Log } from "../../../lib/log.ts";
import type { DeployCall, Deployment, OwnedCall, Driver, Labels } from "../../driver.ts";
import { linesOf, LOG_TAIL_LINES } from "../../faults.ts";
import { createBulkhead, type PullProgress, type Work } from "./work.ts";

/** Identifies a deploy. */
export type DeployKey = {
  service: string;
  /** A deploy of another owner is refused while this one runs. */
  owner: string;
  /** Requests of one owner with the same identity are the same deploy. */
  identity: string;
  /** Counts the definitions of one owner; undefined if the owner does not count. */
  generation: number | undefined;
};

/** Limits a destroy to one generation and one owner, and cancels the deploy that one call began or may still begin. */
type DestroyFilter = { generation?: number | undefined; call?: string | undefined; owner?: OwnedCall["owner"] };

/** The owner of a deploy, by its labels. */
export function ownerOf({ store, container }: Pick<Labels, "store" | "container">): string {
  return `${store} ${container}`;
}

export type DeployLimits = {
  /** Running and waiting deploys. */
  most: number;
  /**
   * The time limit of a deploy since its begin or the last progress of its pull, and the limit of these extensions. Milliseconds. berth's control has a limit
   * of its own and cancels what exceeds it, by the id of its call: there only the second one counts.
   */
  startMs: number;
  capMs: number;
};

export const DEPLOY_LIMITS: DeployLimits = { most: 64, startMs: 300_000, capMs: 30 * 60_000 };

/** The grace time of a stop, and the engine's time to remove. */
const DESTROY_MS = 310_000;

type RunningDeploy = DeployKey & { work: Work<Deployment>; stop: AbortController };

export type Deploys = {
  /**
   * Begins a deploy, or joins the same one. It continues when its clients go away. A newer one of the same owner aborts the current one, and begins after
   * its cleanup. Faults: SPAWNER_BUSY; DEPLOY_UNDER_WAY if it may not replace the current one; DEPLOY_SUPERSEDED if this `call` was cancelled before it
   * arrived. The work fails with START_TIMED_OUT, DEPLOY_SUPERSEDED or the fault of `task`.
   */
  deploy(key: DeployKey, call: string | undefined, task: (call: DeployCall) => Promise<Deployment>): Work<Deployment>;
  /** Aborts the current deploy and destroys the service, within the filter. Faults: SPEC_REFUSED for another owner's. */
  destroy(service: string, filter?: DestroyFilter): Promise<void>;
  isDeploying(service: string): boolean;
};

/** At most one deploy or destroy of each service at a time, in the order of the requests. */
export function openDeploys({ driver, limits, clock, log }: { driver: Driver; limits: DeployLimits; clock: Clock; log: Log }): Deploys {
  const bulkhead = createBulkhead(limits.most, "deploys");
  const deploys = new Map<string, RunningDeploy>();
  const inTurn = createKeyedMutex();
  /** Calls that were cancelled, perhaps before they arrived. */
  const cancelled = new ExpiringMap<string, true>({ ms: LATE_MS, most: MOST_CANCELLED, clock });

  const begin = (key: DeployKey, call: string | undefined, task: (call: DeployCall) => Promise<Deployment>): RunningDeploy => {
    const leave = bulkhead.enter();
    const stop = new AbortController();
    const listeners = new Set<(progress: PullProgress) => void>();
    const notify = (progress: PullProgress) => listeners.forEach((listener) => listener(progress));
    const { service } = key;
    const result = inTurn(service, () =>
      timedDeploy({ ...limits, startMs: call === undefined ? limits.startMs : limits.capMs, service, driver, stop, clock }, notify, task),
    );
    const running: RunningDeploy = {
      ...key,
      stop,
      work: {
        result,
        onProgress: (listener) => {
          listeners.add(listener);
          return () => void listeners.delete(listener);
        },
      },
    };
    deploys.set(service, running);
    const finish = (fields: object, message: "service deployed" | "deploy failed") => {
      leave();
      if (deploys.get(service) === running) deploys.delete(service);
      log.info({ service, ...fields }, message);
    };
    // The clients may have gone away.
    result.then(
      ({ phases }) => finish({ phases }, "service deployed"),
      (err: unknown) => finish({ err }, "deploy failed"),
    );
    return running;
  };

  return {
    isDeploying: (service) => deploys.has(service),
    deploy: (key, call, task) => {
      const { service } = key;
      if (call !== undefined && cancelled.get(call)) throw new Fault("DEPLOY_SUPERSEDED", `This deploy of ${service} was cancelled.`);
      const current = deploys.get(service);
      if (!current || current.stop.signal.aborted) return begin(key, call, task).work;
      if (current.owner !== key.owner)
        throw new Fault("DEPLOY_UNDER_WAY", `${service} is being deployed for another owner; ask again when that is over.`);
      if (current.identity === key.identity) return current.work;
      if ((key.generation ?? 0) < (current.generation ?? 0))
        throw new Fault("DEPLOY_UNDER_WAY", `A newer definition of ${service} is being deployed, generation ${current.generation}.`);
      const next = begin(key, call, task);
      current.stop.abort(new Fault("DEPLOY_SUPERSEDED", `Another definition of ${service} was requested while this one was deployed.`));
      return next.work;
    },
    destroy: async (service, { generation, call, owner } = {}) => {
      if (call !== undefined) cancelled.set(call, true);
      const current = deploys.get(service);
      if (current && generation !== undefined && current.generation !== generation) return;
      if (current && owner && current.owner !== ownerOf(owner))
        throw new Fault("SPEC_REFUSED", `${service} is being deployed for another owner, so it is not destroyed.`);
      current?.stop.abort(new Fault("DEPLOY_SUPERSEDED", `${service} was destroyed while it was deployed.`));
      const overdue = () => new Fault("STOP_TIMED_OUT", `${service} was not destroyed within ${DESTROY_MS / 1_000} s.`);
      await inTurn(service, () =>
        withTimeout({ clock, ms: DESTROY_MS, overdue }, async (signal) => {
          if (generation !== undefined && (await driver.inspect(service, { signal }))?.labels.generation !== generation) return;
          await driver.destroy(service, { signal, owner });
          log.info({ service }, "service destroyed");
        }),
      );
    },
  };
}

/** A call and its cancellation use two connections, and arrive in any order within this time. Milliseconds. */
const LATE_MS = 120_000;
const MOST_CANCELLED = 10_000;

const LOG_TAIL_MS = 1_000;

type DeployTimer = { service: string; driver: Pick<Driver, "logs">; startMs: number; capMs: number; stop: AbortController; clock: Clock };

/**
 * Runs a deploy for at most `startMs`. Progress of a pull begins this time again, for `capMs` in all. Then aborts `stop`, with the container's log tail,
 * which is read before the driver removes the container. Faults: START_TIMED_OUT, and those of `task`.
 */
async function timedDeploy(
  { service, driver, startMs, capMs, stop, clock }: DeployTimer,
  notify: (progress: PullProgress) => void,
  task: (call: DeployCall) => Promise<Deployment>,
): Promise<Deployment> {
  stop.signal.throwIfAborted();
  const began = clock.monotonic();
  let logs: string[] = [];
  const deadline = openDeadline({
    clock,
    ms: startMs,
    // Progress at the end of `capMs` counts in full.
    capMs: capMs + startMs,
    beforeAbort: async () => void (logs = await readLogTail(driver, service, clock)),
    overdue: () => {
      const seconds = Math.round((clock.monotonic() - began) / 1_000);
      return new Fault("START_TIMED_OUT", `${service} did not become ready within ${seconds} s.`, { logs });
    },
    signal: stop.signal,
  });
  const { signal } = deadline;
  signal.addEventListener("abort", () => stop.abort(signal.reason), { once: true });
  const onPull = (progress: PullProgress) => {
    notify(progress);
    deadline.extend();
  };
  try {
    return await task({ signal, onPull });
  } finally {
    deadline.close();
  }
}

async function readLogTail(driver: Pick<Driver, "logs">, service: string, clock: Clock): Promise<string[]> {
  let text = "";
  const read = async (signal: AbortSignal) => {
    for await (const piece of driver.logs(service, { tail: LOG_TAIL_LINES, timestamps: true }, { signal })) text += piece;
  };
  await withTimeout({ clock, ms: LOG_TAIL_MS, overdue: () => new Error("The log took too long.") }, read).catch(() => undefined);
  return linesOf(text);
}
