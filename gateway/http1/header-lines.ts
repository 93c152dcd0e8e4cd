import type { HeaderLine } from "../decision.ts";

/** The mark of a header line: a number for each name that matters to a proxy, and the flags below. */
export const NAME = { other: 0, host: 1, length: 2, coding: 3, connection: 4, upgrade: 5, trailer: 6, expect: 7, setCookie: 8 } as const;

/** The line is not forwarded. */
export const DROPPED = 16;
/** The line is ignored. */
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

/** The names that matter, by their length: most lines differ from all of them by length alone. */
export type KnownNames = readonly (readonly KnownName[] | undefined)[];

export function knownNames(): KnownNames {
  const byLength: KnownName[][] = [];
  for (const name of new Set([...IDS.keys(), ...HOP_BY_HOP])) {
    const mark = (IDS.get(name) ?? NAME.other) | (HOP_BY_HOP.has(name) ? DROPPED : 0);
    (byLength[name.length] ??= []).push({ name, first: name.charCodeAt(0), mark });
  }
  // Without holes, which make look-ups slower.
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

/** `text` has `name` (lower case) at `start`, in any case. */
export function isName(text: string, start: number, name: string): boolean {
  for (let at = 0; at < name.length; at++) {
    const code = text.charCodeAt(start + at);
    if ((code >= 65 && code <= 90 ? code | 32 : code) !== name.charCodeAt(at)) return false;
  }
  return true;
}

/**
 * Headers of one connection, which are never forwarded (RFC 9110 §7.6.1), in lower case. `Transfer-Encoding` and `Trailer` are hop-by-hop too, but are
 * forwarded with a body whose bytes are forwarded unchanged.
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

/** Writes lines. Throws if one is not a valid field, which is a bug: it could become a second line, or another message. */
export function writeLines(lines: readonly HeaderLine[]): string {
  let text = "";
  for (const [name, value] of lines) text += `${name}: ${value}\r\n`;
  // Checks all lines at once, which costs less than each by itself: valid lines only, and as many as given.
  if (FIT.test(text) && countLines(text) === lines.length) return text;
  throw new Error(`A header line cannot be written: ${lines.map(([name]) => JSON.stringify(name)).join(", ")}`);
}

/** Returns the target, or throws for the same reason. */
export function writeTarget(target: string): string {
  if (target === "" || UNFIT_TARGET.test(target)) throw new Error("The request target cannot be written");
  return target;
}

// No characters beyond latin1: only their low byte would be sent, which may be a line feed.
const FIT = /^(?:[!#$%&'*+\-.^_`|~\dA-Za-z]+: [\t\x20-\x7e\x80-\xff]*\r\n)*$/;
const UNFIT_TARGET = /[^\x21-\x7e]/;

function countLines(text: string): number {
  let lines = 0;
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) lines++;
  return lines;
}

/**
 * The headers that describe where a body ends: the number of lines of each, and the value of one, untrimmed. Values with tabs or trailing spaces are
 * refused, because readers differ in what they trim.
 */
type Framing = { lengths: number; length: string; codings: number; coding: string; minorVersion: 0 | 1 };

/** The length of a body, "chunked", or undefined without such a header. Throws MessageRefused if two readers could differ (RFC 9112 §6.3). */
export function parseFraming({ lengths, length, codings, coding, minorVersion }: Framing): number | "chunked" | undefined {
  if (codings > 0) {
    if (lengths > 0) throw new MessageRefused(400, "The message has a Content-Length and a Transfer-Encoding");
    if (codings > 1) throw new MessageRefused(400, "The message has more than one Transfer-Encoding");
    if (minorVersion === 0) throw new MessageRefused(400, "A message of HTTP/1.0 must not have a Transfer-Encoding");
    if (!/^ *chunked$/i.test(coding)) throw new MessageRefused(501, "The Transfer-Encoding is not exactly chunked");
    return "chunked";
  }
  if (lengths === 0) return undefined;
  if (lengths > 1) throw new MessageRefused(400, "The message has more than one Content-Length");
  if (!/^ *\d+$/.test(length)) throw new MessageRefused(400, "The Content-Length is not a number");
  const bytes = Number(length);
  // Larger numbers are not exact.
  if (length.trimStart().length > 16 || !Number.isSafeInteger(bytes)) throw new MessageRefused(413, "The Content-Length is too large");
  return bytes;
}

/**
 * The message is not forwarded, and its connection is closed, because the begin of the next message is unknown. `status` is for a request; a refused
 * response becomes 502.
 */
export class MessageRefused extends Error {
  readonly status: RefusedStatus;

  constructor(status: RefusedStatus, message: string) {
    super(message);
    this.name = "MessageRefused";
    this.status = status;
  }
}

type RefusedStatus = 400 | 408 | 413 | 414 | 431 | 501 | 505;
