import { trimTrailing } from "../character-classes.ts";
import type { FaultCode } from "../fault.ts";

/** One part of the handling of a request, recorded when it has ended. Times are epoch milliseconds. */
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

/** The place of an exchange in its trace. */
export type TracePlace = {
  traceId: string;
  /** The id of this process's span of it. */
  spanId: string;
  parentId?: string | undefined;
  sampled: boolean;
};

/** Receives ended spans, and sends them in the background. No request waits for that. */
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

/** As OpenTelemetry names them. */
export const SAMPLER_NAMES = [
  "always_on",
  "always_off",
  "traceidratio",
  "parentbased_always_on",
  "parentbased_always_off",
  "parentbased_traceidratio",
] as const;
export type SamplerName = (typeof SAMPLER_NAMES)[number];

export type TraceSettings = {
  /** Where spans are sent, with the path. */
  url: string;
  headers: Record<string, string>;
  serviceName: string;
  resource: Record<string, string>;
  sampler: SamplerName;
  /** Of the samplers that take a part of all traces: how large a one. */
  ratio: number;
};

/** What the `OTEL_*` variables say; undefined where nothing is to be sent. */
export function traceSettings(given: {
  disabled: boolean;
  exporter: string;
  endpoint: string | undefined;
  tracesEndpoint: string | undefined;
  headers: readonly string[];
  serviceName: string;
  resource: readonly string[];
  sampler: SamplerName;
  samplerArg: number;
}): TraceSettings | undefined {
  const url = given.tracesEndpoint ?? (given.endpoint === undefined ? undefined : `${trimTrailing(given.endpoint, "/")}/v1/traces`);
  if (url === undefined || given.disabled || given.exporter === "none") return undefined;
  const { serviceName, sampler } = given;
  return { url, headers: pairs(given.headers), serviceName, resource: pairs(given.resource), sampler, ratio: given.samplerArg };
}

/** `key=value`, with `%` where a character would end either. */
function pairs(texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.indexOf("=");
      return [decoded(text.slice(0, at).trim()), decoded(text.slice(at + 1).trim())];
    }),
  );
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
