import type { HeaderEdits } from "../decision.ts";
import { writeLines, writeTarget } from "./added-lines.ts";
import { HeaderBlock, type HeadText, type ReadOptions } from "./header-block.ts";
import { NAME } from "./known-names.ts";
import { MessageRefused } from "./message-refused.ts";
import { checkHost, readRequestLine } from "./request-line.ts";

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
