import { HOP_BY_HOP } from "../hop-by-hop.ts";

/** What a header line is to this room: a number per name that matters, and the flags below. */
export const NAME = { other: 0, host: 1, length: 2, coding: 3, connection: 4, upgrade: 5, trailer: 6, expect: 7, setCookie: 8 } as const;

/** Does not travel on. */
export const DROPPED = 16;
/** Is not even seen: as if it had not come. */
export const UNSEEN = 32;

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

type Known = { name: string; first: number; mark: number };

/** The names that matter, by their length: most lines of a head are told apart by that alone. */
export type KnownNames = readonly (readonly Known[] | undefined)[];

export function knownNames(): KnownNames {
  const byLength: Known[][] = [];
  for (const name of new Set([...IDS.keys(), ...HOP_BY_HOP])) {
    const mark = (IDS.get(name) ?? NAME.other) | (HOP_BY_HOP.has(name) ? DROPPED : 0);
    (byLength[name.length] ??= []).push({ name, first: name.charCodeAt(0), mark });
  }
  // No holes: an array with holes is looked up more slowly.
  return Array.from(byLength);
}

/** The mark of the name at `start` in `text`. */
export function markOf(known: KnownNames, text: string, start: number, end: number): number {
  const candidates = known[end - start];
  if (candidates === undefined) return NAME.other;
  const first = text.charCodeAt(start) | 32;
  for (const { name, first: expected, mark } of candidates) if (first === expected && isName(text, start, name)) return mark;
  return NAME.other;
}

/** Whether `name`, in lower case, stands at `start` in `text`, in whatever case. */
export function isName(text: string, start: number, name: string): boolean {
  for (let at = 0; at < name.length; at++) {
    const code = text.charCodeAt(start + at);
    if ((code >= 65 && code <= 90 ? code | 32 : code) !== name.charCodeAt(at)) return false;
  }
  return true;
}
