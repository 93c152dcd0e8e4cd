import type { HeaderLine, WrittenLines } from "./decision.ts";

const TRACEPARENT = "traceparent: 00-";
const PARENT_AT = `${TRACEPARENT}${"0".repeat(32)}-`.length;
const TRACE_TEXT = `${TRACEPARENT}${"0".repeat(32)}-${"0".repeat(16)}-00\r\n`;
const ID_AT = `${TRACE_TEXT}X-Request-Id: `.length;
const TRACE_BYTES = Buffer.from(TRACE_TEXT, "latin1");
const BOTH_BYTES = Buffer.from(`${TRACE_TEXT}X-Request-Id: ${"0".repeat(32)}\r\n`, "latin1");
const DIGITS = Buffer.from("0123456789abcdef", "latin1");

/**
 * A new trace, and possibly a request id from it, as lines. The ids stay numbers until they are written: a request without an access log needs no text of
 * them.
 */
export class TraceLines implements WrittenLines {
  readonly size: number;
  /** Of the trace id and the parent id, 32 bits each. */
  readonly #trace0: number;
  readonly #trace1: number;
  readonly #trace2: number;
  readonly #trace3: number;
  readonly #parent0: number;
  readonly #parent1: number;
  readonly #bytes: Buffer;

  /** Takes six random numbers at `at`. */
  constructor(random: Int32Array, at: number, withRequestId: boolean) {
    this.#trace0 = random[at] as number;
    this.#trace1 = random[at + 1] as number;
    this.#trace2 = random[at + 2] as number;
    this.#trace3 = random[at + 3] as number;
    this.#parent0 = random[at + 4] as number;
    this.#parent1 = random[at + 5] as number;
    this.#bytes = withRequestId ? BOTH_BYTES : TRACE_BYTES;
    this.size = this.#bytes.length;
  }

  put(out: Uint8Array, at: number): number {
    out.set(this.#bytes, at);
    this.#putTraceId(out, at + TRACEPARENT.length);
    putHex(out, at + PARENT_AT, this.#parent0);
    putHex(out, at + PARENT_AT + 8, this.#parent1);
    if (this.#bytes === BOTH_BYTES) this.#putTraceId(out, at + ID_AT);
    return at + this.size;
  }

  get traceparent(): string {
    const out = Buffer.from(BOTH_BYTES);
    this.put(out, 0);
    return out.toString("latin1", "traceparent: ".length, TRACE_TEXT.length - 2);
  }

  get traceId(): string {
    return this.traceparent.slice(3, 35);
  }

  lines(): readonly HeaderLine[] {
    const trace: HeaderLine = ["traceparent", this.traceparent];
    return this.#bytes === BOTH_BYTES ? [trace, ["X-Request-Id", this.traceId]] : [trace];
  }

  #putTraceId(out: Uint8Array, at: number): void {
    putHex(out, at, this.#trace0);
    putHex(out, at + 8, this.#trace1);
    putHex(out, at + 16, this.#trace2);
    putHex(out, at + 24, this.#trace3);
  }
}

/** Eight lower-case digits. */
function putHex(out: Uint8Array, at: number, number: number): void {
  out[at] = DIGITS[number >>> 28] as number;
  out[at + 1] = DIGITS[(number >>> 24) & 15] as number;
  out[at + 2] = DIGITS[(number >>> 20) & 15] as number;
  out[at + 3] = DIGITS[(number >>> 16) & 15] as number;
  out[at + 4] = DIGITS[(number >>> 12) & 15] as number;
  out[at + 5] = DIGITS[(number >>> 8) & 15] as number;
  out[at + 6] = DIGITS[(number >>> 4) & 15] as number;
  out[at + 7] = DIGITS[number & 15] as number;
}
