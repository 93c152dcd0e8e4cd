import { hash } from "node:crypto";
import NodeCache from "node-cache";
import type { Clock } from "../../lib/clock.ts";
import { ByteMap } from "../../lib/byte-map.ts";
import { addressBlock } from "../../lib/connection-limits.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import { createFairQueue, type FairQueueLimits, createJoinedLookups, createSingleFlight } from "../shared-lookups.ts";
import type { Caller, Identity, CallerReply, SessionRef } from "../contract.ts";
import { raceAbort } from "../../lib/deadline.ts";
import { createWrongTokens, WRONG_TOKENS, type WrongTokenLimits } from "./wrong-tokens.ts";
import { isFieldValue } from "../../lib/character-classes.ts";
import { CallerEdits } from "../caller-edits.ts";

/** A session that ended is refused everywhere within 10 s, even if its event was lost: this time, one sweep, and the time of the response. */
const VALID_MS = 8_000;
const SWEEP_MS = 1_000;
/** While control is away no user can sign out either, so cached callers stay valid for this time. */
const AWAY_SECONDS = 15 * 60;
/** How long an old reply is valid before the next request checks whether control is back. */
const STALE_MS = 2_000;
/** How long a cached caller waits for a new reply. After that the old one is valid, and the new one is used when it arrives. */
const SLOW_MS = 100;
const AWAY: ReadonlySet<FaultCode> = new Set([
  "CONTROL_AWAY",
  "CONTROL_BUSY",
  "CONTROL_NO_LEADER",
  "CONTROL_STANDBY",
  "DATAGROK_AWAY",
  "DATAGROK_BUSY",
]);
const MOST_CALLERS = 20_000;
/** Longer tokens are found as well, at a higher cost. */
const TOKEN_BYTES = 128;
/**
 * Lookups of unknown tokens, which any client can invent: how many run at a time, in all and for one client address. Addresses take turns, so that a
 * flood from some delays no other address.
 */
export const LOOKUP_LIMITS: FairQueueLimits = { atOnce: 8, ofOne: 6, waiting: 4_000, waitingOfOne: 1_000, waitMs: 5_000 };
/** Tokens in one request to control. */
const MAX_TOKENS = 256;

type CallerCache = Identity & {
  /** A user signed out: every caller is looked up again. */
  clear(): void;
};

type CallerCacheDeps = {
  /** The holder of each token, or undefined. The signal aborts when no request waits any more, or with `closed`. */
  findCallers(tokens: readonly string[], signal: AbortSignal): Promise<readonly (CallerReply | undefined)[]>;
  /** `findCallers` costs little more for many tokens than for one: lookups that begin together are joined. */
  joinsLookups?: boolean;
  /** The fault of a lookup beyond the limits. */
  full(): Fault;
  closed: AbortSignal;
  /** A text without the form of a token is never looked up. Default: every text may be a token. */
  isToken?(token: string): boolean;
  lookupLimits?: FairQueueLimits;
  wrongTokens?: WrongTokenLimits;
  /** Control seems to be away: cached callers do not wait for a request that fails. */
  isAway?(): boolean;
  clock: Clock;
};

/** `used`: since its last lookup. */
type CachedCaller = { caller: Caller; renewAt: number; until: number; used: boolean };

/**
 * Caches the callers by token; wrong tokens and earlier callers by the token's digest. Callers in use are looked up again before they expire, many in
 * one request, so that no request of theirs waits. While control is away, the last reply stays valid.
 */
export function openCallerCache(deps: CallerCacheDeps): CallerCache {
  const {
    findCallers,
    joinsLookups = false,
    full,
    closed,
    isAway = () => false,
    isToken = () => true,
    lookupLimits = LOOKUP_LIMITS,
    wrongTokens = WRONG_TOKENS,
    clock,
  } = deps;
  // Read for every request, so by the token's bytes and without the clock: a digest, or a cache with expiry, costs more than the rest of a decision.
  const valid = new ByteMap<CachedCaller>({ maxSize: MOST_CALLERS, maxKeyBytes: TOKEN_BYTES });
  // A map of its own, so that a flood of invented tokens cannot evict real callers.
  const earlier = new NodeCache({ useClones: false, stdTTL: AWAY_SECONDS, maxKeys: MOST_CALLERS });
  const wrong = createWrongTokens(wrongTokens, clock);
  // The queue bounds the lookups.
  const inFlight = createSingleFlight<Caller | undefined>(Number.POSITIVE_INFINITY, full);
  const queue = createFairQueue(lookupLimits, full, clock);
  const findJoined = createJoinedLookups(MAX_TOKENS, findCallers);

  const listeners = new Set<() => void>();
  let signOuts = 0;
  let renewing = false;
  let cancelSweep: (() => void) | undefined;

  const lookUp = async (token: string, key: string, client: string, signal: AbortSignal): Promise<Caller | undefined> => {
    wrong.check(key, client);
    // No client can invent a token that was valid. So all callers that return together, as after a pause or a sign-out, are in one query.
    const leave = joinsLookups && wrong.wasAccepted(key) ? undefined : await queue.take(client, signal);
    try {
      // Lookups before it in the queue may have been of wrong tokens.
      wrong.check(key, client);
      const sent = { signOuts, at: clock.monotonic() };
      const reply = joinsLookups ? await findJoined(token, signal) : (await findCallers([token], signal))[0];
      const caller = record(token, key, reply, sent);
      if (caller === undefined) wrong.charge(client);
      return caller;
    } finally {
      leave?.();
    }
  };

  /** The earlier caller, if control is away. */
  const earlierOrThrow = (key: string, error: unknown): Caller => {
    const caller = error instanceof Fault && AWAY.has(error.code) ? earlier.get<Caller>(key) : undefined;
    if (caller === undefined) throw error;
    return extend(caller);
  };

  /** The reply if it arrives soon, else `old`. If `old` is no longer valid, the reply whenever it arrives. */
  const soonOr = (reply: Promise<Caller | undefined>, signal: AbortSignal, old: () => Caller | undefined): Promise<Caller | undefined> =>
    new Promise((resolve, reject) => {
      const cancel = clock.after(SLOW_MS, () => {
        const caller = old();
        if (caller !== undefined) resolve(caller);
      });
      raceAbort(reply, signal).finally(cancel).then(resolve, reject);
    });

  const extend = (caller: Caller): Caller => {
    store(caller, clock.monotonic(), STALE_MS);
    return caller;
  };

  /** `sent`: the time of the request, and the sign-outs before it. A sign-out event can overtake an older reply. */
  const record = (token: string, key: string, reply: CallerReply | undefined, sent: { signOuts: number; at: number }): Caller | undefined => {
    const caller = reply && knownCaller(token, reply);
    if (caller === undefined) {
      valid.delete(token);
      earlier.del(key);
      wrong.rejected(key);
    } else if (sent.signOuts === signOuts) {
      store(caller, sent.at, VALID_MS);
      remember(earlier, key, caller);
      wrong.accepted(key);
    }
    return caller;
  };

  const store = (caller: Caller, from: number, ms: number) => {
    if (closed.aborted) return;
    valid.set(caller.token, { caller, renewAt: from + ms / 2, until: from + ms, used: false });
    cancelSweep ??= clock.after(SWEEP_MS, sweep);
  };

  const sweep = () => {
    const now = clock.monotonic();
    const due: string[] = [];
    for (const entry of valid.values()) {
      const { token } = entry.caller;
      if (now >= entry.until) valid.delete(token);
      else if (entry.used && now >= entry.renewAt) due.push(token);
    }
    cancelSweep = valid.size === 0 ? undefined : clock.after(SWEEP_MS, sweep);
    if (due.length > 0 && !renewing) void renew(due);
  };

  /** Looks all of these up, many in one request. Resolves with those that are not valid. */
  const lookUpAll = async (tokens: readonly string[]): Promise<string[]> => {
    const ended: string[] = [];
    for (let at = 0; at < tokens.length; at += MAX_TOKENS) {
      if (closed.aborted) return ended;
      const some = tokens.slice(at, at + MAX_TOKENS);
      const sent = { signOuts, at: clock.monotonic() };
      const replies = await findCallers(some, closed);
      for (const [index, token] of some.entries()) if (record(token, digest(token), replies[index], sent) === undefined) ended.push(token);
    }
    return ended;
  };

  const renew = async (tokens: readonly string[]) => {
    renewing = true;
    try {
      await lookUpAll(tokens);
    } catch {
      // They are valid until they expire. The next lookup reports the reason.
    } finally {
      renewing = false;
    }
  };

  const use = (entry: CachedCaller | undefined): Caller | undefined => {
    if (entry === undefined) return undefined;
    entry.used = true;
    return entry.caller;
  };
  const cached = (token: string): Caller | undefined => use(valid.get(token));

  return {
    cached,
    cachedBytes: (bytes, start, end) => use(valid.getBytes(bytes, start, end)),
    find: (token, signal, client = "") => {
      const caller = cached(token);
      if (caller !== undefined) return Promise.resolve(caller);
      if (!isToken(token)) return Promise.resolve(undefined);
      const key = digest(token);
      if (wrong.has(key)) return Promise.resolve(undefined);
      const remembered = isAway() ? earlier.get<Caller>(key) : undefined;
      if (remembered !== undefined) return Promise.resolve(extend(remembered));
      const find = (waiting: AbortSignal) =>
        inFlight.run(key, waiting, (needed) => lookUp(token, key, addressBlock(client), AbortSignal.any([needed, closed])));
      const earlierCaller = earlier.get<Caller>(key);
      if (earlierCaller === undefined) return find(signal);
      // Continues after this request continues with the old reply.
      const reply = find(closed).catch((error: unknown) => earlierOrThrow(key, error));
      return soonOr(reply, signal, () => (earlier.get<Caller>(key) === earlierCaller ? extend(earlierCaller) : undefined));
    },
    // Callers of open exchanges are looked up until the exchange ends: a lookup counts as use.
    findEnded: (tokens) => {
      const unsure = tokens.filter((token) => cached(token) === undefined);
      return lookUpAll(unsure).catch(() => unsure.filter((token) => wrong.has(digest(token))));
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

/** A full cache is emptied: that is rare, and cheaper than an order of entries. */
function remember(cache: NodeCache, key: string, value: unknown): void {
  if (cache.getStats().keys >= MOST_CALLERS) cache.flushAll();
  cache.set(key, value);
}

/** The holder of a token, as a cache keeps it. Undefined: a token that cannot be in a header has no holder. */
function knownCaller(token: string, reply: CallerReply): Caller | undefined {
  const { derivedToken } = reply;
  return isFieldValue(token) && (derivedToken === undefined || isFieldValue(derivedToken)) ? new KnownCaller(token, reply) : undefined;
}

class KnownCaller implements Caller {
  readonly token: string;
  declare readonly userId: string;
  declare readonly login: string;
  declare readonly admin: boolean;
  declare readonly derivedToken?: string;
  declare readonly ref?: SessionRef;
  #edits: CallerEdits | undefined;

  constructor(token: string, reply: CallerReply) {
    this.token = token;
    Object.assign(this, reply);
  }

  get edits(): CallerEdits {
    this.#edits ??= new CallerEdits(this.token, this.derivedToken);
    return this.#edits;
  }
}
