import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, TraceFlags, type HrTime } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type ReadableSpan,
  type Sampler,
  SamplingDecision,
  TraceIdRatioBasedSampler,
} from "@opentelemetry/sdk-trace";
import { randomBytes } from "node:crypto";
import { type Span, type Traces, readTraceparent, type SamplerName, type TraceSettings } from "./traces.ts";

/** What waits to be sent; beyond it spans are dropped. */
const MOST_WAITING = 2_048;
const EVERY_MS = 1_000;
const SEND_MS = 5_000;

const KINDS = { server: SpanKind.SERVER, client: SpanKind.CLIENT, internal: SpanKind.INTERNAL } as const;

const SAMPLERS: Record<SamplerName, (ratio: number) => Sampler> = {
  always_on: () => new AlwaysOnSampler(),
  always_off: () => new AlwaysOffSampler(),
  traceidratio: (ratio) => new TraceIdRatioBasedSampler(ratio),
  parentbased_always_on: () => new ParentBasedSampler({ root: new AlwaysOnSampler() }),
  parentbased_always_off: () => new ParentBasedSampler({ root: new AlwaysOffSampler() }),
  parentbased_traceidratio: (ratio) => new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(ratio) }),
};

/**
 * Sends spans over OTLP/HTTP. They are made when they are over, from numbers that were noted meanwhile, so that of OpenTelemetry's library only what
 * samples, batches and sends is used: nothing of it runs within a request.
 */
export function openTraces(settings: TraceSettings, program: { version: string; role: string }): Traces {
  const sampler = SAMPLERS[settings.sampler](settings.ratio);
  const resource = resourceFromAttributes({
    ...settings.resource,
    "service.name": settings.serviceName,
    "service.version": program.version,
    "service.instance.id": `${program.role}-${process.pid}`,
  });
  const exporter = new OTLPTraceExporter({ url: settings.url, headers: settings.headers, timeoutMillis: SEND_MS });
  const processor = new BatchSpanProcessor({ exporter, maxQueueSize: MOST_WAITING, scheduledDelayMillis: EVERY_MS, exportTimeoutMillis: SEND_MS });
  const scope = { name: "berth", version: program.version };

  const samples = (parent: string | undefined, traceId: string): boolean => {
    const above = parent === undefined ? undefined : readTraceparent(parent);
    const context = above
      ? trace.setSpanContext(ROOT_CONTEXT, {
          traceId: above.traceId,
          spanId: above.spanId,
          traceFlags: above.sampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
          isRemote: true,
        })
      : ROOT_CONTEXT;
    return sampler.shouldSample(context, traceId, "", SpanKind.SERVER, {}, []).decision === SamplingDecision.RECORD_AND_SAMPLED;
  };

  return {
    begin: (parent) => {
      const above = parent === undefined ? undefined : readTraceparent(parent);
      const traceId = above?.traceId ?? randomBytes(16).toString("hex");
      return { traceId, spanId: randomBytes(8).toString("hex"), parentId: above?.spanId, sampled: samples(parent, traceId) };
    },
    newId: () => randomBytes(8).toString("hex"),
    record: (span) => processor.onEnd(readable(span)),
    close: () => processor.shutdown(),
  };

  function readable(span: Span): ReadableSpan {
    const { traceId, spanId, parentId, from, to, fault } = span;
    const end = Math.max(from, to);
    return {
      name: span.name,
      kind: KINDS[span.kind],
      spanContext: () => ({ traceId, spanId, traceFlags: TraceFlags.SAMPLED }),
      ...(parentId === undefined ? {} : { parentSpanContext: { traceId, spanId: parentId, traceFlags: TraceFlags.SAMPLED } }),
      startTime: timeOf(from),
      endTime: timeOf(end),
      duration: timeOf(end - from),
      status: fault === undefined ? { code: SpanStatusCode.UNSET } : { code: SpanStatusCode.ERROR, message: fault },
      attributes: { ...span.attributes, ...(fault === undefined ? {} : { "error.type": fault }) },
      links: [],
      events: [],
      ended: true,
      resource,
      instrumentationScope: scope,
      droppedAttributesCount: 0,
      droppedEventsCount: 0,
      droppedLinksCount: 0,
    };
  }
}

/** Seconds and nanoseconds. */
function timeOf(ms: number): HrTime {
  const seconds = Math.floor(ms / 1_000);
  return [seconds, Math.round((ms - seconds * 1_000) * 1_000_000)];
}
