import type { ByteSpan, HeaderEdits, HeaderLine, HeadSpans } from "../decision.ts";
import { linesSize, putLines, putRange, putTarget, putText, putWritten, writtenSize } from "./write-lines.ts";
import { CHUNKED, type HeadScan, NO_BODY } from "./head-scan.ts";
import type { HeadSource } from "./head-source.ts";
import { type HeadOutput, HeaderBlock } from "./header-block.ts";
import { NAME } from "./header-lines.ts";

const NEW_LINE = "\r\n";
/** Longer heads are written to memory of their own. */
const MAX_PLACED_BYTES = 16_384;
const VERSION = " HTTP/1.1\r\n";

/** The head of a request that may be forwarded. */
export class RequestHead extends HeaderBlock implements HeadSpans {
  readonly method: string;
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
  readonly #targetAt: number;
  readonly #targetEnd: number;
  #target: string | undefined;
  readonly #scan: HeadScan;

  constructor(source: HeadSource, memory: Buffer, at: number) {
    super(source, memory, at);
    const { scan } = source;
    this.#scan = scan;
    const { framing } = scan;
    this.method = scan.method;
    this.minorVersion = scan.minorVersion;
    this.bodyKind = framing === CHUNKED ? "chunked" : framing === NO_BODY || framing === 0 ? "none" : "length";
    this.bodyLength = framing > 0 ? framing : 0;
    this.persistent = scan.persistent;
    this.websocket = scan.websocket;
    this.expectsContinue = scan.expectsContinue;
    this.#targetAt = scan.targetAt;
    this.#targetEnd = scan.targetEnd;
  }

  /** Byte for byte, as latin1. */
  get target(): string {
    return (this.#target ??= this.bytes().toString("latin1", this.at + this.#targetAt, this.at + this.#targetEnd));
  }

  get upgrade(): boolean {
    return this.websocket;
  }

  get spans(): HeadSpans {
    return this;
  }

  targetSpan(): ByteSpan {
    const { span } = this.#scan;
    span.bytes = this.bytes();
    span.start = this.at + this.#targetAt;
    span.end = this.at + this.#targetEnd;
    return span;
  }

  /** The head to send, as latin1: the request line with `target`, the kept lines byte for byte, the added lines, then `more`, which is written lines. */
  write(target: string, edits: HeaderEdits, more = ""): string {
    const out = Buffer.allocUnsafe(this.sizeToWrite(target, edits, more));
    return out.toString("latin1", 0, this.put(out, 0, target, edits, more));
  }

  /** Sends the same. False: the sender must pause until the connection drains. */
  writeTo(output: HeadOutput, target: string, edits: HeaderEdits, more = ""): boolean {
    const size = this.sizeToWrite(target, edits, more);
    if (size > MAX_PLACED_BYTES) return output.sendOwn(Buffer.from(this.write(target, edits, more), "latin1"));
    const at = output.place(size);
    let end = at;
    let taken = true;
    try {
      end = this.put(output.memory, at, target, edits, more);
    } finally {
      taken = output.placed(end - at);
    }
    return taken;
  }

  /** At least the bytes that `put` writes. */
  sizeToWrite(target: string, edits: HeaderEdits, more = ""): number {
    return this.length + target.length + VERSION.length + linesSize(edits.add) + writtenSize(edits) + more.length;
  }

  /** Writes the head to `out`, which has `sizeToWrite` bytes left. Returns the offset after it. */
  put(out: Buffer, at: number, target: string, edits: HeaderEdits, more = ""): number {
    const bytes = this.bytes();
    let next = putRange(bytes, this.at, this.at + this.#targetAt, out, at);
    next = putTarget(out, next, target);
    next = putText(out, next, VERSION);
    next = this.putKept(out, next, edits);
    next = putWritten(out, putLines(out, next, edits.add), edits);
    return putText(out, putText(out, next, more), NEW_LINE);
  }
}

const AUTHORITY = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i;

/** The request target in origin form: an absolute one (RFC 9112 §3.2.2) loses its scheme and authority, and no other byte changes. */
export function originForm(target: string): string {
  if (target.startsWith("/")) return target;
  const rest = target.replace(AUTHORITY, "");
  return rest === "" || rest.startsWith("?") ? `/${rest}` : rest;
}

const STATUS_BEGIN = "HTTP/1.1";
const REASON_AT = "HTTP/1.1 200 ".length;
const CODING = (1 << NAME.coding) | (1 << NAME.trailer);
const FRAMING = CODING | (1 << NAME.length);

/** The head of a response that may be forwarded. As strict as for requests, except that the space before an empty reason may be missing. */
export class ResponseHead extends HeaderBlock {
  readonly status: number;
  readonly minorVersion: 0 | 1;
  /** The container keeps its connection open, and the end of this response is certain. */
  readonly persistent: boolean;
  /** Of a body with a length, in bytes; else 0. */
  readonly bodyLength: number;
  readonly #framing: number;
  /** It announces a body although a response of this status has none (RFC 9110 §8.6). The container may send one all the same. */
  readonly #stray: boolean;

  constructor(source: HeadSource, memory: Buffer, at: number) {
    super(source, memory, at);
    const { scan } = source;
    const { status, framing } = scan;
    this.minorVersion = scan.minorVersion;
    this.status = status;
    this.#framing = framing;
    const bodiless = status < 200 || status === 204;
    this.bodyLength = framing > 0 && !bodiless && status !== 304 ? framing : 0;
    this.#stray = bodiless && framing !== NO_BODY && framing !== 0;
    this.persistent = !this.#stray && scan.persistent;
  }

  /** As latin1; may be empty. */
  get reason(): string {
    const bytes = this.bytes();
    const end = this.firstLine - 2;
    return end > REASON_AT ? bytes.toString("latin1", this.at + REASON_AT, this.at + end) : "";
  }

  /** What ends the body of this response to a request with `method` (RFC 9112 §6.3). */
  bodyKind(method: string): "none" | "length" | "chunked" | "close" {
    if (method === "HEAD" || this.status < 200 || this.status === 204 || this.status === 304) return "none";
    if (this.#framing === NO_BODY) return "close";
    return this.#framing === CHUNKED ? "chunked" : this.#framing === 0 ? "none" : "length";
  }

  /** The protocol of a 101, in lower case. */
  get upgrade(): string | undefined {
    return this.status === 101 ? this.header("upgrade")?.toLowerCase() : undefined;
  }

  override lines(edits: HeaderEdits): HeaderLine[] {
    return super.lines(edits, this.#stray ? FRAMING : 0);
  }

  /** The head to send, as latin1 and HTTP/1.1. `dechunk`: its body is sent without chunks. Undefined if no byte changes: the received buffer is sent. */
  write(edits: HeaderEdits, more = "", dechunk = false): string | undefined {
    if (!this.changes(edits, more, dechunk)) return undefined;
    const out = Buffer.allocUnsafe(this.sizeToWrite(edits, more));
    return out.toString("latin1", 0, this.put(out, 0, edits, more, dechunk));
  }

  /** Sends the same, or the received head. False: the sender must pause until the connection drains. */
  writeTo(output: HeadOutput, edits: HeaderEdits, more = "", dechunk = false): boolean {
    const size = this.sizeToWrite(edits, more);
    if (size > MAX_PLACED_BYTES) return output.sendOwn(Buffer.from(this.write(edits, more, dechunk) ?? this.text, "latin1"));
    const at = output.place(size);
    let end = at;
    let taken = true;
    try {
      end = this.put(output.memory, at, edits, more, dechunk);
    } finally {
      taken = output.placed(end - at);
    }
    return taken;
  }

  /** The head to send is not the received one. */
  changes(edits: HeaderEdits, more = "", dechunk = false): boolean {
    return this.#dropsCoding(dechunk) || this.#stray || more !== "" || edits.add.length > 0 || this.minorVersion === 0 || this.omitsLines(edits);
  }

  /** At least the bytes that `put` writes. */
  sizeToWrite(edits: HeaderEdits, more = ""): number {
    return this.length + linesSize(edits.add) + more.length;
  }

  /** Writes the head to `out`, which has `sizeToWrite` bytes left. Returns the offset after it. */
  put(out: Buffer, at: number, edits: HeaderEdits, more = "", dechunk = false): number {
    const bytes = this.bytes();
    let next = putText(out, at, STATUS_BEGIN);
    next = putRange(bytes, this.at + STATUS_BEGIN.length, this.at + this.firstLine, out, next);
    next = this.putKept(out, next, edits, this.#stray ? FRAMING : this.#dropsCoding(dechunk) ? CODING : 0);
    next = putLines(out, next, edits.add);
    return putText(out, putText(out, next, more), NEW_LINE);
  }

  #dropsCoding(dechunk: boolean): boolean {
    return dechunk && (this.has(NAME.coding) || this.has(NAME.trailer));
  }
}
