import type { Clock } from "../clock.ts";
import type { DeployCall, Deployment, Driver } from "../drivers/driver.ts";
import { within } from "../drivers/within.ts";
import { Fault } from "../fault.ts";
import type { Log } from "../log.ts";
import { openLimit } from "./limit.ts";
import type { Progress, Work } from "./work.ts";

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
/** A call and its calling off come over two connections, in whichever order; by then both have come. */
const LATE_MS = 120_000;
const MOST_CALLED_OFF = 10_000;
const LAST_LINES = 20;
const LAST_LINES_MS = 1_000;

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
  const places = openLimit(limits.most, "deploys");
  const flights = new Map<string, Flight>();
  const turns = new Map<string, Promise<void>>();
  /** Calls that were called off, and when; the oldest first. */
  const calledOff = new Map<string, number>();

  const inTurn = <T>(service: string, task: () => Promise<T>): Promise<T> => {
    const mine = (turns.get(service) ?? Promise.resolve()).then(task);
    const over = mine.then(
      () => undefined,
      () => undefined,
    );
    turns.set(service, over);
    void over.then(() => void (turns.get(service) === over && turns.delete(service)));
    return mine;
  };

  const begin = (wanted: Wanted, task: (call: DeployCall) => Promise<Deployment>): Flight => {
    const leave = places.enter();
    const stop = new AbortController();
    const listeners = new Set<(progress: Progress) => void>();
    const result = inTurn(wanted.service, () => timed(wanted, stop, task, (progress) => listeners.forEach((tell) => tell(progress))));
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
    flights.set(wanted.service, flight);
    const landed = () => {
      leave();
      if (flights.get(wanted.service) === flight) flights.delete(wanted.service);
    };
    // Also where nobody waits any more.
    result.then(landed, (err: unknown) => {
      landed();
      log.info({ service: wanted.service, err }, "A deploy failed.");
    });
    return flight;
  };

  async function timed(
    { service }: Wanted,
    stop: AbortController,
    task: (call: DeployCall) => Promise<Deployment>,
    tell: (progress: Progress) => void,
  ): Promise<Deployment> {
    stop.signal.throwIfAborted();
    const began = clock.monotonic();
    const overdue = async () => {
      const logs = await lastLines(service);
      const seconds = Math.round((clock.monotonic() - began) / 1_000);
      stop.abort(new Fault("START_TIMED_OUT", `${service} did not become ready within ${seconds} s.`, { logs }));
    };
    let cancel = clock.after(limits.startMs, () => void overdue());
    const onPull = (progress: Progress) => {
      tell(progress);
      if (clock.monotonic() - began > limits.capMs) return;
      cancel();
      cancel = clock.after(limits.startMs, () => void overdue());
    };
    try {
      const deployment = await task({ signal: stop.signal, onPull });
      log.info({ service, phases: deployment.phases }, "Deployed.");
      return deployment;
    } finally {
      cancel();
    }
  }

  /** Before what did not start is taken away, and its log with it. */
  async function lastLines(service: string): Promise<string[]> {
    let text = "";
    const read = async (signal: AbortSignal) => {
      for await (const piece of driver.logs(service, { tail: LAST_LINES }, { signal })) text += piece;
    };
    await within({ clock, ms: LAST_LINES_MS, overdue: () => new Error("Enough of it.") }, read).catch(() => undefined);
    return text.split(/\r?\n/).filter((line) => line !== "");
  }

  function rememberCalledOff(call: string): void {
    const now = clock.monotonic();
    for (const [one, at] of calledOff) {
      if (calledOff.size < MOST_CALLED_OFF && now - at < LATE_MS) break;
      calledOff.delete(one);
    }
    calledOff.set(call, now);
  }

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
      if (call !== undefined) rememberCalledOff(call);
      const current = flights.get(service);
      if (current && generation !== undefined && current.generation !== generation) return;
      current?.stop.abort(new Fault("DEPLOY_SUPERSEDED", `${service} was destroyed while it was deployed.`));
      const overdue = () => new Fault("STOP_TIMED_OUT", `${service} was not destroyed within ${DESTROY_MS / 1_000} s.`);
      await inTurn(service, () =>
        within({ clock, ms: DESTROY_MS, overdue }, async (signal) => {
          if (generation !== undefined && (await driver.inspect(service, { signal }))?.labels.generation !== generation) return;
          await driver.destroy(service, { signal });
        }),
      );
    },
  };
}
