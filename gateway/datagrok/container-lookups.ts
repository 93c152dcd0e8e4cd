import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { ContainerView } from "../contract.ts";
import { createSingleFlight } from "../shared-lookups.ts";
import { type DatagrokClient, MAX_REQUESTS, serverAway, serverBusy } from "./datagrok-client.ts";
import { readContainer, type DatagrokContainer } from "./read-container.ts";

/** As `Caller`'s: an answer is at most 10 s old, its own way here included. */
const FRESH_MS = 8_000;
/** Who goes on calling has the answer asked for anew from then on: a question in 6 s for each caller and container. */
const RENEW_MS = 6_000;
/** While the server is away nobody's rights change there either; what was known then still is, for so long, not for ever. */
const AWAY_MS = 15 * 60_000;
/** How long an old answer counts before the server is asked again whether it is back. */
const ASK_AGAIN_MS = 2_000;
const LOOK_MS = 5_000;
const MOST_ANSWERS = 50_000;

/** What the server answered to one caller about one container. `refusal`: instead of the container. */
type LookupAnswer = { refusal: Fault | undefined; freshUntil: number; renewAt: number; keptUntil: number };

/** What is known of one container. `from`: when the question was asked whose answer `seen` is. */
type LookupEntry = { container: DatagrokContainer | undefined; from: number; answers: Map<string, LookupAnswer> };

export type ContainerLookups = ReturnType<typeof createContainerLookups>;

/**
 * Looks containers up with each caller's own token, and remembers for each caller apart whether that one may see them, while where a container is
 * is the same for all. `changed` hears of each container that is seen to be otherwise than before.
 */
export function createContainerLookups(parts: { server: DatagrokClient; clock: Clock; closed: AbortSignal; changed(seen: DatagrokContainer): void }) {
  const { server, clock, closed, changed } = parts;
  const known = new Map<string, LookupEntry>();
  const questions = createSingleFlight<DatagrokContainer | undefined>(MAX_REQUESTS, serverBusy);
  let answers = 0;

  const keep = (id: string, token: string, answer: LookupAnswer) => {
    // A full cache forgets everything at once: rare, and cheaper than keeping an order.
    if (answers >= MOST_ANSWERS) {
      known.clear();
      answers = 0;
    }
    const container = known.get(id) ?? { container: undefined, from: -Infinity, answers: new Map<string, LookupAnswer>() };
    known.set(id, container);
    if (!container.answers.has(token)) answers++;
    container.answers.set(token, answer);
    return container;
  };

  const question = async (id: string, token: string, signal: AbortSignal): Promise<DatagrokContainer | undefined> => {
    const from = clock.monotonic();
    const { status, body: said } = await server.get(`/docker/containers/${id}`, token, { signal, limitMs: LOOK_MS });
    const seen = status === 200 ? readContainer(said) : undefined;
    const refusal = seen === undefined ? refusalOf(status, id) : undefined;
    const container = keep(id, token, { refusal, freshUntil: from + FRESH_MS, renewAt: from + RENEW_MS, keptUntil: from + AWAY_MS });
    // Two callers' answers may overtake each other: the one that was asked for later is the newer.
    if (seen !== undefined && from >= container.from) {
      const isNews = JSON.stringify(container.container) !== JSON.stringify(seen);
      Object.assign(container, { container: seen, from } satisfies Partial<LookupEntry>);
      if (isNews) changed(seen);
    }
    return orRefused(refusal, seen);
  };

  /** Past the cache. Faults: TOKEN_INVALID, NOT_PERMITTED, DATAGROK_AWAY, DATAGROK_BROKE_OFF, DATAGROK_BUSY. */
  const look = (id: string, token: string, signal: AbortSignal) => questions.run(`${id} ${token}`, signal, (wanted) => question(id, token, wanted));

  const renew = (id: string, token: string) => {
    if (!questions.has(`${id} ${token}`)) look(id, token, closed).catch(() => undefined);
  };

  return {
    look,
    seen: (id: string): DatagrokContainer | undefined => known.get(id)?.container,
    /** What counts now without asking; asked about again in good time, so that who goes on calling never waits for that. */
    known: (id: string, token: string): ContainerView | undefined => {
      const container = known.get(id);
      const answer = container?.answers.get(token);
      const now = clock.monotonic();
      if (container?.container === undefined || answer === undefined || answer.refusal !== undefined || now >= answer.freshUntil) return undefined;
      if (now >= answer.renewAt) renew(id, token);
      return container.container.view;
    },
    /** Undefined where there is none. Faults: those of `look`. */
    find: async (id: string, token: string, signal: AbortSignal): Promise<DatagrokContainer | undefined> => {
      const container = known.get(id);
      const answer = container?.answers.get(token);
      if (answer !== undefined && clock.monotonic() < answer.freshUntil) return orRefused(answer.refusal, container?.container);
      try {
        return await look(id, token, signal);
      } catch (error) {
        const isAway = error instanceof Fault && error.code === "DATAGROK_AWAY";
        const now = clock.monotonic();
        if (!isAway || container?.container === undefined || answer === undefined || answer.refusal !== undefined || now >= answer.keptUntil)
          throw error;
        keep(id, token, { ...answer, freshUntil: now + ASK_AGAIN_MS, renewAt: now + ASK_AGAIN_MS / 2 });
        return container.container;
      }
    },
    /** Those who were let in last: with what they hold may be looked for everybody who waits. */
    admitted: (id: string): string[] =>
      [...(known.get(id)?.answers ?? [])].filter(([, { refusal }]) => refusal === undefined).map(([token]) => token),
  };
}

function refusalOf(status: number, id: string): Fault {
  if (status === 401) return new Fault("TOKEN_INVALID", "The Datagrok server does not take the session token, or no longer: sign in again");
  if (status === 403) return new Fault("NOT_PERMITTED", `The Datagrok server does not let you see the container ${id}`);
  if (status === 404) return new Fault("CONTAINER_NOT_FOUND", `There is no container with the id ${id}`);
  // Some answer so while they start.
  if (status >= 500) throw serverAway(`answered a question about a container with ${status}`);
  throw new Fault("DATAGROK_BROKE_OFF", `The Datagrok server answered a question about a container with ${status}`);
}

function orRefused(refusal: Fault | undefined, seen: DatagrokContainer | undefined): DatagrokContainer | undefined {
  if (refusal === undefined) return seen;
  if (refusal.code === "CONTAINER_NOT_FOUND") return undefined;
  throw Fault.from(refusal.toJSON());
}
