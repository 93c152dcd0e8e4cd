import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { type DatagrokClient, sentenceOf } from "./datagrok-client.ts";
import type { ContainerLookups } from "./container-lookups.ts";
import type { DatagrokContainer } from "./read-container.ts";

/** A server may answer a run before its container changes its state: the time for that. */
const SETTLE_MS = 5_000;
const FIRST_LOOK_MS = 100;
const LONGEST_LOOK_MS = 1_500;

type DatagrokStarts = {
  /**
   * Follows a container until it accepts connections; without `run` also until it neither starts nor stops. `run` requests its start first. Calls for
   * the same container share one operation; a refusal of one caller (NOT_PERMITTED, TOKEN_INVALID) does not end it for the others. Faults: also
   * CONTAINER_NOT_READY with the server's cause, CONTAINER_NOT_FOUND, DATAGROK_AWAY, and those of a lookup.
   */
  follow(id: string, token: string, run: boolean): Promise<void>;
  /** An operation waits until it accepts connections, whatever state the server reports. */
  isUnderWay(id: string): boolean;
  /** No request waits for it any more. */
  cancel(id: string): void;
};

type DatagrokStart = { token: string; runs: boolean; done: Promise<void>; over: AbortController };

const NO_WAITER = new Error("no request waits for the container any more");

export function createDatagrokStarts(deps: {
  server: DatagrokClient;
  lookups: ContainerLookups;
  /** Resolves when the address accepted a connection. */
  waitForConnect(address: { host: string; port: number }, signal: AbortSignal): Promise<void>;
  /** How long the server may delay the reply to a run: no request waits longer. */
  runMs: number;
  clock: Clock;
}): DatagrokStarts {
  const { server, lookups, waitForConnect, runMs, clock } = deps;
  const inFlight = new Map<string, DatagrokStart>();

  const requestRun = async (id: string, token: string, signal: AbortSignal): Promise<Fault | undefined> => {
    const { status, body } = await server.get(`/docker/containers/${id}/run?awaitStart=true`, token, { signal, limitMs: runMs, holds: true });
    if (status === 401) throw new Fault("TOKEN_INVALID", "The Datagrok server does not take the session token, or no longer: sign in again");
    if (status === 403) throw new Fault("NOT_PERMITTED", "The container is not running, and the Datagrok server does not let you start it");
    if (status < 400) return undefined;
    return new Fault("CONTAINER_NOT_READY", sentenceOf(body) ?? `The Datagrok server answered the start of a container with ${status}`);
  };

  const start = async (id: string, token: string, run: boolean, signal: AbortSignal): Promise<void> => {
    // A load balancer may give up on a start that the server continues: the state of the container counts.
    const refused = run ? await requestRun(id, token, signal).catch((error: unknown) => ifAway(error, signal)) : undefined;
    const settleUntil = clock.monotonic() + SETTLE_MS;
    for (let delay = FIRST_LOOK_MS; ; delay = Math.min(LONGEST_LOOK_MS, delay * 1.5)) {
      const container = await lookups.lookUp(id, token, signal);
      if (container === undefined) throw new Fault("CONTAINER_NOT_FOUND", "The container was removed while the request waited for it");
      const { availability } = container.view;
      if (availability.kind === "awake") return Promise.any(availability.addresses.map((address) => waitForConnect(address, signal)));
      if (availability.kind === "portless") return;
      if (!container.transient && !run) return;
      if (!container.transient && (refused !== undefined || availability.kind === "failed" || clock.monotonic() >= settleUntil))
        throw startFault(container, refused);
      await clock.sleep(delay, signal);
    }
  };

  return {
    isUnderWay: (id) => inFlight.has(id),
    cancel: (id) => {
      inFlight.get(id)?.over.abort(NO_WAITER);
      inFlight.delete(id);
    },
    follow: async (id, token, run) => {
      for (let before = inFlight.get(id); before !== undefined; before = inFlight.get(id)) {
        try {
          await before.done;
          if (before.runs || !run) return;
        } catch (error) {
          if (before.token === token || !isCallerFault(error)) throw error;
        }
      }
      const over = new AbortController();
      const operation = { token, runs: run, over, done: start(id, token, run, over.signal) };
      inFlight.set(id, operation);
      const end = () => {
        if (inFlight.get(id) === operation) inFlight.delete(id);
      };
      operation.done.then(end, end);
      await operation.done;
    },
  };
}

/** A fault of the caller, not of the container. */
function isCallerFault(error: unknown): boolean {
  return error instanceof Fault && (error.code === "NOT_PERMITTED" || error.code === "TOKEN_INVALID");
}

function ifAway(error: unknown, signal: AbortSignal): Fault {
  if (signal.aborted || !(error instanceof Fault) || error.code !== "DATAGROK_AWAY") throw error;
  return error;
}

/** The server being away is the last reason: the container did not fail. */
function startFault({ view: { name, availability } }: DatagrokContainer, refused: Fault | undefined): Fault {
  if (refused?.code === "CONTAINER_NOT_READY") return refused;
  if (availability.kind === "failed") return Fault.from(availability.fault);
  return refused ?? new Fault("CONTAINER_NOT_READY", `The Datagrok server ran ${name}, and it did not start`);
}
