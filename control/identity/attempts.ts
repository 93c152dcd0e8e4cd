import { isIP } from "node:net";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { tokenDigest } from "./sessions.ts";

/** `peer` is a client's address as the gateway reports it; undefined for clients that came through this user's own socket. */
export type SignInAttempts = {
  /** Call it before the key is verified. Faults: TOO_MANY_ATTEMPTS, for right keys too: otherwise the response would confirm a right guess. */
  check(peer: string | undefined, key?: string): void;
  failed(peer: string | undefined): void;
  /** The key was right. */
  succeeded(peer: string | undefined, key: string): void;
};

/** So many failures at once, then one each `everyMs`. */
type AttemptAllowance = { burst: number; everyMs: number };

export type AttemptLimits = {
  /** Slows down a script with a wrong key, and no other client. */
  ofAPeer: AttemptAllowance;
  /**
   * Of all addresses together. Above it, only addresses with failures are refused, until their own failures expire. A right key from any other address
   * is accepted, so no client can lock out the others.
   */
  ofAll: AttemptAllowance;
  /** How long an address, and a key from it, counts as known after a success. */
  knownMs: number;
  /** How many addresses, and keys from addresses, are in memory. With more, the least recently used one is dropped. */
  mostPeers: number;
};

const ATTEMPT_LIMITS: AttemptLimits = {
  ofAPeer: { burst: 10, everyMs: 5_000 },
  ofAll: { burst: 500, everyMs: 20 },
  knownMs: 24 * 3_600_000,
  mostPeers: 5_000,
};

/**
 * For a registry proxy in front of another server. They are below that server's limits for one address: the proxy refuses a client's guesses before the
 * server refuses all clients of the proxy.
 */
export const PROXY_ATTEMPT_LIMITS: AttemptLimits = { ...ATTEMPT_LIMITS, ofAPeer: { burst: 5, everyMs: 10_000 }, ofAll: { burst: 8, everyMs: 6_000 } };

/**
 * Slows down clients that guess developer keys. Each failure moves a mark ahead of the clock. While the mark is further ahead than the burst allows, no key is
 * verified. Verifying costs a digest and one indexed query, so the limits bound guesses, not work. Three rules keep other clients from being locked out:
 *
 * - An IPv6 address counts by its /64, since one client has all of it.
 * - A key that was right from an address is always verified from there: many users may be behind one proxy.
 * - The limit of all addresses together applies to addresses with failures, and not to those with a recent success.
 *
 * All of it is in memory: a restart clears it.
 */
export function createSignInAttempts({
  clock,
  limits = ATTEMPT_LIMITS,
  refusal = "Too many wrong developer keys were tried. Wait, then try again.",
}: {
  clock: Clock;
  limits?: AttemptLimits;
  refusal?: string;
}): SignInAttempts {
  const marks = new Map<string, number>();
  const knownClients = new Map<string, number>();
  const knownKeys = new Map<string, number>();
  let markOfAll = 0;

  const now = () => clock.monotonic();
  const require = (mark: number, { burst, everyMs }: AttemptAllowance) => {
    const retryAfterMs = mark - now() - (burst - 1) * everyMs;
    if (retryAfterMs > 0) throw new Fault("TOO_MANY_ATTEMPTS", refusal, { retryAfterMs });
  };
  const moved = (mark: number, { everyMs }: AttemptAllowance) => Math.max(mark, now()) + everyMs;
  /** The last entry of the map is the most recent one. */
  const remember = (map: Map<string, number>, name: string, value: number) => {
    map.delete(name);
    map.set(name, value);
    const [oldest] = map.keys();
    if (map.size > limits.mostPeers && oldest !== undefined) map.delete(oldest);
  };
  const isKnown = (map: Map<string, number>, name: string) => (map.get(name) ?? Number.NEGATIVE_INFINITY) > now();

  return {
    check: (peer, key) => {
      if (peer === undefined) return;
      const client = clientOf(peer);
      const mark = marks.get(client) ?? 0;
      const hasFailed = mark > now();
      if (!hasFailed || (key !== undefined && isKnown(knownKeys, keyOf(client, key)))) return;
      require(mark, limits.ofAPeer);
      if (!isKnown(knownClients, client)) require(markOfAll, limits.ofAll);
    },
    failed: (peer) => {
      markOfAll = moved(markOfAll, limits.ofAll);
      if (peer === undefined) return;
      const client = clientOf(peer);
      remember(marks, client, moved(marks.get(client) ?? 0, limits.ofAPeer));
    },
    succeeded: (peer, key) => {
      if (peer === undefined) return;
      const client = clientOf(peer);
      remember(knownClients, client, now() + limits.knownMs);
      remember(knownKeys, keyOf(client, key), now() + limits.knownMs);
    },
  };
}

/** Only its digest is kept. */
function keyOf(client: string, key: string): string {
  return `${client} ${tokenDigest(key).slice(0, 32)}`;
}

/** The part of an address that one client has: an IPv4 address, or the first 64 bits of an IPv6 one. */
export function clientOf(peer: string): string {
  const [address = ""] = peer.split("%", 1);
  if (isIP(address) !== 6) return address;
  const tail = address.slice(address.lastIndexOf(":") + 1);
  const [before = "", after] = (tail.includes(".") ? `${address.slice(0, -tail.length)}0:0` : address).split("::");
  const first = before === "" ? [] : before.split(":");
  const last = after === undefined || after === "" ? [] : after.split(":");
  const missing = after === undefined ? 0 : 8 - first.length - last.length;
  const groups = [...first, ...Array<string>(missing).fill("0"), ...last].map((group) => Number.parseInt(group, 16).toString(16));
  // An IPv4 address in the form of a dual-stack socket.
  if (tail.includes(".") && groups.slice(0, 6).join(":") === "0:0:0:0:0:ffff") return tail;
  return `${groups.slice(0, 4).join(":")}::/64`;
}
