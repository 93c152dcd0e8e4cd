import { COLON, CR, LF } from "./byte-tables.ts";
import { isPersistent, membersOf, namedIn, parseFraming, MessageRefused } from "./framing.ts";
import type { ParsedHead } from "./head-parser.ts";
import { CHUNKED, type HeadScan, keyOf, LINE, MARK, NO_BODY, untrimmedValueOf, valueOf } from "./head-scan.ts";
import { DROPPED, markOf, NAME, UNSEEN } from "./header-lines.ts";
import { parseRequestLine, parseStatusLine } from "./first-line.ts";

/** The rules for a head that is not plain. Each fills `scan` from what the parser found, or throws MessageRefused for what RFC 9112 forbids. */

/** `dropUnderscores`: ignores lines with an underscore in their name: many servers treat `x_user` and `x-user` as one name. */
export function takeRequest(memory: Buffer, from: number, parsed: ParsedHead, dropUnderscores: boolean, scan: HeadScan): void {
  const { targetStart, targetEnd } = parsed;
  const text = memory.toString("latin1", from, Math.min(from + targetEnd + " HTTP/1.1\r\n".length, parsed.end));
  const line = parseRequestLine(text, targetStart, targetEnd);
  scan.begin();
  scan.method = line.method;
  scan.minorVersion = line.minorVersion;
  scan.targetAt = targetStart;
  scan.targetEnd = targetEnd;
  const connection = takeLines(memory, from, parsed, line.end, dropUnderscores, scan);
  if (countOf(scan, NAME.host) !== 1) throw new MessageRefused(400, "A request has exactly one Host");
  checkHost(lastValue(memory, from, scan, NAME.host), line.target);
  takeFraming(memory, from, scan);
  scan.persistent = isPersistent(line.minorVersion, connection);
  scan.websocket =
    countOf(scan, NAME.upgrade) === 1 &&
    line.method === "GET" &&
    line.minorVersion === 1 &&
    scan.framing !== CHUNKED &&
    scan.framing <= 0 &&
    connection.includes("upgrade") &&
    lastValue(memory, from, scan, NAME.upgrade).toLowerCase() === "websocket";
  scan.expectsContinue =
    countOf(scan, NAME.expect) === 1 &&
    line.minorVersion === 1 &&
    (scan.framing === CHUNKED || scan.framing > 0) &&
    lastValue(memory, from, scan, NAME.expect).toLowerCase() === "100-continue";
}

export function takeResponse(memory: Buffer, from: number, parsed: ParsedHead, scan: HeadScan): void {
  const line = parseStatusLine(memory.toString("latin1", from, memory.indexOf(LF, from) + 1));
  scan.begin();
  scan.minorVersion = line.minorVersion;
  scan.status = line.status;
  const connection = takeLines(memory, from, parsed, line.end, false, scan);
  takeFraming(memory, from, scan);
  scan.persistent = isPersistent(line.minorVersion, connection);
}

/** Verifies that the head contains nothing but the parser's spans. Returns the members of `Connection`. */
function takeLines(memory: Buffer, from: number, { spans, end }: ParsedHead, start: number, dropUnderscores: boolean, scan: HeadScan) {
  const last = end - from - 2;
  let lineStart = start;
  for (let next = 0; next < spans.length; next += 3) {
    const nameAt = spans[next] ?? 0;
    const nameEnd = spans[next + 1] ?? 0;
    const lineEnd = next + 3 < spans.length ? (spans[next + 3] ?? 0) : last;
    if (
      nameAt !== lineStart ||
      nameEnd <= nameAt ||
      spans[next + 2] !== lineEnd - 2 ||
      memory[from + nameEnd] !== COLON ||
      memory[from + lineEnd - 2] !== CR ||
      memory[from + lineEnd - 1] !== LF
    )
      throw new MessageRefused(400, "A header line is malformed");
    lineStart = lineEnd;
    let mark = markOf(memory, from + nameAt, nameEnd - nameAt);
    if (dropUnderscores && hasUnderscore(memory, from + nameAt, from + nameEnd)) mark |= DROPPED | UNSEEN;
    scan.addLine(nameAt, keyOf(nameEnd - nameAt, memory[from + nameAt] as number), mark, lineEnd);
  }
  if (lineStart !== last || memory[from + last] !== CR || memory[from + last + 1] !== LF)
    throw new MessageRefused(400, "The head does not end with an empty line");
  scan.firstLine = start;
  scan.length = end - from;
  if (!scan.has(NAME.connection)) return [];
  const members = membersOf(allValues(memory, from, scan, NAME.connection));
  scan.named = namedIn(members);
  return members;
}

function hasUnderscore(memory: Buffer, from: number, end: number): boolean {
  for (let at = from; at < end; at++) if (memory[at] === UNDERSCORE) return true;
  return false;
}

const UNDERSCORE = 95;

function takeFraming(memory: Buffer, from: number, scan: HeadScan): void {
  const lengths = countOf(scan, NAME.length);
  const codings = countOf(scan, NAME.coding);
  if (lengths + codings === 0) return;
  const framing = parseFraming({
    lengths,
    length: lengths > 0 ? untrimmedValueOf(memory, from, scan.lines, lastOf(scan, NAME.length)) : "",
    codings,
    coding: codings > 0 ? untrimmedValueOf(memory, from, scan.lines, lastOf(scan, NAME.coding)) : "",
    minorVersion: scan.minorVersion,
  });
  scan.framing = framing === "chunked" ? CHUNKED : (framing ?? NO_BODY);
}

/** The number of lines with this name. */
function countOf(scan: HeadScan, name: number): number {
  let count = 0;
  for (let line = 0; line < scan.count; line++) if (idOf(scan, line) === name) count++;
  return count;
}

function lastOf(scan: HeadScan, name: number): number {
  let line = scan.count - 1;
  while (line > 0 && idOf(scan, line) !== name) line--;
  return line;
}

function lastValue(memory: Buffer, from: number, scan: HeadScan, name: number): string {
  return valueOf(memory, from, scan.lines, lastOf(scan, name));
}

function allValues(memory: Buffer, from: number, scan: HeadScan, name: number): string {
  const values: string[] = [];
  for (let line = 0; line < scan.count; line++) if (idOf(scan, line) === name) values.push(valueOf(memory, from, scan.lines, line));
  return values.join(", ");
}

function idOf(scan: HeadScan, line: number): number {
  return (scan.lines[line * LINE + MARK] as number) & (DROPPED - 1);
}

/** Refuses a Host that is malformed, or differs from an absolute target (RFC 9112 §3.2.2). */
function checkHost(host: string, target: string): void {
  if (!HOST.test(host)) throw new MessageRefused(400, "The Host is malformed");
  if (target.startsWith("/") || target === "*") return;
  const [scheme = "", , authority = ""] = target.split(/[/?]/, 3);
  const port = scheme.toLowerCase() === "https:" ? ":443" : ":80";
  if (withoutPort(authority, port) !== withoutPort(host, port)) throw new MessageRefused(400, "The request target and the Host name different hosts");
}

const HOST = /^(?:\[[\da-fA-F:.]+\]|[\w\-.~!$&'()*+;=%]+)(?::\d{0,5})?$/;

function withoutPort(authority: string, defaultPort: string): string {
  const name = authority.toLowerCase();
  if (name.endsWith(":")) return name.slice(0, -1);
  return name.endsWith(defaultPort) ? name.slice(0, -defaultPort.length) : name;
}
