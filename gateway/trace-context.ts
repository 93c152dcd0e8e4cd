import { randomFillSync } from "node:crypto";
import { CLASS, classesOf, consistsOf } from "../lib/character-classes.ts";
import type { RecordedTrace } from "./access-record.ts";
import type { Head, HeaderLine, WrittenLines } from "./decision.ts";

/** Creates `traceparent` values (W3C Trace Context), which connect the logs of several programs for one request. */
export type TraceContext = {
  /**
   * The lines of a new trace, with the request id that it gives if requested. It is not marked as sampled, because other programs decide whether they
   * record.
   */
  next(withRequestId: boolean): TraceLines;
  /** Present if this gateway records spans: the request's place in its trace; undefined if this request is not sampled. */
  begin?(theirs: string | undefined): RecordedTrace | undefined;
};

/** `00-`, 32 digits of the trace id, `-`, 16 of the parent id, `-`, two of flags. */
const TRACEPARENT_LENGTH = 55;
const TRACE_ID_AT = 3;
const PARENT_ID_AT = 36;
const FLAGS_AT = 53;

/** Version, trace id, parent id, flags in lower case; no id is all zeros. Later versions may append fields. */
export function isTraceparent(value: string): boolean {
  if (value.length < TRACEPARENT_LENGTH || !isAt(value, TRACE_ID_AT - 1) || !isAt(value, PARENT_ID_AT - 1) || !isAt(value, FLAGS_AT - 1))
    return false;
  if (value.length > TRACEPARENT_LENGTH && (value.startsWith("00") || !isAt(value, TRACEPARENT_LENGTH))) return false;
  return (
    consistsOf(value, CLASS.lowerHex, 0, TRACE_ID_AT - 1) &&
    !value.startsWith("ff") &&
    isId(value, TRACE_ID_AT, PARENT_ID_AT - 1) &&
    isId(value, PARENT_ID_AT, FLAGS_AT - 1) &&
    consistsOf(value, CLASS.lowerHex, FLAGS_AT, TRACEPARENT_LENGTH)
  );
}

function isAt(value: string, at: number): boolean {
  return value.charCodeAt(at) === HYPHEN;
}

const HYPHEN = 45;
const ZERO = 48;

/** Lower-case hexadecimal digits that are not all zero. */
function isId(value: string, start: number, end: number): boolean {
  let isZero = true;
  for (let at = start; at < end; at++) {
    const code = value.charCodeAt(at);
    if ((classesOf(code) & CLASS.lowerHex) === 0) return false;
    if (code !== ZERO) isZero = false;
  }
  return !isZero;
}

/** The trace id of a valid `traceparent`. */
export function traceIdOf(traceparent: string): string {
  return traceparent.slice(TRACE_ID_AT, PARENT_ID_AT - 1);
}

/** The valid `traceparent` of a request. */
export function traceparentIn(head: Pick<Head, "header">): string | undefined {
  const value = head.header("traceparent");
  return value !== undefined && isTraceparent(value) ? value : undefined;
}

/** Random numbers are drawn for many traces at once: a call for each would take a microsecond. */
const BATCH = 170;
/** A trace id of 16 random bytes and a parent id of 8. */
const NUMBERS = 6;

export function createTraceContext(): TraceContext {
  const random = new Int32Array(BATCH * NUMBERS);
  let at = random.length;

  return {
    next: (withRequestId) => {
      if (at === random.length) {
        randomFillSync(random);
        at = 0;
      }
      const lines = new TraceLines(random, at, withRequestId);
      at += NUMBERS;
      return lines;
    },
  };
}

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
    this.putTraceId(out, at + TRACEPARENT.length);
    putHex(out, at + PARENT_AT, this.#parent0);
    putHex(out, at + PARENT_AT + 8, this.#parent1);
    if (this.#bytes === BOTH_BYTES) this.putTraceId(out, at + ID_AT);
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

  /** Writes its 32 digits; returns the offset after them. */
  putTraceId(out: Uint8Array, at: number): number {
    putHex(out, at, this.#trace0);
    putHex(out, at + 8, this.#trace1);
    putHex(out, at + 16, this.#trace2);
    putHex(out, at + 24, this.#trace3);
    return at + 32;
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
