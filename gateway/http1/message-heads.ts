import type { HeaderEdits, HeaderLine } from "../decision.ts";
import { writeLines, writeTarget, NAME, MessageRefused } from "./header-lines.ts";
import { HeaderBlock, type HeadText, type ReadOptions } from "./header-block.ts";

export type RequestText = Omit<HeadText, "at"> & { targetStart: number; targetEnd: number };

/** The head of a request that is fit to be passed on. */
export class RequestHead extends HeaderBlock {
  readonly method: string;
  /** Byte for byte, as latin1. */
  readonly target: string;
  readonly minorVersion: 0 | 1;
  readonly bodyKind: "none" | "length" | "chunked";
  /** Of a body with a length, in bytes; else 0. */
  readonly bodyLength: number;
  /** The client wants to keep its connection. */
  readonly persistent: boolean;
  /** It asks to become a WebSocket. No other protocol is ours to switch to: such a request counts as if it had not asked. */
  readonly websocket: boolean;
  /** Its body waits for `100 Continue`. */
  readonly expectsContinue: boolean;

  /** Refuses what RFC 9112 does and the parser does not. */
  constructor({ text, spans, targetStart, targetEnd }: RequestText, options: ReadOptions) {
    const line = readRequestLine(text, targetStart, targetEnd);
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

  /** As `decide` asks for it. */
  get upgrade(): boolean {
    return this.websocket;
  }

  /**
   * The head to send, as latin1: the request line with `target`, the lines that travel on as the very bytes they came as, in order,
   * then those that are added, then `more`, which is ready-made lines.
   */
  write(target: string, edits: HeaderEdits, more = ""): string {
    return `${this.method} ${writeTarget(target)} HTTP/1.1\r\n${this.kept(edits)}${writeLines(edits.add)}${more}\r\n`;
  }
}

/** RFC 9112 §9.3. */
export function isPersistent(minorVersion: 0 | 1, connection: readonly string[]): boolean {
  if (connection.length === 0) return minorVersion === 1;
  return !connection.includes("close") && (minorVersion === 1 || connection.includes("keep-alive"));
}

/** The methods that llhttp knows, without those of other protocols and CONNECT, which would make this a tunnel. */
const METHODS = new Set(
  (
    "GET HEAD POST PUT DELETE OPTIONS PATCH TRACE QUERY SEARCH LINK UNLINK PURGE COPY LOCK UNLOCK MOVE MKCOL PROPFIND PROPPATCH " +
    "BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE MKCALENDAR"
  ).split(" "),
);

export type RequestLine = { method: string; target: string; minorVersion: 0 | 1; /** Where the header lines begin. */ end: number };

/** Reads the request line again: the parser takes two spaces, HTTP/0.9, HTTP/2.0, ICE/1.0 and targets of any scheme. */
export function readRequestLine(text: string, targetStart: number, targetEnd: number): RequestLine {
  // Most are this one, and a constant is compared faster than a piece of the text.
  const method = text.startsWith("GET ") && targetStart === 4 ? "GET" : text.slice(0, targetStart - 1);
  const target = text.slice(targetStart, targetEnd);
  const minorVersion = text.startsWith(" HTTP/1.1\r\n", targetEnd) ? 1 : text.startsWith(" HTTP/1.0\r\n", targetEnd) ? 0 : undefined;
  if (minorVersion === undefined) throw refusedVersion(text, targetEnd);
  if (!METHODS.has(method)) {
    if (text.charCodeAt(targetStart - 1) === SPACE && isForeign(method)) throw new MessageRefused(501, "There is no such method here");
    throw new MessageRefused(400, "The request line is malformed");
  }
  if (text.charCodeAt(targetStart - 1) !== SPACE) throw new MessageRefused(400, "The request line is malformed");
  // What is not visible ASCII, and what only a browser itself may see.
  if (UNFIT.test(target)) throw new MessageRefused(400, "The request target has bytes that no target has");
  if (target.charCodeAt(0) !== SLASH && !ABSOLUTE.test(target) && !(target === "*" && method === "OPTIONS"))
    throw new MessageRefused(400, "The request target is of no form that is served here");
  return { method, target, minorVersion, end: targetEnd + 11 };
}

/** A method, and none that is served here. */
export function isForeign(method: string): boolean {
  return TOKEN.test(method) && !METHODS.has(method);
}

const SPACE = 32;
const SLASH = 47;
const TOKEN = /^[!#$%&'*+\-.^_`|~\dA-Za-z]+$/;
const UNFIT = /[^\x21\x22\x24-\x7e]/;
const ABSOLUTE = /^https?:\/\/[^/?]/i;

/** Of a version that is well-formed and not served, or not even that. */
export function refusedVersion(text: string, at: number): MessageRefused {
  const version = /^ HTTP\/(\d)\.(\d)/.exec(text.slice(at, at + 9));
  if (version === null || (version[1] === "1" && Number(version[2]) < 2)) return new MessageRefused(400, "The request line is malformed");
  return new MessageRefused(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here");
}

/** Faults: 400 where it names no host, or another one than an absolute target (RFC 9112 §3.2.2). */
export function checkHost(host: string, target: string): void {
  if (!HOST.test(host)) throw new MessageRefused(400, "The Host is malformed");
  if (target.charCodeAt(0) === SLASH || target === "*") return;
  const [scheme = "", , authority = ""] = target.split(/[/?]/, 3);
  const port = scheme.toLowerCase() === "https:" ? ":443" : ":80";
  if (named(authority, port) !== named(host, port)) throw new MessageRefused(400, "The request target and the Host name two hosts");
}

const HOST = /^(?:\[[\da-fA-F:.]+\]|[\w\-.~!$&'()*+;=%]+)(?::\d{0,5})?$/;

function named(authority: string, defaultPort: string): string {
  const name = authority.toLowerCase();
  if (name.endsWith(":")) return name.slice(0, -1);
  return name.endsWith(defaultPort) ? name.slice(0, -defaultPort.length) : name;
}

export type ResponseText = Omit<HeadText, "at">;

/**
 * The head of a response that is fit to be passed on. As strict as with requests, but for the space behind a status without a reason,
 * which many leave out.
 */
export class ResponseHead extends HeaderBlock {
  readonly status: number;
  /** As latin1; may be empty. */
  readonly reason: string;
  readonly minorVersion: 0 | 1;
  /** The container wants to keep its connection, and its next response can be told from this one. */
  readonly persistent: boolean;
  /** Of a body with a length, in bytes; else 0. */
  readonly bodyLength: number;
  /** Of the head as it was received, in bytes. */
  readonly length: number;
  readonly #framing: number | "chunked" | undefined;
  /** It says of a body what a response of this status cannot have (RFC 9110 §8.6); what it says may be followed by one all the same. */
  readonly #stray: boolean;

  constructor({ text, spans }: ResponseText, options: ReadOptions) {
    const line = text.startsWith(USUAL_LINE) ? USUAL : readStatusLine(text);
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

  /** How the body of this response to a request with `method` ends (RFC 9112 §6.3). */
  bodyKind(method: string): "none" | "length" | "chunked" | "close" {
    if (method === "HEAD" || this.status < 200 || this.status === 204 || this.status === 304) return "none";
    if (this.#framing === undefined) return "close";
    return this.#framing === "chunked" ? "chunked" : this.#framing === 0 ? "none" : "length";
  }

  /** Of a 101: the protocol that is switched to, in lower case. */
  get upgrade(): string | undefined {
    return this.status === 101 ? this.header("upgrade")?.toLowerCase() : undefined;
  }

  override lines(edits: HeaderEdits): HeaderLine[] {
    return super.lines(edits, this.#stray ? FRAMING : NOTHING);
  }

  /**
   * The head to send, as latin1, always as HTTP/1.1; `dechunk` for a body that is taken out of its chunks. Undefined where not one
   * byte would change, so that the buffer it came in can be passed on.
   */
  write(edits: HeaderEdits, more = "", dechunk = false): string | undefined {
    const coding = dechunk && (this.count(NAME.coding) > 0 || this.count(NAME.trailer) > 0);
    if (!coding && !this.#stray && more === "" && edits.add.length === 0 && this.minorVersion === 1 && !this.leavesOut(edits)) return undefined;
    const kept = this.kept(edits, this.#stray ? FRAMING : coding ? CODING : NOTHING);
    return `HTTP/1.1${this.text.slice(8, this.lineEnd)}${kept}${writeLines(edits.add)}${more}\r\n`;
  }
}

type StatusLine = { minorVersion: 0 | 1; status: number; reason: string; /** Where the header lines begin. */ end: number };

function readStatusLine(text: string): StatusLine {
  const line = STATUS_LINE.exec(text);
  if (line === null) throw new MessageRefused(400, "The status line is malformed");
  return { minorVersion: line[1] === "1" ? 1 : 0, status: Number(line[2]), reason: line[3] ?? "", end: line[0].length };
}

/** Most responses begin with it: a comparison costs less than the expression. */
const USUAL_LINE = "HTTP/1.1 200 OK\r\n";
const USUAL: StatusLine = { minorVersion: 1, status: 200, reason: "OK", end: USUAL_LINE.length };
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n/;
const CODING = [NAME.coding, NAME.trailer];
const FRAMING = [...CODING, NAME.length];
const NOTHING: readonly never[] = [];
