import type { HeaderLine } from "../decision.ts";

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

type KnownName = { name: string; first: number; mark: number };

/** The names that matter, by their length: most lines of a head are told apart by that alone. */
export type KnownNames = readonly (readonly KnownName[] | undefined)[];

export function knownNames(): KnownNames {
  const byLength: KnownName[][] = [];
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

/**
 * What belongs to one connection and never travels on (RFC 9110 §7.6.1), in lower case. `Transfer-Encoding` and `Trailer` belong
 * here too, but travel with a body that is passed as the bytes it came as; who takes a body apart drops them as well.
 */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-authentication-info",
  "proxy-connection",
  "te",
  "upgrade",
]);

/**
 * What `Connection` may not make hop-by-hop: what says where a message ends, what a decision was made on (it would be true of
 * another message than the one that is sent), and what a proxy in front of this one has vouched for.
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

/** Whether `Connection` may name this field (in lower case) as one that does not travel on. */
export function mayBeNamed(name: string): boolean {
  return !NEVER_NAMED.has(name) && !NEVER_NAMED_FAMILIES.some((family) => name.startsWith(family));
}

/** A line as it is written. What is no field is a bug of who made it, and must not become a second line, or another message. */
export function writeLines(lines: readonly HeaderLine[]): string {
  let text = "";
  for (const [name, value] of lines) text += `${name}: ${value}\r\n`;
  // Read as a whole, which costs less than each by itself: as many lines as were meant, and nothing but lines.
  if (FIT.test(text) && countLines(text) === lines.length) return text;
  throw new Error(`A header line cannot be written: ${lines.map(([name]) => JSON.stringify(name)).join(", ")}`);
}

/** A target as it is written, under the same promise. */
export function writeTarget(target: string): string {
  if (target === "" || UNFIT_TARGET.test(target)) throw new Error("The request target cannot be written");
  return target;
}

// No characters beyond latin1: their low byte alone would be sent, and that may be a line feed.
const FIT = /^(?:[!#$%&'*+\-.^_`|~\dA-Za-z]+: [\t\x20-\x7e\x80-\xff]*\r\n)*$/;
const UNFIT_TARGET = /[^\x21-\x7e]/;

function countLines(text: string): number {
  let lines = 0;
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) lines++;
  return lines;
}

/**
 * What says where a body ends: how many lines of each kind there are, and the value of one, with all that is between its colon and
 * the end of its line. Tabs and trailing spaces are refused in it: where readers differ, they do in what they trim.
 */
export type Framing = { lengths: number; length: string; codings: number; coding: string; minorVersion: 0 | 1 };

/**
 * The length of a body, or "chunked", or undefined where no line says. Whatever two readers could take in two ways is refused
 * (RFC 9112 §6.3).
 */
export function readFraming({ lengths, length, codings, coding, minorVersion }: Framing): number | "chunked" | undefined {
  if (codings > 0) {
    if (lengths > 0) throw new MessageRefused(400, "The message has a Content-Length and a Transfer-Encoding");
    if (codings > 1) throw new MessageRefused(400, "The message has more than one Transfer-Encoding");
    if (minorVersion === 0) throw new MessageRefused(400, "A message of HTTP/1.0 has no Transfer-Encoding");
    if (!/^ *chunked$/i.test(coding)) throw new MessageRefused(501, "The Transfer-Encoding is not exactly chunked");
    return "chunked";
  }
  if (lengths === 0) return undefined;
  if (lengths > 1) throw new MessageRefused(400, "The message has more than one Content-Length");
  if (!/^ *\d+$/.test(length)) throw new MessageRefused(400, "The Content-Length is not a number");
  const bytes = Number(length);
  // Beyond it numbers are not exact, here and elsewhere.
  if (length.trimStart().length > 16 || !Number.isSafeInteger(bytes))
    throw new MessageRefused(413, "The Content-Length is larger than any body can be");
  return bytes;
}

/**
 * A message that is not passed on; its connection ends, since nobody can say where its next message would begin. `status` answers a
 * request; a response that is refused is a container's fault, and its caller gets 502.
 */
export class MessageRefused extends Error {
  readonly status: RefusedStatus;

  constructor(status: RefusedStatus, sentence: string) {
    super(sentence);
    this.name = "MessageRefused";
    this.status = status;
  }
}

export type RefusedStatus = 400 | 408 | 413 | 414 | 431 | 501 | 505;
