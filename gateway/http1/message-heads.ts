import type { HeaderEdits, HeaderLine } from "../decision.ts";
import { writeLines, writeTarget, NAME, MessageRefused } from "./header-lines.ts";
import { HeaderBlock, type HeadText, type ReadOptions } from "./header-block.ts";

type RequestText = Omit<HeadText, "at"> & { targetStart: number; targetEnd: number };

/** The head of a request that may be forwarded. */
export class RequestHead extends HeaderBlock {
  readonly method: string;
  /** Byte for byte, as latin1. */
  readonly target: string;
  readonly minorVersion: 0 | 1;
  readonly bodyKind: "none" | "length" | "chunked";
  /** Of a body with a length, in bytes; else 0. */
  readonly bodyLength: number;
  /** The client keeps its connection open. */
  readonly persistent: boolean;
  /** Requests an upgrade to WebSocket. An upgrade to any other protocol is ignored. */
  readonly websocket: boolean;
  /** The client waits for `100 Continue` before it sends the body. */
  readonly expectsContinue: boolean;

  /** Throws MessageRefused for what RFC 9112 forbids and the parser accepts. */
  constructor({ text, spans, targetStart, targetEnd }: RequestText, options: ReadOptions) {
    const line = parseRequestLine(text, targetStart, targetEnd);
    super({ text, spans, at: line.end }, options);
    this.method = line.method;
    this.target = line.target;
    this.minorVersion = line.minorVersion;
    if (this.count(NAME.host) !== 1) throw new MessageRefused(400, "A request has exactly one Host");
    checkHost(this.last(NAME.host), line.target);
    const framing = this.framing(line.minorVersion);
    this.bodyKind = framing === "chunked" ? "chunked" : framing === undefined || framing === 0 ? "none" : "length";
    this.bodyLength = this.bodyKind === "length" ? Number(framing) : 0;
    this.persistent = isPersistent(line.minorVersion, this.connection);
    this.websocket =
      this.count(NAME.upgrade) === 1 &&
      line.method === "GET" &&
      line.minorVersion === 1 &&
      this.bodyKind === "none" &&
      this.connection.includes("upgrade") &&
      this.last(NAME.upgrade).toLowerCase() === "websocket";
    this.expectsContinue =
      this.count(NAME.expect) === 1 && line.minorVersion === 1 && this.bodyKind !== "none" && this.last(NAME.expect).toLowerCase() === "100-continue";
  }

  get upgrade(): boolean {
    return this.websocket;
  }

  /** The head to send, as latin1: the request line with `target`, the kept lines byte for byte, the added lines, then `more`, which is written lines. */
  write(target: string, edits: HeaderEdits, more = ""): string {
    return `${this.method} ${writeTarget(target)} HTTP/1.1\r\n${this.kept(edits)}${writeLines(edits.add)}${more}\r\n`;
  }
}

/** RFC 9112 §9.3. */
function isPersistent(minorVersion: 0 | 1, connection: readonly string[]): boolean {
  if (connection.length === 0) return minorVersion === 1;
  return !connection.includes("close") && (minorVersion === 1 || connection.includes("keep-alive"));
}

/** The methods of llhttp, without those of other protocols and without CONNECT, which would open a tunnel. */
const METHODS = new Set(
  (
    "GET HEAD POST PUT DELETE OPTIONS PATCH TRACE QUERY SEARCH LINK UNLINK PURGE COPY LOCK UNLOCK MOVE MKCOL PROPFIND PROPPATCH " +
    "BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE MKCALENDAR"
  ).split(" "),
);

type RequestLine = { method: string; target: string; minorVersion: 0 | 1; /** Where the header lines begin. */ end: number };

/** Parses the request line again: llhttp accepts two spaces, HTTP/0.9, HTTP/2.0, ICE/1.0 and targets of any scheme. */
function parseRequestLine(text: string, targetStart: number, targetEnd: number): RequestLine {
  // The most frequent method; a constant is compared faster than a slice.
  const method = text.startsWith("GET ") && targetStart === 4 ? "GET" : text.slice(0, targetStart - 1);
  const target = text.slice(targetStart, targetEnd);
  const minorVersion = text.startsWith(" HTTP/1.1\r\n", targetEnd) ? 1 : text.startsWith(" HTTP/1.0\r\n", targetEnd) ? 0 : undefined;
  if (minorVersion === undefined) throw refusedVersion(text, targetEnd);
  if (!METHODS.has(method)) {
    if (text.charCodeAt(targetStart - 1) === SPACE && isUnknownMethod(method)) throw new MessageRefused(501, "The method is not supported");
    throw new MessageRefused(400, "The request line is malformed");
  }
  if (text.charCodeAt(targetStart - 1) !== SPACE) throw new MessageRefused(400, "The request line is malformed");
  // Bytes beyond visible ASCII, and fragments.
  if (UNFIT.test(target)) throw new MessageRefused(400, "The request target has bytes that are not allowed in a target");
  if (target.charCodeAt(0) !== SLASH && !ABSOLUTE.test(target) && !(target === "*" && method === "OPTIONS"))
    throw new MessageRefused(400, "The form of the request target is not supported");
  return { method, target, minorVersion, end: targetEnd + 11 };
}

/** A well-formed method that is not supported. */
export function isUnknownMethod(method: string): boolean {
  return TOKEN.test(method) && !METHODS.has(method);
}

const SPACE = 32;
const SLASH = 47;
const TOKEN = /^[!#$%&'*+\-.^_`|~\dA-Za-z]+$/;
const UNFIT = /[^\x21\x22\x24-\x7e]/;
const ABSOLUTE = /^https?:\/\/[^/?]/i;

/** 505 for a well-formed version that is not supported, else 400. */
export function refusedVersion(text: string, at: number): MessageRefused {
  const version = /^ HTTP\/(\d)\.(\d)/.exec(text.slice(at, at + 9));
  if (version === null || (version[1] === "1" && Number(version[2]) < 2)) return new MessageRefused(400, "The request line is malformed");
  return new MessageRefused(505, "Only HTTP/1.1 and HTTP/1.0 are supported");
}

const AUTHORITY = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i;

/** The request target in origin form: an absolute one (RFC 9112 §3.2.2) loses its scheme and authority, and no other byte changes. */
export function originForm(target: string): string {
  if (target.startsWith("/")) return target;
  const rest = target.replace(AUTHORITY, "");
  return rest === "" || rest.startsWith("?") ? `/${rest}` : rest;
}

/** Refuses a Host that is malformed, or differs from an absolute target (RFC 9112 §3.2.2). */
function checkHost(host: string, target: string): void {
  if (!HOST.test(host)) throw new MessageRefused(400, "The Host is malformed");
  if (target.charCodeAt(0) === SLASH || target === "*") return;
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

type ResponseText = Omit<HeadText, "at">;

/** The head of a response that may be forwarded. As strict as for requests, except that the space before an empty reason may be missing. */
export class ResponseHead extends HeaderBlock {
  readonly status: number;
  /** As latin1; may be empty. */
  readonly reason: string;
  readonly minorVersion: 0 | 1;
  /** The container keeps its connection open, and the end of this response is certain. */
  readonly persistent: boolean;
  /** Of a body with a length, in bytes; else 0. */
  readonly bodyLength: number;
  /** Of the received head, in bytes. */
  readonly length: number;
  readonly #framing: number | "chunked" | undefined;
  /** It announces a body although a response of this status has none (RFC 9110 §8.6). The container may send one all the same. */
  readonly #stray: boolean;

  constructor({ text, spans }: ResponseText, options: ReadOptions) {
    const line = text.startsWith(USUAL_LINE) ? USUAL : parseStatusLine(text);
    super({ text, spans, at: line.end }, options);
    this.minorVersion = line.minorVersion;
    this.status = line.status;
    this.reason = line.reason;
    this.length = text.length;
    this.#framing = this.framing(this.minorVersion);
    const bodiless = this.status < 200 || this.status === 204;
    this.bodyLength = typeof this.#framing === "number" && !bodiless && this.status !== 304 ? this.#framing : 0;
    this.#stray = bodiless && this.#framing !== undefined && this.#framing !== 0;
    this.persistent = !this.#stray && isPersistent(this.minorVersion, this.connection);
  }

  /** What ends the body of this response to a request with `method` (RFC 9112 §6.3). */
  bodyKind(method: string): "none" | "length" | "chunked" | "close" {
    if (method === "HEAD" || this.status < 200 || this.status === 204 || this.status === 304) return "none";
    if (this.#framing === undefined) return "close";
    return this.#framing === "chunked" ? "chunked" : this.#framing === 0 ? "none" : "length";
  }

  /** The protocol of a 101, in lower case. */
  get upgrade(): string | undefined {
    return this.status === 101 ? this.header("upgrade")?.toLowerCase() : undefined;
  }

  override lines(edits: HeaderEdits): HeaderLine[] {
    return super.lines(edits, this.#stray ? FRAMING : NO_LINES);
  }

  /** The head to send, as latin1 and HTTP/1.1. `dechunk`: its body is sent without chunks. Undefined if no byte changes: the received buffer is sent. */
  write(edits: HeaderEdits, more = "", dechunk = false): string | undefined {
    const coding = dechunk && (this.count(NAME.coding) > 0 || this.count(NAME.trailer) > 0);
    if (!coding && !this.#stray && more === "" && edits.add.length === 0 && this.minorVersion === 1 && !this.omitsLines(edits)) return undefined;
    const kept = this.kept(edits, this.#stray ? FRAMING : coding ? CODING : NO_LINES);
    return `HTTP/1.1${this.text.slice(8, this.lineEnd)}${kept}${writeLines(edits.add)}${more}\r\n`;
  }
}

type StatusLine = { minorVersion: 0 | 1; status: number; reason: string; /** Where the header lines begin. */ end: number };

function parseStatusLine(text: string): StatusLine {
  const line = STATUS_LINE.exec(text);
  if (line === null) throw new MessageRefused(400, "The status line is malformed");
  return { minorVersion: line[1] === "1" ? 1 : 0, status: Number(line[2]), reason: line[3] ?? "", end: line[0].length };
}

/** Most responses begin with it, and a comparison costs less than the expression. */
const USUAL_LINE = "HTTP/1.1 200 OK\r\n";
const USUAL: StatusLine = { minorVersion: 1, status: 200, reason: "OK", end: USUAL_LINE.length };
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n/;
const CODING = [NAME.coding, NAME.trailer];
const FRAMING = [...CODING, NAME.length];
const NO_LINES: readonly never[] = [];
