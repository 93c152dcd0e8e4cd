import type { FaultCode } from "../fault.ts";

/** A part of what became of a request, told once it is over. Times are epoch milliseconds. */
export type Span = {
  name: string;
  kind: "server" | "client" | "internal";
  traceId: string;
  spanId: string;
  parentId?: string | undefined;
  from: number;
  to: number;
  attributes: Record<string, string | number>;
  fault?: FaultCode | undefined;
};

/** Where an exchange stands in its trace. */
export type TracePlace = {
  traceId: string;
  /** Of the span that this process makes of it. */
  spanId: string;
  parentId?: string | undefined;
  sampled: boolean;
};

/** Spans are handed over when they are over; what collects them is asked in the background, and never waited for. */
export type Traces = {
  /** A span's place below `parent`, or in a trace of its own. */
  begin(parent: string | undefined): TracePlace;
  /** An id for a further span of it. */
  newId(): string;
  record(span: Span): void;
  close(): Promise<void>;
};

/** As a `traceparent` (W3C Trace Context), of the span `spanId`. */
export function traceparentOf({ traceId, spanId, sampled }: Pick<TracePlace, "traceId" | "spanId" | "sampled">): string {
  return `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`;
}

/** Its trace, parent and whether it is recorded; for one that was found valid. */
export function readTraceparent(text: string): { traceId: string; spanId: string; sampled: boolean } {
  const [, traceId = "", spanId = "", flags = "0"] = text.split("-");
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}
