import { hash } from "node:crypto";
import NodeCache from "node-cache";
import type { Clock } from "../../clock.ts";
import { Fault } from "../../fault.ts";
import type { Caller, Identity } from "../identity.ts";
import { unlessAborted } from "../unless-aborted.ts";
import type { WhoAnswer } from "../wire.ts";

/** A session that ended is refused everywhere within 10 s, even if its news were lost; the rest is for the answer's own way here. */
const VALID_MS = 9_000;
/** Short, so that somebody who has just signed in is not told otherwise for long. */
const UNKNOWN_SECONDS = 2;
/** While control is away nobody can sign out either, so who was known then still is; for so long, not for ever. */
const AWAY_SECONDS = 15 * 60;
/** How long an old answer counts before control is asked again whether it is back. */
const ASK_AGAIN_MS = 2_000;
const MOST_CALLERS = 20_000;

export type KnownCallers = Identity & {
  /** Somebody signed out: everybody is asked about anew. */
  forget(): void;
};

/**
 * Remembers who holds which token; those that nobody holds, and those held before, under their digests. `ask` answers undefined where nobody does. Where control cannot be asked, the
 * last answer counts on.
 */
export function knownCallers(parts: { ask(token: string): Promise<WhoAnswer | undefined>; clock: Clock; validMs?: number }): KnownCallers {
  const { clock } = parts;
  // Looked into for every request, so by the token itself: a digest and a cache around it cost more than the rest of a decision.
  const valid = new Map<string, { caller: Caller; until: number }>();
  // Apart, so that a flood of invented tokens cannot push out those of real callers.
  const earlier = new NodeCache({ useClones: false, stdTTL: AWAY_SECONDS, maxKeys: MOST_CALLERS });
  const unknown = new NodeCache({ useClones: false, stdTTL: UNKNOWN_SECONDS, maxKeys: MOST_CALLERS });
  const asking = new Map<string, Promise<Caller | undefined>>();

  let signOuts = 0;

  const learn = async (token: string, key: string): Promise<Caller | undefined> => {
    const asked = signOuts;
    try {
      const answer = await parts.ask(token);
      const caller = answer === undefined ? undefined : { ...answer, token };
      if (caller === undefined) {
        earlier.del(key);
        remember(unknown, key, true);
      } else if (asked === signOuts) {
        // Else the answer may be older than the news of a sign-out that overtook it.
        count(caller, parts.validMs ?? VALID_MS);
        remember(earlier, key, caller);
      }
      return caller;
    } catch (error) {
      const before = error instanceof Fault && error.code === "CONTROL_AWAY" ? earlier.get<Caller>(key) : undefined;
      if (before === undefined) throw error;
      count(before, ASK_AGAIN_MS);
      return before;
    } finally {
      asking.delete(key);
    }
  };

  const count = (caller: Caller, ms: number) => {
    if (valid.size >= MOST_CALLERS) valid.clear();
    valid.set(caller.token, { caller, until: clock.monotonic() + ms });
  };

  const known = (token: string): Caller | undefined => {
    const found = valid.get(token);
    if (found === undefined || found.until > clock.monotonic()) return found?.caller;
    valid.delete(token);
    return undefined;
  };

  return {
    known,
    who: (token, signal) => {
      const caller = known(token);
      if (caller !== undefined) return Promise.resolve(caller);
      const key = hash("sha256", token);
      if (unknown.has(key)) return Promise.resolve(undefined);
      const answer = asking.get(key) ?? learn(token, key);
      if (!asking.has(key)) asking.set(key, answer);
      // The question is shared: one caller who leaves does not take it from the others.
      return unlessAborted(answer, signal);
    },
    forget: () => {
      signOuts++;
      valid.clear();
      earlier.flushAll();
    },
    close: () => {
      valid.clear();
      earlier.close();
      unknown.close();
      return Promise.resolve();
    },
  };
}

/** A full cache forgets everything at once: rare, and cheaper than keeping an order. */
function remember(cache: NodeCache, key: string, value: unknown): void {
  if (cache.getStats().keys >= MOST_CALLERS) cache.flushAll();
  cache.set(key, value);
}

/** Control says 404 for a token that nobody holds; that is an answer, not a failure. */
export async function whoOrNobody(question: Promise<unknown>): Promise<WhoAnswer | undefined> {
  try {
    return (await question) as WhoAnswer;
  } catch (error) {
    if (error instanceof Fault && (error.status === 404 || error.status === 401)) return undefined;
    throw error;
  }
}
