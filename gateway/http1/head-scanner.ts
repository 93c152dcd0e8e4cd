import { CR, COLON, isNameAt, isTextAt, LF, PLAIN_HOST, PLAIN_TARGET, PLAIN_TOKEN, SLASH, SPACE, TOKEN, ZERO } from "./byte-tables.ts";
import { CHUNKED, type HeadScan, keyOf, NO_BODY, SINGLE } from "./head-scan.ts";
import { DROPPED, markOf, NAME } from "./header-lines.ts";
import { methodAt } from "./first-line.ts";

/** The scanner cannot tell, or the head is not complete: the parser must read it. */
export const NOT_PLAIN = -1;

/** `GET / HTTP/1.1`, `Host: a` and the empty line; and no method is longer. */
const MIN_REQUEST_BYTES = 27;
const VERSION = " HTTP/1.1\r\n";
const STATUS_LINE = "HTTP/1.1 200 \r\n".length;
/** Of a length: larger ones need an exact check. */
const MAX_DIGITS = 15;

/**
 * Scans the head of a request that begins at `from`, and returns the offset after it, or NOT_PLAIN. It takes only what no two readers could read
 * differently: HTTP/1.1, a target in origin form, lines of `Name: value` in visible ASCII, one Host, no body or one with a plain framing, and the usual
 * values of `Connection`. What it takes, the parser takes with the same meaning: test/gateway/http1/head-scanner.test.ts compares them.
 */
export function scanRequest(memory: Uint8Array, from: number, end: number, maxLines: number, scan: HeadScan): number {
  scan.begin();
  if (end - from < MIN_REQUEST_BYTES) return NOT_PLAIN;
  const method = methodAt(memory, from);
  if (method === undefined) return NOT_PLAIN;
  const targetAt = from + method.length + 1;
  if (memory[targetAt] !== SLASH) return NOT_PLAIN;
  let at = targetAt + 1;
  while (at < end && PLAIN_TARGET[memory[at] as number] === 1) at++;
  if (end - at < VERSION.length || !isTextAt(memory, at, VERSION)) return NOT_PLAIN;
  scan.method = method;
  scan.targetAt = targetAt - from;
  scan.targetEnd = at - from;
  const next = scanLines(memory, from, at + VERSION.length, end, maxLines, PLAIN_TOKEN, scan);
  if (next === NOT_PLAIN || !scan.has(NAME.host) || scan.has(NAME.expect)) return NOT_PLAIN;
  if (!scan.switches && !scan.has(NAME.upgrade)) return next;
  // Of upgrades only the usual one.
  if (!scan.switches || !scan.websocket || method !== "GET" || scan.framing !== NO_BODY) return NOT_PLAIN;
  return next;
}

/** The same for a response. */
export function scanResponse(memory: Uint8Array, from: number, end: number, maxLines: number, scan: HeadScan): number {
  scan.begin();
  if (end - from < STATUS_LINE || !isTextAt(memory, from, "HTTP/1.1 ")) return NOT_PLAIN;
  const tens = digit(memory, from + 10);
  const ones = digit(memory, from + 11);
  const status = digit(memory, from + 9) * 100 + tens * 10 + ones;
  if (tens === -1 || ones === -1 || status < 100 || status > 599 || memory[from + 12] !== SPACE) return NOT_PLAIN;
  let at = from + 13;
  if (memory[at] === SPACE) return NOT_PLAIN;
  at = visibleEnd(memory, at, end);
  if (at === from + 13 || end - at < 2 || memory[at] !== CR || memory[at + 1] !== LF) return NOT_PLAIN;
  scan.status = status;
  return scanLines(memory, from, at + 2, end, maxLines, TOKEN, scan);
}

/** -1: no digit. */
function digit(memory: Uint8Array, at: number): number {
  const value = (memory[at] as number) - ZERO;
  return value >= 0 && value <= 9 ? value : -1;
}

/** The offset of the first byte that is not visible ASCII or a space. */
function visibleEnd(memory: Uint8Array, from: number, end: number): number {
  let at = from;
  while (at < end) {
    const byte = memory[at] as number;
    if (byte < 32 || byte > 126) break;
    at++;
  }
  return at;
}

/** Scans the lines and the empty line. */
function scanLines(memory: Uint8Array, from: number, start: number, end: number, maxLines: number, names: Uint8Array, scan: HeadScan): number {
  scan.firstLine = start - from;
  let at = start;
  for (;;) {
    if (end - at < 2) return NOT_PLAIN;
    if (memory[at] === CR) break;
    const nameAt = at;
    while (at < end && names[memory[at] as number] === 1) at++;
    const length = at - nameAt;
    // The shortest rest: `: a`, CRLF.
    if (length === 0 || end - at < 5 || memory[at] !== COLON || memory[at + 1] !== SPACE || memory[at + 2] === SPACE) return NOT_PLAIN;
    const valueAt = at + 2;
    at = visibleEnd(memory, valueAt, end);
    if (at === valueAt || end - at < 2 || memory[at] !== CR || memory[at + 1] !== LF || memory[at - 1] === SPACE) return NOT_PLAIN;
    if (scan.count === maxLines) return NOT_PLAIN;
    const mark = markOf(memory, nameAt, length);
    if (mark !== NAME.other && !takeMarked(memory, valueAt, at, mark, scan)) return NOT_PLAIN;
    at += 2;
    scan.addLine(nameAt - from, keyOf(length, memory[nameAt] as number), mark, at - from);
  }
  if (memory[at + 1] !== LF) return NOT_PLAIN;
  scan.length = at + 2 - from;
  return at + 2;
}

/** Takes the value of a line whose name matters. False: it is not plain. */
function takeMarked(memory: Uint8Array, at: number, end: number, mark: number, scan: HeadScan): boolean {
  const name = mark & (DROPPED - 1);
  if (name === NAME.other) return true;
  if ((SINGLE & (1 << name)) !== 0 && scan.has(name)) return false;
  switch (name) {
    case NAME.host:
      return isPlainHost(memory, at, end);
    case NAME.length:
      if (scan.framing !== NO_BODY) return false;
      scan.framing = lengthIn(memory, at, end);
      return scan.framing !== NO_BODY;
    case NAME.coding:
      if (scan.framing !== NO_BODY || end - at !== 7 || !isTextAt(memory, at, "chunked")) return false;
      scan.framing = CHUNKED;
      return true;
    case NAME.connection:
      return takeConnection(memory, at, end, scan);
    case NAME.upgrade:
      scan.websocket = end - at === 9 && isNameAt(memory, at, "websocket");
      return true;
    default:
      return true;
  }
}

/** A name or an IPv4 address, and possibly a port. */
function isPlainHost(memory: Uint8Array, from: number, end: number): boolean {
  let at = from;
  while (at < end && PLAIN_HOST[memory[at] as number] === 1) at++;
  if (at === from) return false;
  if (at === end) return true;
  const digits = end - at - 1;
  if (memory[at] !== COLON || digits < 1 || digits > 5) return false;
  for (at++; at < end; at++) if (digit(memory, at) === -1) return false;
  return true;
}

/** NO_BODY: it is not plain. */
function lengthIn(memory: Uint8Array, from: number, end: number): number {
  const digits = end - from;
  // Zeros in front are for the parser.
  if (digits > MAX_DIGITS || (digits > 1 && memory[from] === ZERO)) return NO_BODY;
  let length = 0;
  for (let at = from; at < end; at++) {
    const value = digit(memory, at);
    if (value === -1) return NO_BODY;
    length = length * 10 + value;
  }
  return length;
}

/** The usual values. */
function takeConnection(memory: Uint8Array, at: number, end: number, scan: HeadScan): boolean {
  switch (end - at) {
    case 5:
      scan.persistent = false;
      return isNameAt(memory, at, "close");
    case 7:
      scan.switches = true;
      return isNameAt(memory, at, "upgrade");
    case 10:
      return isNameAt(memory, at, "keep-alive");
    case 19:
      scan.switches = true;
      return isNameAt(memory, at, "keep-alive, upgrade");
    default:
      return false;
  }
}
