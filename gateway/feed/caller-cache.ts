import { hash } from "node:crypto";
import NodeCache from "node-cache";
import type { Clock } from "../../lib/clock.ts";
import { BoundedMap } from "../../lib/bounded-map.ts";
import { addressBlock } from "../../lib/connection-limits.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import { createFairQueue, type FairQueueLimits, createSingleFlight } from "../shared-lookups.ts";
import type { Caller, Identity, CallerReply } from "../contract.ts";
import { raceAbort } from "../../lib/deadline.ts";
import { createWrongTokens, WRONG_TOKENS, type WrongTokenLimits } from "./wrong-tokens.ts";

/** A session that ended is refused everywhere within 10 s, even if its news were lost: a sweep longer than this, and the answer's own way here. */
const VALID_MS = 8_000;
const SWEEP_MS = 1_000;
/** While control is away nobody can sign out either, so who was known then still is; for so long, not for ever. */
const AWAY_SECONDS = 15 * 60;
/** How long an old answer counts before control is asked again whether it is back. */
const ASK_AGAIN_MS = 2_000;
/** How long a known caller waits for a new answer; after that the old one counts, and the answer is used when it comes. */
const SLOW_MS = 100;
const AWAY: ReadonlySet<FaultCode> = new Set(["CONTROL_AWAY", "CONTROL_BUSY", "DATAGROK_AWAY", "DATAGROK_BUSY"]);
const MOST_CALLERS = 20_000;
/**
 * Unknown tokens, which any client may invent: how many are looked up at a time, and of one client address. Each address
 * has its turn after every other one's, so that a flood from some delays no other address.
 */
export const LOOKUP_LIMITS: FairQueueLimits = { atOnce: 8, ofOne: 6, waiting: 4_000, waitingOfOne: 1_000, waitMs: 5_000 };
/** So many are asked about at once. */
const MOST_RENEWED = 256;

export type CallerCache = Identity & {
  /** Somebody signed out: everybody is asked about anew. */
  clear(): void;
};

export type CallerCacheDeps = {
  /** Who holds each of these tokens; undefined: nobody. Broken off by the signal, once nobody waits for it or `closed` is. */
  findCallers(tokens: readonly string[], signal: AbortSignal): Promise<readonly (CallerReply | undefined)[]>;
  /** What those hear who come while too many others are asked about already. */
  full(): Fault;
  closed: AbortSignal;
  /** A text that cannot be a token by its form is never looked up; where left out, anything may be one. */
  isToken?(token: string): boolean;
  lookupLimits?: FairQueueLimits;
  wrongTokens?: WrongTokenLimits;
  /** Nobody is there to be asked, as far as is known: who was known before need not wait until that shows once more. */
  isAway?(): boolean;
  clock: Clock;
};

/** `used`: since it was last asked about. */
type CachedCaller = { caller: Caller; renewAt: number; until: number; used: boolean };

/**
 * Remembers who holds which token; those that nobody holds, and those held before, under their digests. Who goes on calling is asked about
 * again in good time, many at once, so that no request waits for that. Where control cannot be asked, the last answer counts on.
 */
export function openCallerCache(parts: CallerCacheDeps): CallerCache {
  const {
    findCallers: ask,
    full,
    closed,
    isAway = () => false,
    isToken = () => true,
    lookupLimits: questions = LOOKUP_LIMITS,
    wrongTokens = WRONG_TOKENS,
    clock,
  } = parts;
  // Looked into for every request, so by the token itself, and without a look at the clock: a digest, and a cache around it, cost more than
  // the rest of a decision.
  const valid = new BoundedMap<string, CachedCaller>(MOST_CALLERS);
  // Apart, so that a flood of invented tokens cannot push out those of real callers.
  const earlier = new NodeCache({ useClones: false, stdTTL: AWAY_SECONDS, maxKeys: MOST_CALLERS });
  const wrong = createWrongTokens(wrongTokens, clock);
  // Each waits for its turn, and those bound how many there are.
  const asking = createSingleFlight<Caller | undefined>(Number.POSITIVE_INFINITY, full);
  const turns = createFairQueue(questions, full, clock);

  const listeners = new Set<() => void>();
  let signOuts = 0;
  let renewing = false;
  let cancelSweep: (() => void) | undefined;

  const learn = async (token: string, key: string, client: string, signal: AbortSignal): Promise<Caller | undefined> => {
    wrong.check(key, client);
    const over = await turns.take(client, signal);
    try {
      // Those before it in the line may have been wrong.
      wrong.check(key, client);
      const asked = { signOuts, at: clock.monotonic() };
      const [answer] = await ask([token], signal);
      const caller = take(token, key, answer, asked);
      if (caller === undefined) wrong.charge(client);
      return caller;
    } finally {
      over();
    }
  };

  /** Who it was before, where nobody can be asked now. */
  const before = (key: string, error: unknown): Caller => {
    const caller = error instanceof Fault && AWAY.has(error.code) ? earlier.get<Caller>(key) : undefined;
    if (caller === undefined) throw error;
    return countOn(caller);
  };

  /** The answer where it comes soon, else `old`; where that does not count (any more), the answer whenever it comes. */
  const soonOr = (answer: Promise<Caller | undefined>, signal: AbortSignal, old: () => Caller | undefined): Promise<Caller | undefined> =>
    new Promise((resolve, reject) => {
      const cancel = clock.after(SLOW_MS, () => {
        const caller = old();
        if (caller !== undefined) resolve(caller);
      });
      raceAbort(answer, signal).finally(cancel).then(resolve, reject);
    });

  const countOn = (caller: Caller): Caller => {
    count(caller, clock.monotonic(), ASK_AGAIN_MS);
    return caller;
  };

  /** `asked`: when, and after how many sign-outs. An answer may be older than the news of a sign-out that overtook it. */
  const take = (token: string, key: string, answer: CallerReply | undefined, asked: { signOuts: number; at: number }): Caller | undefined => {
    const caller = answer === undefined ? undefined : { ...answer, token };
    if (caller === undefined) {
      valid.delete(token);
      earlier.del(key);
      wrong.rejected(key);
    } else if (asked.signOuts === signOuts) {
      count(caller, asked.at, VALID_MS);
      remember(earlier, key, caller);
      wrong.accepted(key);
    }
    return caller;
  };

  const count = (caller: Caller, from: number, ms: number) => {
    if (closed.aborted) return;
    valid.set(caller.token, { caller, renewAt: from + ms / 2, until: from + ms, used: false });
    cancelSweep ??= clock.after(SWEEP_MS, sweep);
  };

  const sweep = () => {
    const now = clock.monotonic();
    const wanted: string[] = [];
    for (const [token, entry] of valid) {
      if (now >= entry.until) valid.delete(token);
      else if (entry.used && now >= entry.renewAt) wanted.push(token);
    }
    cancelSweep = valid.size === 0 ? undefined : clock.after(SWEEP_MS, sweep);
    if (wanted.length > 0 && !renewing) void renew(wanted);
  };

  /** Looks all of these up, many at once; resolves those that are not valid. */
  const askAgain = async (tokens: readonly string[]): Promise<string[]> => {
    const ended: string[] = [];
    for (let at = 0; at < tokens.length; at += MOST_RENEWED) {
      if (closed.aborted) return ended;
      const some = tokens.slice(at, at + MOST_RENEWED);
      const asked = { signOuts, at: clock.monotonic() };
      const answers = await ask(some, closed);
      for (const [index, token] of some.entries()) if (take(token, digest(token), answers[index], asked) === undefined) ended.push(token);
    }
    return ended;
  };

  const renew = async (tokens: readonly string[]) => {
    renewing = true;
    try {
      await askAgain(tokens);
    } catch {
      // They count until their time is up; who asks then is told why.
    } finally {
      renewing = false;
    }
  };

  const known = (token: string): Caller | undefined => {
    const found = valid.get(token);
    if (found === undefined) return undefined;
    found.used = true;
    return found.caller;
  };

  return {
    cached: known,
    find: (token, signal, client = "") => {
      const caller = known(token);
      if (caller !== undefined) return Promise.resolve(caller);
      if (!isToken(token)) return Promise.resolve(undefined);
      const key = digest(token);
      if (wrong.has(key)) return Promise.resolve(undefined);
      const remembered = isAway() ? earlier.get<Caller>(key) : undefined;
      if (remembered !== undefined) return Promise.resolve(countOn(remembered));
      const ask = (waits: AbortSignal) =>
        asking.run(key, waits, (wanted) => learn(token, key, addressBlock(client), AbortSignal.any([wanted, closed])));
      const earlierCaller = earlier.get<Caller>(key);
      if (earlierCaller === undefined) return ask(signal);
      // Goes on when this caller has gone on with the old answer.
      const answer = ask(closed).catch((error: unknown) => before(key, error));
      return soonOr(answer, signal, () => (earlier.get<Caller>(key) === earlierCaller ? countOn(earlierCaller) : undefined));
    },
    // Open exchanges are looked up as long as they last: a look-up counts as use.
    findEnded: (tokens) => {
      const unsure = tokens.filter((token) => known(token) === undefined);
      return askAgain(unsure).catch(() => unsure.filter((token) => wrong.has(digest(token))));
    },
    watchSignOuts: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    clear: () => {
      signOuts++;
      valid.clear();
      earlier.flushAll();
      for (const listener of listeners) listener();
    },
    close: () => {
      cancelSweep?.();
      valid.clear();
      earlier.close();
      wrong.clear();
      return Promise.resolve();
    },
  };
}

function digest(token: string): string {
  return hash("sha256", token);
}

/** A full cache forgets everything at once: rare, and cheaper than keeping an order. */
function remember(cache: NodeCache, key: string, value: unknown): void {
  if (cache.getStats().keys >= MOST_CALLERS) cache.flushAll();
  cache.set(key, value);
}
