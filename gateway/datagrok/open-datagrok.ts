import type { Clock } from "../../lib/clock.ts";
import { BoundedMap } from "../../lib/bounded-map.ts";
import { backoffDelay } from "../../lib/backoff.ts";
import { waitForConnect } from "../../lib/connection-probe.ts";
import { Fault, type FaultData } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { ContainerView, Directory, Availability, Identity } from "../contract.ts";
import { openCallerCache, LOOKUP_LIMITS } from "../feed/caller-cache.ts";
import { WRONG_TOKENS } from "../feed/wrong-tokens.ts";
import { createWatchers } from "../feed/container-cache.ts";
import { createDatagrokStarts } from "./starts.ts";
import { type DatagrokClient, openDatagrokClient, serverAway, serverBusy, findCaller, listPages, signInWithKey } from "./datagrok-client.ts";
import { createContainerLookups } from "./container-lookups.ts";
import { readContainer, type DatagrokContainer } from "./read-container.ts";

type DatagrokDirectory = {
  directory: Directory;
  identity: Identity;
  /** Resolves with the first reply of the server. */
  ready(): Promise<void>;
  close(): Promise<void>;
};

const FIRST_REPLY_MS = 5_000;
/** Connections for starts, whose replies the server delays, and for lookups, so that no lookup waits behind a start. */
const MOST_RUNS = 256;
const MOST_LOOKUPS = 32;
/** A token that the server does not accept may become valid later. */
const WRONG_MS = 2_000;
/** After this time a request repeats a start that failed. */
const RUN_RETRY = { firstMs: 1_000, longestMs: 60_000 };
/** The pauses before lookups of a container with a suspect address. Its caller has an answer by then. */
const SUSPECT_LOOKUPS_MS = [0, 250, 500, 500];
const CONNECT_RETRY = { firstMs: 50, longestMs: 1_000 };
const RETRY = { firstMs: 250, longestMs: 5_000 };

const MOST_FAILURES = 10_000;

type Failure = { fault: FaultData; retryAt: number; times: number };

/**
 * Callers and containers from an existing Datagrok server, with each caller's own token. That server starts sleeping containers, once for all waiting
 * requests. `url` is its API, with `/api`; `runMs`: how long a request waits for a start; `key`: a developer key, for the warnings about containers
 * that the server stops while they are in use.
 */
export function openDatagrok(deps: { url: string; key: string | undefined; runMs: number; clock: Clock; log: Log }): DatagrokDirectory {
  const { url, key, runMs, clock, log } = deps;
  const closed = new AbortController();
  const server = openDatagrokClient({ url, connections: MOST_LOOKUPS, clock });
  const runs = openDatagrokClient({ url, connections: MOST_RUNS, clock });
  const failures = new BoundedMap<string, Failure>(MOST_FAILURES);
  const watching = createWatchers();
  const warn = idleStopWarnings(log);

  /** The server's state, except after a start that failed here, and while no connection to a started container succeeded yet. */
  const viewOf = (view: ContainerView): ContainerView => {
    const { id, availability } = view;
    if (availability.kind === "awake") return starts.isUnderWay(id) ? { ...view, availability: { kind: "coming" } } : view;
    const failure = failures.get(id);
    if (failure === undefined || (availability.kind !== "asleep" && availability.kind !== "failed")) return view;
    return { ...view, availability: { kind: "failed", fault: failure.fault, wakeable: isWakeable(availability), retryAt: failure.retryAt } };
  };
  const notify = (id: string) => {
    const last = lookups.last(id);
    if (last !== undefined) watching.notify(id, viewOf(last.view));
  };
  const lookups = createContainerLookups({
    server,
    clock,
    closed: closed.signal,
    changed: (container) => {
      warn(container);
      notify(container.view.id);
    },
  });
  const starts = createDatagrokStarts({
    server: runs,
    lookups,
    // A Datagrok server reports a container as started up to 90 s before its application listens.
    waitForConnect: (address, signal) => waitForConnect(address, CONNECT_RETRY, { clock, signal }),
    runMs,
    clock,
  });

  const follow = async (id: string, token: string, run: boolean): Promise<void> => {
    try {
      await starts.follow(id, token, run);
      failures.delete(id);
    } catch (error) {
      if (error instanceof Fault && error.code === "CONTAINER_NOT_READY") remember(id, error);
      throw error;
    } finally {
      notify(id);
    }
  };
  const remember = (id: string, fault: Fault) => {
    const times = (failures.get(id)?.times ?? 0) + 1;
    const retryAt = clock.now() + backoffDelay(RUN_RETRY, times);
    failures.set(id, { fault: fault.toJSON(), retryAt, times });
  };

  /** Another client started it: the lookups of a caller who may see it serve all waiting requests. */
  const followForeignStart = async (id: string): Promise<void> => {
    for (const token of lookups.admittedTokens(id)) {
      try {
        return await follow(id, token, false);
      } catch (error) {
        if (!(error instanceof Fault)) return;
        if (error.code === "NOT_PERMITTED" || error.code === "TOKEN_INVALID") continue;
        const last = lookups.last(id);
        if (error.code === "CONTAINER_NOT_FOUND") watching.notify(id, undefined);
        // Waiting requests get the reason. The next request starts again.
        else if (last?.transient === true) watching.notify(id, { ...last.view, availability: failedNow(error, clock.now()) });
        return;
      }
    }
  };

  /** The address is suspect: it refused a connection. Looks the container up until its state changes, while its caller waits. */
  const checkSuspect = async (id: string, token: string, before: string): Promise<void> => {
    for (const ms of SUSPECT_LOOKUPS_MS) {
      await clock.sleep(ms, closed.signal);
      if (!watching.has(id)) return;
      const container = await lookups.lookUp(id, token, closed.signal);
      // Also without a change: a request that began to wait when the container was already started gets no other event.
      notify(id);
      if (JSON.stringify(container?.view.availability) !== before) return;
    }
  };

  const firstReply = waitForReply(server, clock, closed.signal);
  if (key !== undefined) void firstReply.then(() => warnOfAll(server, key, warn, log, closed.signal));
  const identity = openCallerCache({
    clock,
    closed: closed.signal,
    full: serverBusy,
    wrongTokens: { ...WRONG_TOKENS, rememberMs: WRONG_MS },
    lookupLimits: { ...LOOKUP_LIMITS, atOnce: MOST_LOOKUPS, ofOne: (MOST_LOOKUPS * 3) / 4 },
    findCallers: (tokens, signal) => Promise.all(tokens.map((token) => findCaller(server, token, signal))),
  });

  return {
    identity,
    directory: {
      cached: (id, { token }) => {
        const view = lookups.cached(id, token);
        return view && viewOf(view);
      },
      find: async (id, { token }, signal) => {
        const container = await lookups.find(id, token, signal);
        return container && viewOf(container.view);
      },
      watch: (id, onChange) => {
        const unwatch = watching.add(id, onChange);
        if (lookups.last(id)?.transient === true && !starts.isUnderWay(id)) void followForeignStart(id);
        return () => {
          unwatch();
          if (!watching.has(id)) starts.cancel(id);
        };
      },
      wake: async (id, { token }) => {
        const availability = lookups.last(id)?.view.availability;
        if (availability?.kind === "awake" && !starts.isUnderWay(id)) return checkSuspect(id, token, JSON.stringify(availability));
        await follow(id, token, true);
      },
      startStatus: async (id, { token }, signal) => {
        const container = await lookups.lookUp(id, token, signal).catch(() => undefined);
        return container?.transient === true || starts.isUnderWay(id) ? container?.startStatus : undefined;
      },
      // That server has no routes for any of these.
      reportUse: () => undefined,
      reportConnected: () => undefined,
      reportBusy: () => undefined,
      close: () => Promise.resolve(),
    },
    ready: () => firstReply,
    close: async () => {
      closed.abort(serverAway("is disconnected"));
      await identity.close();
      server.close();
      runs.close();
    },
  };
}

async function waitForReply(server: DatagrokClient, clock: Clock, signal: AbortSignal): Promise<void> {
  for (let tries = 1; !signal.aborted; tries++) {
    try {
      // Not a token: a refusal is a reply too.
      await server.get("/info/server", "-", { signal, limitMs: FIRST_REPLY_MS });
      return;
    } catch {
      await clock.sleep(backoffDelay(RETRY, tries), signal).catch(() => undefined);
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

/** Warns of each container once that the server stops it while in use: it does not count calls that berth forwards. */
function idleStopWarnings(log: Log): (container: DatagrokContainer) => void {
  const warned = new Set<string>();
  return ({ view, shutdownMinutes }) => {
    if (shutdownMinutes === undefined || warned.has(view.id) || warned.size >= MOST_WARNINGS) return;
    warned.add(view.id);
    log.warn(
      { container: view.id, name: view.name, shutdownMinutes },
      "the Datagrok server does not count forwarded calls: it stops this container after its shutdown_timeout, in use or not",
    );
  };
}

/** The same for all containers that the holder of a developer key may see. If that fails, each warning comes with the first call. */
async function warnOfAll(
  server: DatagrokClient,
  key: string,
  warn: (container: DatagrokContainer) => void,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  try {
    const token = await signInWithKey(server, key, signal);
    for (const entity of await listPages(server, "/docker/containers", token, signal)) warnOf(entity, warn);
  } catch (error) {
    if (!signal.aborted) log.warn({ err: error }, "listing the Datagrok server's containers with a shutdown_timeout failed");
  }
}

/** Calls of a container that cannot be read get the fault. */
function warnOf(entity: unknown, warn: (container: DatagrokContainer) => void): void {
  try {
    warn(readContainer(entity));
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
  }
}
