import type { HeaderEdits, HeaderLine } from "../decision.ts";
import { writeLines, NAME } from "./header-lines.ts";
import { HeaderBlock, type HeadText, type ReadOptions } from "./header-block.ts";
import { MessageRefused } from "./framing.ts";
import { isPersistent } from "./request-head.ts";

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
