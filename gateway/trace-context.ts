import { randomFillSync } from "node:crypto";
import { CLASS, classesOf, consistsOf } from "../lib/character-classes.ts";
import type { RecordedTrace } from "./access-record.ts";
import type { Head } from "./decision.ts";
import { TraceLines } from "./trace-lines.ts";

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
