import { hash } from "node:crypto";
import NodeCache from "node-cache";
import { Fault } from "../../fault.ts";
import type { Caller, Identity } from "../identity.ts";
import { unlessAborted } from "../unless-aborted.ts";
import type { WhoAnswer } from "../wire.ts";

/** A revoked session is refused everywhere within 10 s; the rest is for the answer's own way here. */
const VALID_SECONDS = 9;
/** Short, so that somebody who has just signed in is not told otherwise for long. */
const UNKNOWN_SECONDS = 2;
const MOST_CALLERS = 20_000;

/** Remembers who holds which token, under the token's digest; `ask` answers undefined where nobody does. */
export function knownCallers(parts: { ask(token: string): Promise<WhoAnswer | undefined> }): Identity {
  // Apart, so that a flood of invented tokens cannot push out those of real callers.
  const valid = new NodeCache({ useClones: false, stdTTL: VALID_SECONDS, maxKeys: MOST_CALLERS });
  const unknown = new NodeCache({ useClones: false, stdTTL: UNKNOWN_SECONDS, maxKeys: MOST_CALLERS });
  const asking = new Map<string, Promise<Caller | undefined>>();

  const learn = async (token: string, key: string): Promise<Caller | undefined> => {
    try {
      const answer = await parts.ask(token);
      const caller = answer === undefined ? undefined : { ...answer, token };
      remember(caller === undefined ? unknown : valid, key, caller ?? true);
      return caller;
    } finally {
      asking.delete(key);
    }
  };

  return {
    who: (token, signal) => {
      const key = hash("sha256", token);
      const known = valid.get<Caller>(key);
      if (known !== undefined) return Promise.resolve(known);
      if (unknown.has(key)) return Promise.resolve(undefined);
      const answer = asking.get(key) ?? learn(token, key);
      if (!asking.has(key)) asking.set(key, answer);
      // The question is shared: one caller who leaves does not take it from the others.
      return unlessAborted(answer, signal);
    },
    close: () => {
      valid.close();
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
