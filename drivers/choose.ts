import { Fault } from "../lib/fault.ts";
import { unansweredFault } from "./faults.ts";
import { type DriverName, type Call, type Driver, DRIVER_VERBS, type DriverVerb } from "./driver.ts";
import type { Clock } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import { createBackoff } from "../lib/backoff.ts";
import { withTimeout } from "../lib/deadline.ts";

/** What of the settings decides which orchestrator is meant. */
export type DriverChoice = {
  /** `BERTH_DRIVER`. */
  wished: DriverName | "auto";
  /** `GROK_SPAWNER_FORCE_DOCKER_TYPE_HOST`. */
  forceDocker: boolean;
  /** A cluster is named in either block of ECS's settings. */
  ecs: boolean;
  /** Kubernetes' namespace or kubeconfig is set. */
  kubernetes: boolean;
};

/**
 * The one orchestrator that the settings mean, as grok_spawner chooses it; "ask" where the Docker engine behind the socket must say whether it
 * manages a swarm (`chooseOnEngine`). Plain processes are never chosen: what isolates nothing is named. Faults: SETTINGS_INVALID.
 */
export function chooseDriver({ wished, forceDocker, ecs, kubernetes }: DriverChoice): DriverName | "ask" {
  if (wished !== "auto") return wished;
  if (forceDocker) return "docker";
  if (ecs && kubernetes) {
    const sentence = "Both an ECS cluster and Kubernetes are set, and berth speaks to one orchestrator: unset one, or name it in BERTH_DRIVER.";
    throw new Fault("SETTINGS_INVALID", sentence);
  }
  if (ecs) return "ecs";
  return kubernetes ? "kubernetes" : "ask";
}

export function chooseOnEngine(engine: { managesSwarm: boolean }): DriverName {
  return engine.managesSwarm ? "swarm" : "docker";
}

const RETRY_MS = { first: 250, longest: 10_000 };
const CHOICE_MS = 60_000;

export type DeferredChoice = {
  /** Asks and opens; repeated until it succeeds once. Faults: ENGINE_UNREACHABLE and others of a call. */
  choose(signal: AbortSignal): Promise<Driver>;
  /** What it is called, and whether it pulls, until then. */
  meanwhile: Pick<Driver, "name" | "pulls">;
  clock: Clock;
  log: Log;
};

/**
 * A driver of which the engine says which it is. Each call asks until it has said so once, and fails as the asking does: control starts while the
 * engine is away.
 */
export function deferredDriver({ choose, meanwhile, clock, log }: DeferredChoice): Driver {
  let chosen: Driver | undefined;
  let choosing: Promise<Driver> | undefined;
  const closing = new AbortController();
  const choice = async () => {
    const driver = await choose(closing.signal);
    chosen = driver;
    return driver;
  };
  const get = async (signal: AbortSignal): Promise<Driver> => {
    signal.throwIfAborted();
    if (chosen) return chosen;
    choosing ??= choice().finally(() => {
      choosing = undefined;
    });
    const asked = choosing;
    asked.catch(() => {});
    const overdue = () => unansweredFault(`The container engine did not report within ${CHOICE_MS / 1000} s what it is`);
    // Whoever gives up waiting leaves the question to others.
    return withTimeout({ clock, ms: CHOICE_MS, overdue, signal }, () => asked);
  };
  const calls = Object.fromEntries(
    DRIVER_VERBS.map((verb) => [
      verb,
      async (...args: never[]) => {
        const driver = (await get((args.at(-1) as unknown as Call).signal)) as Partial<Record<DriverVerb, (...args: never[]) => Promise<unknown>>>;
        // A driver without `pause` pauses nothing.
        return (await driver[verb]?.(...args)) ?? (verb === "pause" ? false : undefined);
      },
    ]),
  ) as unknown as Required<Pick<Driver, DriverVerb>>;
  return {
    get name(): DriverName {
      return (chosen ?? meanwhile).name;
    },
    ...(meanwhile.pulls ? { pulls: meanwhile.pulls } : {}),
    ...calls,
    logs: async function* (service, options, call) {
      yield* (await get(call.signal)).logs(service, options, call);
    },
    events: async function* (call) {
      const delays = createBackoff(RETRY_MS.first, RETRY_MS.longest);
      for (let told = false; !call.signal.aborted; told = true) {
        const driver = await get(call.signal).catch((error: unknown) => {
          if (!told && !call.signal.aborted) log.warn({ err: error }, "The container engine cannot be asked what it is; asking again.");
        });
        if (driver) return yield* driver.events(call);
        await clock.sleep(delays.next(), call.signal).catch(() => {});
      }
    },
    close: async () => {
      closing.abort(new Error("Closing."));
      await choosing?.catch(() => {});
      await chosen?.close();
    },
  };
}
