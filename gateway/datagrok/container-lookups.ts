import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { ContainerView } from "../contract.ts";
import { createSingleFlight } from "../shared-lookups.ts";
import { type DatagrokClient, MAX_REQUESTS, serverAway, serverBusy } from "./datagrok-client.ts";
import { readContainer, type DatagrokContainer } from "./read-container.ts";

/** As for callers: a reply is at most 10 s old, with its own transfer. */
const FRESH_MS = 8_000;
/** Replies in use are requested again after this time: one request in 6 s for each caller and container. */
const RENEW_MS = 6_000;
/** While the server is away no rights change there either, so cached replies stay valid for this time. */
const AWAY_MS = 15 * 60_000;
/** How long an old reply is valid before the next request checks whether the server is back. */
const STALE_MS = 2_000;
const LOOK_MS = 5_000;
const MOST_REPLIES = 50_000;

/** The server's reply to one caller about one container. `refusal`: instead of the container. */
type LookupReply = { refusal: Fault | undefined; freshUntil: number; renewAt: number; keptUntil: number };

/** The cached state of one container. `from`: the time of the request whose reply `container` is. */
type LookupEntry = { container: DatagrokContainer | undefined; from: number; replies: Map<string, LookupReply> };

export type ContainerLookups = ReturnType<typeof createContainerLookups>;

/**
 * Looks containers up with each caller's own token. Caches for each caller whether that caller may see a container; the state of a container is the
 * same for all. Calls `changed` for each container whose state changed.
 */
export function createContainerLookups(deps: {
  server: DatagrokClient;
  clock: Clock;
  closed: AbortSignal;
  changed(container: DatagrokContainer): void;
}) {
  const { server, clock, closed, changed } = deps;
  const entries = new Map<string, LookupEntry>();
  const inFlight = createSingleFlight<DatagrokContainer | undefined>(MAX_REQUESTS, serverBusy);
  let replies = 0;

  const store = (id: string, token: string, reply: LookupReply) => {
    // A full cache is emptied: that is rare, and cheaper than an order of entries.
    if (replies >= MOST_REPLIES) {
      entries.clear();
      replies = 0;
    }
    const entry = entries.get(id) ?? { container: undefined, from: -Infinity, replies: new Map<string, LookupReply>() };
    entries.set(id, entry);
    if (!entry.replies.has(token)) replies++;
    entry.replies.set(token, reply);
    return entry;
  };

  const request = async (id: string, token: string, signal: AbortSignal): Promise<DatagrokContainer | undefined> => {
    const from = clock.monotonic();
    const { status, body } = await server.get(`/docker/containers/${id}`, token, { signal, limitMs: LOOK_MS });
    const container = status === 200 ? readContainer(body) : undefined;
    const refusal = container === undefined ? refusalOf(status, id) : undefined;
    const entry = store(id, token, { refusal, freshUntil: from + FRESH_MS, renewAt: from + RENEW_MS, keptUntil: from + AWAY_MS });
    // Replies to two callers may overtake each other: the one of the later request is newer.
    if (container !== undefined && from >= entry.from) {
      const hasChanged = stateOf(entry.container) !== stateOf(container);
      entry.container = container;
      entry.from = from;
      if (hasChanged) changed(container);
    }
    return orRefused(refusal, container);
  };

  /** Not from the cache. Faults: TOKEN_INVALID, NOT_PERMITTED, DATAGROK_AWAY, DATAGROK_BROKE_OFF, DATAGROK_BUSY. */
  const lookUp = (id: string, token: string, signal: AbortSignal) => inFlight.run(`${id} ${token}`, signal, (needed) => request(id, token, needed));

  const renew = (id: string, token: string) => {
    if (!inFlight.has(`${id} ${token}`)) lookUp(id, token, closed).catch(() => undefined);
  };

  return {
    lookUp,
    /** The last state, from any caller's lookup. */
    last: (id: string): DatagrokContainer | undefined => entries.get(id)?.container,
    /** The valid cached state. It is requested again before it expires, so that callers who continue never wait. */
    cached: (id: string, token: string): ContainerView | undefined => {
      const entry = entries.get(id);
      const reply = entry?.replies.get(token);
      const now = clock.monotonic();
      if (entry?.container === undefined || reply === undefined || reply.refusal !== undefined || now >= reply.freshUntil) return undefined;
      if (now >= reply.renewAt) renew(id, token);
      return entry.container.view;
    },
    /** Undefined if there is none. Faults: those of `lookUp`. */
    find: async (id: string, token: string, signal: AbortSignal): Promise<DatagrokContainer | undefined> => {
      const entry = entries.get(id);
      const reply = entry?.replies.get(token);
      if (reply !== undefined && clock.monotonic() < reply.freshUntil) return orRefused(reply.refusal, entry?.container);
      try {
        return await lookUp(id, token, signal);
      } catch (error) {
        const isAway = error instanceof Fault && error.code === "DATAGROK_AWAY";
        const now = clock.monotonic();
        if (!isAway || entry?.container === undefined || reply === undefined || reply.refusal !== undefined || now >= reply.keptUntil) throw error;
        store(id, token, { ...reply, freshUntil: now + STALE_MS, renewAt: now + STALE_MS / 2 });
        return entry.container;
      }
    },
    /** Tokens whose holders may see the container: with each of them it can be looked up for all waiting requests. */
    admittedTokens: (id: string): string[] =>
      [...(entries.get(id)?.replies ?? [])].filter(([, { refusal }]) => refusal === undefined).map(([token]) => token),
  };
}

/** Without its log, which grows while the state stays the same. */
function stateOf(container: DatagrokContainer | undefined): string {
  return JSON.stringify({ ...container, startStatus: undefined });
}

function refusalOf(status: number, id: string): Fault {
  if (status === 401) return new Fault("TOKEN_INVALID", "The Datagrok server does not take the session token, or no longer: sign in again");
  if (status === 403) return new Fault("NOT_PERMITTED", `The Datagrok server does not let you see the container ${id}`);
  if (status === 404) return new Fault("CONTAINER_NOT_FOUND", `There is no container with the id ${id}`);
  // Some servers do that while they start.
  if (status >= 500) throw serverAway(`answered a lookup of a container with ${status}`);
  throw new Fault("DATAGROK_BROKE_OFF", `The Datagrok server answered a lookup of a container with ${status}`);
}

function orRefused(refusal: Fault | undefined, container: DatagrokContainer | undefined): DatagrokContainer | undefined {
  if (refusal === undefined) return container;
  if (refusal.code === "CONTAINER_NOT_FOUND") return undefined;
  throw Fault.from(refusal.toJSON());
}
