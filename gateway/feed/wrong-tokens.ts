import type { Clock } from "../../lib/clock.ts";
import { ExpiringMap } from "../../lib/expiring-map.ts";
import { Fault } from "../../lib/fault.ts";

export type WrongTokenLimits = {
  /** How long a wrong token is refused without a lookup, in milliseconds, and how many are remembered. */
  rememberMs: number;
  most: number;
  /** Wrong tokens of one client address at once, and then one each `everyMs`. */
  burst: number;
  everyMs: number;
};

/**
 * berth's own tokens are 256 random bits: a wrong one never becomes valid. The burst is that of an office behind one address whose sessions all ended.
 */
export const WRONG_TOKENS: WrongTokenLimits = { rememberMs: 30_000, most: 8_192, burst: 200, everyMs: 50 };

type WrongTokens = {
  /** The token with this digest was refused recently. */
  has(key: string): boolean;
  /** Before a lookup. Faults: TOO_MANY_ATTEMPTS for a client that sent too many wrong tokens, unless this one was valid recently. */
  check(key: string, client: string): void;
  rejected(key: string): void;
  accepted(key: string): void;
  /** The token was valid recently, and was not refused since. */
  wasAccepted(key: string): boolean;
  /** Counts a lookup of a wrong token for the client. */
  charge(client: string): void;
  clear(): void;
};

const MOST_CLIENTS = 10_000;
const ACCEPTED_MS = 15 * 60_000;
const MOST_ACCEPTED = 20_000;

/** Remembers wrong tokens by their digests, and limits the lookups for each client address. */
export function createWrongTokens({ rememberMs, most, burst, everyMs }: WrongTokenLimits, clock: Clock): WrongTokens {
  const wrong = new ExpiringMap<string, true>({ ms: rememberMs, most, clock });
  // A flood does not block other clients behind the same address: a token that was valid is looked up, also after a sign-out.
  const right = new ExpiringMap<string, true>({ ms: ACCEPTED_MS, most: MOST_ACCEPTED, clock });
  // Each wrong token moves the mark of its client into the future.
  const marks = new Map<string, number>();
  return {
    has: (key) => wrong.get(key) !== undefined,
    check: (key, client) => {
      const mark = marks.get(client);
      if (mark === undefined || right.get(key) !== undefined) return;
      const retryAfterMs = mark - clock.monotonic() - (burst - 1) * everyMs;
      if (retryAfterMs <= 0) return;
      const message = `Session tokens of ${client} are not checked at the moment: more than ${burst} wrong ones came from there. Wait, then sign in again.`;
      throw new Fault("TOO_MANY_ATTEMPTS", message, { retryAfterMs });
    },
    rejected: (key) => {
      right.delete(key);
      wrong.set(key, true);
    },
    accepted: (key) => right.set(key, true),
    wasAccepted: (key) => right.get(key) !== undefined,
    charge: (client) => {
      const mark = Math.max(marks.get(client) ?? 0, clock.monotonic()) + everyMs;
      marks.delete(client);
      marks.set(client, mark);
      const [oldest] = marks.keys();
      if (marks.size > MOST_CLIENTS && oldest !== undefined) marks.delete(oldest);
    },
    clear: () => {
      wrong.clear();
      right.clear();
      marks.clear();
    },
  };
}
