import { randomFillSync } from "node:crypto";
import type { TracePlace } from "../lib/traces/traces.ts";

/** Makes and checks `traceparent` (W3C Trace Context), which ties together what several programs log of one request. */
export type TraceContext = {
  /**
   * What is sent on of a request that came with `theirs`, which is valid: that where nothing is recorded here. Without one a new one, not marked as
   * sampled: whether anybody records it is not ours to say.
   */
  next(theirs: string | undefined): string;
  /** Where what happens here is recorded: the request's place in its trace, and undefined for one that is not recorded. */
  begin?(theirs: string | undefined): Traced | undefined;
};

/** What is noted of a request whose trace is recorded: the ids of the spans that others hang theirs below. */
export type Traced = TracePlace & {
  forwardId: string;
  /** What the container is sent. */
  traceparent: string;
  holdId: string;
  /** What control is told that wakes the container. */
  holdTraceparent: string;
};

/** Version, trace id, parent id, flags; the ids are not all zero. Later versions may have more at the end. */
const VALID =
  /^(?:00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}|(?!00|ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?)$/;

export function isTraceparent(value: string): boolean {
  return VALID.test(value);
}

/** Random bytes are fetched for this many traces at once: one call for each would cost a microsecond. */
const TRACES = 170;
/** Of a trace id of 16 bytes and a parent id of 8, in hexadecimal. */
const DIGITS = 48;

export function openTraceContext(): TraceContext {
  const pool = Buffer.alloc((TRACES * DIGITS) / 2);
  let digits = "";
  let at = 0;

  return {
    next: (theirs) => {
      if (theirs !== undefined) return theirs;
      if (at === digits.length) {
        digits = randomFillSync(pool).toString("hex");
        at = 0;
      }
      const traceparent = `00-${digits.slice(at, at + 32)}-${digits.slice(at + 32, at + DIGITS)}-00`;
      at += DIGITS;
      return traceparent;
    },
  };
}
