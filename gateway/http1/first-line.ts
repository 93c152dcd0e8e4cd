import { MessageRefused } from "./framing.ts";
import { isTextAt } from "./byte-tables.ts";

/** The methods of llhttp, without those of other protocols and without CONNECT, which would open a tunnel. */
const METHODS: ReadonlySet<string> = new Set(
  (
    "GET HEAD POST PUT DELETE OPTIONS PATCH TRACE QUERY SEARCH LINK UNLINK PURGE COPY LOCK UNLOCK MOVE MKCOL PROPFIND PROPPATCH " +
    "BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE MKCALENDAR"
  ).split(" "),
);

function isMethod(text: string): boolean {
  return METHODS.has(text);
}

/** A well-formed method that is not supported. */
export function isUnknownMethod(method: string): boolean {
  return TOKEN.test(method) && !METHODS.has(method);
}

const TOKEN = /^[!#$%&'*+\-.^_`|~\dA-Za-z]+$/;

/** By the first byte. */
const BY_FIRST: readonly (readonly string[])[] = Array.from({ length: 256 }, (_, byte) => [...METHODS].filter((name) => name.charCodeAt(0) === byte));
const GET = "GET";

/** The method at `at` if it is one of these and a space follows. `memory` has 12 bytes from there. */
export function methodAt(memory: Uint8Array, at: number): string | undefined {
  // Most requests.
  if (memory[at] === 71 && memory[at + 1] === 69 && memory[at + 2] === 84 && memory[at + 3] === 32) return GET;
  for (const name of BY_FIRST[memory[at] as number] as readonly string[])
    if (memory[at + name.length] === 32 && isTextAt(memory, at, name)) return name;
  return undefined;
}

type RequestLine = { method: string; target: string; minorVersion: 0 | 1; /** Where the header lines begin. */ end: number };

/** Parses the request line again: llhttp accepts two spaces, HTTP/0.9, HTTP/2.0, ICE/1.0 and targets of any scheme. */
export function parseRequestLine(text: string, targetStart: number, targetEnd: number): RequestLine {
  const method = text.slice(0, targetStart - 1);
  const target = text.slice(targetStart, targetEnd);
  const minorVersion = text.startsWith(" HTTP/1.1\r\n", targetEnd) ? 1 : text.startsWith(" HTTP/1.0\r\n", targetEnd) ? 0 : undefined;
  if (minorVersion === undefined) throw refusedVersion(text, targetEnd);
  if (!isMethod(method)) {
    if (text.charCodeAt(targetStart - 1) === SPACE && isUnknownMethod(method)) throw new MessageRefused(501, "The method is not supported");
    throw new MessageRefused(400, "The request line is malformed");
  }
  if (text.charCodeAt(targetStart - 1) !== SPACE) throw new MessageRefused(400, "The request line is malformed");
  // Bytes beyond visible ASCII, and fragments.
  if (UNFIT.test(target)) throw new MessageRefused(400, "The request target has bytes that are not allowed in a target");
  if (!target.startsWith("/") && !ABSOLUTE.test(target) && !(target === "*" && method === "OPTIONS"))
    throw new MessageRefused(400, "The form of the request target is not supported");
  return { method, target, minorVersion, end: targetEnd + 11 };
}

const SPACE = 32;
const UNFIT = /[^\x21\x22\x24-\x7e]/;
const ABSOLUTE = /^https?:\/\/[^/?]/i;

/** 505 for a well-formed version that is not supported, else 400. */
export function refusedVersion(text: string, at: number): MessageRefused {
  const version = /^ HTTP\/(\d)\.(\d)/.exec(text.slice(at, at + 9));
  if (version === null || (version[1] === "1" && Number(version[2]) < 2)) return new MessageRefused(400, "The request line is malformed");
  return new MessageRefused(505, "Only HTTP/1.1 and HTTP/1.0 are supported");
}

type StatusLine = { minorVersion: 0 | 1; status: number; /** Where the header lines begin. */ end: number };

export function parseStatusLine(text: string): StatusLine {
  const line = STATUS_LINE.exec(text);
  if (line === null) throw new MessageRefused(400, "The status line is malformed");
  return { minorVersion: line[1] === "1" ? 1 : 0, status: Number(line[2]), end: line[0].length };
}

const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?\r\n/;
