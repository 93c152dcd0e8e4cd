import type { Clock } from "../../lib/clock.ts";
import { backoffDelay } from "../../lib/backoff.ts";
import { Fault } from "../../lib/fault.ts";
import { type DatagrokClient, sentenceOf } from "./datagrok-client.ts";
import type { ContainerLookups } from "./container-lookups.ts";
import type { DatagrokContainer } from "./read-container.ts";
import { connect } from "node:net";

/** A server that answered a run before its container has moved is given so long until it has. */
const SETTLE_MS = 5_000;
const FIRST_LOOK_MS = 100;
const LONGEST_LOOK_MS = 1_500;

export type DatagrokStarts = {
  /**
   * Goes along with a container until it takes connections, after having it run where `run` says so, and otherwise until it has come to rest;
   * whoever asks meanwhile joins in. What a refusal is to one is not to the next: NOT_PERMITTED, TOKEN_INVALID. Faults: also CONTAINER_NOT_READY with the server's cause, CONTAINER_NOT_FOUND,
   * DATAGROK_AWAY and the others of a look-up.
   */
  follow(id: string, token: string, run: boolean): Promise<void>;
  /** It is being waited for until it takes connections, whatever the server says of it. */
  isUnderWay(id: string): boolean;
  /** Nobody waits for it any more. */
  breakOff(id: string): void;
};

type DatagrokStart = { token: string; runs: boolean; done: Promise<void>; over: AbortController };

const NOBODY_WAITS = new Error("nobody waits for the container any more");

export function createDatagrokStarts(parts: {
  server: DatagrokClient;
  lookUps: ContainerLookups;
  /** Resolves once a connection was accepted there. */
  accepts(address: { host: string; port: number }, signal: AbortSignal): Promise<void>;
  /** How long a run may be held by the server: nobody waits longer than that. */
  runMs: number;
  clock: Clock;
}): DatagrokStarts {
  const { server, lookUps, accepts, runMs, clock } = parts;
  const flights = new Map<string, DatagrokStart>();

  const askRun = async (id: string, token: string, signal: AbortSignal): Promise<Fault | undefined> => {
    const { status, body: said } = await server.get(`/docker/containers/${id}/run?awaitStart=true`, token, { signal, limitMs: runMs, holds: true });
    if (status === 401) throw new Fault("TOKEN_INVALID", "The Datagrok server does not take the session token, or no longer: sign in again");
    if (status === 403) throw new Fault("NOT_PERMITTED", "The container is not running, and the Datagrok server does not let you start it");
    if (status < 400) return undefined;
    return new Fault("CONTAINER_NOT_READY", sentenceOf(said) ?? `The Datagrok server answered the start of a container with ${status}`);
  };

  const fly = async (id: string, token: string, run: boolean, signal: AbortSignal): Promise<void> => {
    // A load balancer may give up on a start that the server goes on with: what counts is how the container is then.
    const refused = run ? await askRun(id, token, signal).catch((error: unknown) => ifAway(error, signal)) : undefined;
    const settleUntil = clock.monotonic() + SETTLE_MS;
    for (let delay = FIRST_LOOK_MS; ; delay = Math.min(LONGEST_LOOK_MS, delay * 1.5)) {
      const seen = await lookUps.look(id, token, signal);
      if (seen === undefined) throw new Fault("CONTAINER_NOT_FOUND", "The container was removed while the request waited for it");
      const { availability } = seen.view;
      if (availability.kind === "awake") return Promise.any(availability.addresses.map((address) => accepts(address, signal)));
      if (availability.kind === "portless") return;
      if (!seen.transient && !run) return;
      if (!seen.transient && (refused !== undefined || availability.kind === "failed" || clock.monotonic() >= settleUntil))
        throw whyNot(seen, refused);
      await clock.sleep(delay, signal);
    }
  };

  return {
    isUnderWay: (id) => flights.has(id),
    breakOff: (id) => {
      flights.get(id)?.over.abort(NOBODY_WAITS);
      flights.delete(id);
    },
    follow: async (id, token, run) => {
      for (let before = flights.get(id); before !== undefined; before = flights.get(id)) {
        try {
          await before.done;
          if (before.runs || !run) return;
        } catch (error) {
          if (before.token === token || !isOneCallers(error)) throw error;
        }
      }
      const over = new AbortController();
      const flight = { token, runs: run, over, done: fly(id, token, run, over.signal) };
      flights.set(id, flight);
      const land = () => {
        if (flights.get(id) === flight) flights.delete(id);
      };
      flight.done.then(land, land);
      await flight.done;
    },
  };
}

/** Says something of who asked, nothing of the container. */
function isOneCallers(error: unknown): boolean {
  return error instanceof Fault && (error.code === "NOT_PERMITTED" || error.code === "TOKEN_INVALID");
}

function ifAway(error: unknown, signal: AbortSignal): Fault {
  if (signal.aborted || !(error instanceof Fault) || error.code !== "DATAGROK_AWAY") throw error;
  return error;
}

/** That the server was away says least: it is no failure of the container's. */
function whyNot({ view: { name, availability } }: DatagrokContainer, refused: Fault | undefined): Fault {
  if (refused?.code === "CONTAINER_NOT_READY") return refused;
  if (availability.kind === "failed") return Fault.from(availability.fault);
  return refused ?? new Fault("CONTAINER_NOT_READY", `The Datagrok server had ${name} run, and it did not start`);
}

const CONNECT_MS = 2_000;
const CONNECT_RETRY = { firstMs: 50, longestMs: 1_000 };

/**
 * Resolves once a connection to the address was accepted: a Datagrok server says that a container has started before its application listens, up to 90 s
 * before. Tries until then; rejects with the signal's reason.
 */
export async function accepts(address: { host: string; port: number }, signal: AbortSignal, clock: Clock): Promise<void> {
  for (let tries = 1; !(await isAccepted(address, signal, clock)); tries++) await clock.sleep(backoffDelay(CONNECT_RETRY, tries), signal);
}

function isAccepted(address: { host: string; port: number }, signal: AbortSignal, clock: Clock): Promise<boolean> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const socket = connect(address);
    const settle = (act: () => void) => {
      cancel();
      signal.removeEventListener("abort", onAbort);
      socket.destroy();
      act();
    };
    const onAbort = () => settle(() => reject(signal.reason as Error));
    const cancel = clock.after(CONNECT_MS, () => settle(() => resolve(false)));
    signal.addEventListener("abort", onAbort, { once: true });
    socket.on("error", () => settle(() => resolve(false)));
    socket.once("connect", () => settle(() => resolve(true)));
  });
}
