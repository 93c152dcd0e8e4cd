import type { Clock } from "../../lib/clock.ts";
import { BoundedMap } from "../../lib/bounded-map.ts";
import { backoffDelay } from "../../lib/backoff.ts";
import { Fault, type FaultData } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { ContainerView, Directory, Availability, Identity } from "../contract.ts";
import { openCallerCache, LOOKUP_LIMITS } from "../feed/caller-cache.ts";
import { WRONG_TOKENS } from "../feed/wrong-tokens.ts";
import { createWatchers } from "../feed/container-cache.ts";
import { accepts, createDatagrokStarts } from "./starts.ts";
import { type DatagrokClient, openDatagrokClient, serverAway, serverBusy, findCaller, listPages, signInWithKey } from "./datagrok-client.ts";
import { createContainerLookups } from "./container-lookups.ts";
import { readContainer, type DatagrokContainer } from "./read-container.ts";

export type DatagrokDirectory = {
  directory: Directory;
  identity: Identity;
  /** Resolves once the server has answered something. */
  ready(): Promise<void>;
  close(): Promise<void>;
};

const HEARD_MS = 5_000;
/** Starts that the server may hold at a time; look-ups have connections of their own, so that none waits behind one. */
const MOST_RUNS = 256;
const MOST_LOOKS = 32;
/** A token that is unknown to that server may become valid later. */
const WRONG_MS = 2_000;
/** A start that failed is tried again by a request after this, which doubles up to the longest. */
const RUN_RETRY = { firstMs: 1_000, longestMs: 60_000 };
/** A container that refused a connection is looked at again so often, in ms; its caller is answered by then. */
const DOUBTS_MS = [0, 250, 500, 500];
const ASK_RETRY = { firstMs: 250, longestMs: 5_000 };

const MOST_FAILURES = 10_000;

type Failure = { fault: FaultData; retryAt: number; times: number };

/**
 * Who calls and where containers are, asked of an existing Datagrok server with each caller's own token. What sleeps is run by that server, once
 * for all who wait. `url` is its API, with `/api`; `runMs`: how long anybody waits for a start; `key`: a developer key, to look at the start
 * for containers that server would stop in use.
 */
export function openDatagrok(parts: { url: string; key: string | undefined; runMs: number; clock: Clock; log: Log }): DatagrokDirectory {
  const { url, key, runMs, clock, log } = parts;
  const closed = new AbortController();
  const server = openDatagrokClient({ url, connections: MOST_LOOKS, clock });
  const runs = openDatagrokClient({ url, connections: MOST_RUNS, clock });
  const failures = new BoundedMap<string, Failure>(MOST_FAILURES);
  const watching = createWatchers();
  const warn = idleStopWarnings(log);

  /** What the server says, but for a start that failed here before, and for one that is started and was not reached yet. */
  const viewOf = (view: ContainerView): ContainerView => {
    const { id, availability } = view;
    if (availability.kind === "awake") return wakes.isUnderWay(id) ? { ...view, availability: { kind: "coming" } } : view;
    const failure = failures.get(id);
    if (failure === undefined || (availability.kind !== "asleep" && availability.kind !== "failed")) return view;
    return { ...view, availability: { kind: "failed", fault: failure.fault, wakeable: isWakeable(availability), retryAt: failure.retryAt } };
  };
  const tell = (id: string) => {
    const seen = lookUps.seen(id);
    if (seen !== undefined) watching.tell(id, viewOf(seen.view));
  };
  const lookUps = createContainerLookups({
    server,
    clock,
    closed: closed.signal,
    changed: (seen) => {
      warn(seen);
      tell(seen.view.id);
    },
  });
  const wakes = createDatagrokStarts({ server: runs, lookUps, accepts: (address, signal) => accepts(address, signal, clock), runMs, clock });

  const follow = async (id: string, token: string, run: boolean): Promise<void> => {
    try {
      await wakes.follow(id, token, run);
      failures.delete(id);
    } catch (error) {
      if (error instanceof Fault && error.code === "CONTAINER_NOT_READY") remember(id, error);
      throw error;
    } finally {
      tell(id);
    }
  };
  const remember = (id: string, fault: Fault) => {
    const times = (failures.get(id)?.times ?? 0) + 1;
    const retryAt = clock.now() + backoffDelay(RUN_RETRY, times);
    failures.set(id, { fault: fault.toJSON(), retryAt, times });
  };

  /** Somebody else has started it: whoever may see it sees for all who wait. */
  const goAlong = async (id: string): Promise<void> => {
    for (const token of lookUps.admitted(id)) {
      try {
        return await follow(id, token, false);
      } catch (error) {
        if (!(error instanceof Fault)) return;
        if (error.code === "NOT_PERMITTED" || error.code === "TOKEN_INVALID") continue;
        const seen = lookUps.seen(id);
        if (error.code === "CONTAINER_NOT_FOUND") watching.tell(id, undefined);
        // Those who wait hear why, the next one asks anew.
        else if (seen?.transient === true) watching.tell(id, { ...seen.view, availability: failedNow(error, clock.now()) });
        return;
      }
    }
  };

  /** It refused a connection: asks past the cache until it is elsewhere, for as long as its caller waits for that. */
  const doubt = async (id: string, token: string, before: string): Promise<void> => {
    for (const ms of DOUBTS_MS) {
      await clock.sleep(ms, closed.signal);
      if (!watching.has(id)) return;
      const seen = await lookUps.look(id, token, closed.signal);
      // Also where nothing is new: who came to wait just as it was seen to have started would otherwise hear nothing.
      tell(id);
      if (JSON.stringify(seen?.view.availability) !== before) return;
    }
  };

  const heard = untilHeard(server, clock, closed.signal);
  if (key !== undefined) void heard.then(() => warnOfAll(server, key, warn, log, closed.signal));
  const identity = openCallerCache({
    clock,
    closed: closed.signal,
    full: serverBusy,
    wrongTokens: { ...WRONG_TOKENS, rememberMs: WRONG_MS },
    lookupLimits: { ...LOOKUP_LIMITS, atOnce: MOST_LOOKS, ofOne: (MOST_LOOKS * 3) / 4 },
    findCallers: (tokens, signal) => Promise.all(tokens.map((token) => findCaller(server, token, signal))),
  });

  return {
    identity,
    directory: {
      cached: (id, { token }) => {
        const view = lookUps.known(id, token);
        return view && viewOf(view);
      },
      find: async (id, { token }, signal) => {
        const seen = await lookUps.find(id, token, signal);
        return seen && viewOf(seen.view);
      },
      watch: (id, onChange) => {
        const unwatch = watching.add(id, onChange);
        if (lookUps.seen(id)?.transient === true && !wakes.isUnderWay(id)) void goAlong(id);
        return () => {
          unwatch();
          if (!watching.has(id)) wakes.breakOff(id);
        };
      },
      wake: async (id, { token }) => {
        const availability = lookUps.seen(id)?.view.availability;
        if (availability?.kind === "awake" && !wakes.isUnderWay(id)) return doubt(id, token, JSON.stringify(availability));
        await follow(id, token, true);
      },
      // That server has no ear for any of it, and asks nothing.
      reportUse: () => undefined,
      reportConnected: () => undefined,
      reportBusy: () => undefined,
      close: () => Promise.resolve(),
    },
    ready: () => heard,
    close: async () => {
      closed.abort(serverAway("is no longer asked"));
      await identity.close();
      server.close();
      runs.close();
    },
  };
}

async function untilHeard(server: DatagrokClient, clock: Clock, signal: AbortSignal): Promise<void> {
  for (let tries = 1; !signal.aborted; tries++) {
    try {
      // Nobody's token: that it is refused is an answer too.
      await server.get("/info/server", "-", { signal, limitMs: HEARD_MS });
      return;
    } catch {
      await clock.sleep(backoffDelay(ASK_RETRY, tries), signal).catch(() => undefined);
    }
  }
}

function isWakeable(availability: Availability): boolean {
  return availability.kind === "asleep" || (availability.kind === "failed" && availability.wakeable);
}

function failedNow(fault: Fault, now: number): Availability {
  return { kind: "failed", fault: fault.toJSON(), wakeable: true, retryAt: now };
}

const MOST_WARNINGS = 10_000;

/** Says of each container once that the server will stop it in use: it hears nothing of calls that go past it. */
export function idleStopWarnings(log: Log): (seen: DatagrokContainer) => void {
  const warned = new Set<string>();
  return ({ view, shutdownMinutes }) => {
    if (shutdownMinutes === undefined || warned.has(view.id) || warned.size >= MOST_WARNINGS) return;
    warned.add(view.id);
    log.warn(
      { container: view.id, name: view.name, shutdownMinutes },
      "The Datagrok server hears nothing of calls that go past it: it stops this container after its shutdown_timeout, in use or not",
    );
  };
}

/** The same of all containers that the holder of a developer key may see. Where that cannot be asked, each is warned of when it is first called. */
export async function warnOfAll(
  server: DatagrokClient,
  key: string,
  warn: (seen: DatagrokContainer) => void,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  try {
    const token = await signInWithKey(server, key, signal);
    for (const entity of await listPages(server, "/docker/containers", token, signal)) warnOf(entity, warn);
  } catch (error) {
    if (!signal.aborted) log.warn({ err: error }, "The Datagrok server's containers could not be looked at for a shutdown_timeout");
  }
}

/** One that cannot be read says so to who calls it. */
function warnOf(entity: unknown, warn: (seen: DatagrokContainer) => void): void {
  try {
    warn(readContainer(entity));
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
  }
}
