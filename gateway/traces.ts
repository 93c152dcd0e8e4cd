import { type Traces, traceparentOf } from "../lib/traces/traces.ts";
import type { Clock } from "../lib/clock.ts";
import type { AccessRecord, RecordedTrace } from "./access-record.ts";
import { createTraceContext, traceparentIn, type TraceContext } from "./trace-context.ts";

type TraceExchanges = {
  /** For the edits of requests: the container receives the span of its own call as parent. */
  context: TraceContext;
  over(exchange: AccessRecord): void;
};

/** Records a request to the edge as spans: the request, and within it the hold, the connect and the call of the container. */
export function traceExchanges({ traces, clock }: { traces: Traces; clock: Clock }): TraceExchanges {
  const beginTrace = (theirs: string | undefined): RecordedTrace => {
    const own = traces.begin(theirs);
    const [forwardId, holdId] = [traces.newId(), traces.newId()];
    return {
      ...own,
      forwardId,
      holdId,
      traceparent: traceparentOf({ ...own, spanId: forwardId }),
      holdTraceparent: traceparentOf({ ...own, spanId: holdId }),
    };
  };

  return {
    context: {
      ...createTraceContext(),
      begin: (theirs) => {
        const traced = beginTrace(theirs);
        return traced.sampled ? traced : undefined;
      },
    },
    over: (exchange) => {
      const { labels, head } = exchange;
      if (labels.traced) return record(exchange, labels.traced);
      if (labels.ids !== undefined || labels.route === "health" || labels.route === "none" || head === undefined) return;
      // berth answered before the request was forwarded, so the request has no trace yet.
      const traced = beginTrace(traceparentIn(head));
      if (traced.sampled) record(exchange, traced);
    },
  };

  function record(exchange: AccessRecord, traced: RecordedTrace): void {
    const { labels, head, startedAt, overAt, identityMs, holdMs, connectMs } = exchange;
    const { traceId, spanId, parentId } = traced;
    // Converts times from the monotonic scale to epoch milliseconds.
    const base = clock.now() - clock.monotonic();
    const fault = exchange.fault ?? labels.fault;
    const container: Record<string, string> = labels.container === undefined ? {} : { "berth.container": labels.container };
    const from = base + startedAt;
    const to = base + overAt;
    const part = (name: string, kind: "client" | "internal", id: string, begin: number, end: number, more: Record<string, string | number> = {}) =>
      traces.record({ name, kind, traceId, spanId: id, parentId: spanId, from: begin, to: end, attributes: { ...container, ...more }, fault });
    traces.record({
      name: `${head?.method ?? "GET"} ${labels.route}`,
      kind: "server",
      traceId,
      spanId,
      parentId,
      from,
      to,
      attributes: {
        ...container,
        "http.request.method": head?.method ?? "GET",
        "http.route": labels.route,
        "http.response.status_code": exchange.status,
        "client.address": exchange.peer,
        ...(labels.ids === undefined ? {} : { "berth.request_id": labels.ids.requestId }),
        "berth.ending": exchange.ending,
      },
      fault: exchange.status >= 500 ? (fault ?? "INTERNAL") : fault,
    });
    if (labels.traced === undefined) return;
    const held = from + identityMs + holdMs;
    if (holdMs > 0) part("hold", "internal", traced.holdId, from + identityMs, held);
    // The hold failed: the container was not called.
    if (holdMs > 0 && fault !== undefined && exchange.firstByteAt === 0) return;
    if (connectMs > 0) part("connect", "client", traces.newId(), held, held + connectMs);
    part("forward", "client", traced.forwardId, held + connectMs, to, { "http.response.status_code": exchange.status });
  }
}
