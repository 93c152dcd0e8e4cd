import { isNameAt } from "./byte-tables.ts";

/** The mark of a header line: a number for each name that matters to a proxy, and the flags below. */
export const NAME = { other: 0, host: 1, length: 2, coding: 3, connection: 4, upgrade: 5, trailer: 6, expect: 7, setCookie: 8 } as const;

/** The line is not forwarded. */
export const DROPPED = 16;
/** The line is ignored. */
export const UNSEEN = 32;
/** The edits that are being written remove the line. */
export const REMOVED = 64;

const IDS: ReadonlyMap<string, number> = new Map([
  ["host", NAME.host],
  ["content-length", NAME.length],
  ["transfer-encoding", NAME.coding],
  ["connection", NAME.connection],
  ["upgrade", NAME.upgrade],
  ["trailer", NAME.trailer],
  ["expect", NAME.expect],
  ["set-cookie", NAME.setCookie],
]);

/**
 * Headers of one connection, which are never forwarded (RFC 9110 §7.6.1), in lower case. `Transfer-Encoding` and `Trailer` are hop-by-hop too, but are
 * forwarded with a body whose bytes are forwarded unchanged.
 */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-authentication-info",
  "proxy-connection",
  "te",
  "upgrade",
]);

/** The names that matter, found by their length and first letter, which no two of them share. */
const MARKED_NAMES: readonly string[] = [...new Set([...IDS.keys(), ...HOP_BY_HOP])];
const MARKS = MARKED_NAMES.map((name) => (IDS.get(name) ?? NAME.other) | (HOP_BY_HOP.has(name) ? DROPPED : 0));
/** Longer names do not matter. */
const SLOTS = 32;
/** By length and letter: 1 + an index of `MARKED_NAMES`, or 0. */
const BY_SLOT = slots();

function slots(): Uint8Array {
  const table = new Uint8Array(SLOTS * SLOTS);
  for (const [index, name] of MARKED_NAMES.entries()) {
    const slot = slotOf(name.length, name.charCodeAt(0));
    if (name.length >= SLOTS || table[slot] !== 0) throw new Error(`The name ${name} needs another table`);
    table[slot] = index + 1;
  }
  return table;
}

function slotOf(length: number, first: number): number {
  return length * SLOTS + (first & (SLOTS - 1));
}

/** The mark of the name at `at`. */
export function markOf(memory: Uint8Array, at: number, length: number): number {
  if (length >= SLOTS) return NAME.other;
  const index = BY_SLOT[slotOf(length, memory[at] as number)] as number;
  if (index === 0 || !isNameAt(memory, at, MARKED_NAMES[index - 1] as string)) return NAME.other;
  return MARKS[index - 1] as number;
}

/**
 * Headers that `Connection` must not make hop-by-hop: those of the framing, those that decisions depend on (the decision would be for another message than
 * the one that is sent), and those that a proxy in front has set.
 */
const NEVER_NAMED: ReadonlySet<string> = new Set([
  "host",
  "trailer",
  "transfer-encoding",
  "expect",
  "authorization",
  "cookie",
  "set-cookie",
  "x-user-api-key",
  "x-real-ip",
  "forwarded",
  "origin",
  "via",
  "traceparent",
  "tracestate",
]);

const NEVER_NAMED_FAMILIES = ["content-", "x-forwarded-", "sec-", "access-control-"];

/** `Connection` may make this field (lower case) hop-by-hop. */
export function mayBeNamed(name: string): boolean {
  return !NEVER_NAMED.has(name) && !NEVER_NAMED_FAMILIES.some((family) => name.startsWith(family));
}
