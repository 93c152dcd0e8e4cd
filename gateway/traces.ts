import { randomFillSync } from "node:crypto";
import { type Traces, traceparentOf } from "../lib/traces/traces.ts";
import type { Clock } from "../lib/clock.ts";
import type { AccessRecord, RecordedTrace } from "./access-record.ts";

/** Makes and checks `traceparent` (W3C Trace Context), which ties together what several programs log of one request. */
export type TraceContext = {
  /**
   * What is sent on of a request that came with `theirs`, which is valid: that where nothing is recorded here. Without one a new one, not marked as
   * sampled: whether anybody records it is not ours to say.
   */
  next(theirs: string | undefined): string;
  /** Where what happens here is recorded: the request's place in its trace, and undefined for one that is not recorded. */
  begin?(theirs: string | undefined): RecordedTrace | undefined;
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

export type TraceExchanges = {
  /** For the edits of requests: the container is told of the span of its own call. */
  context: TraceContext;
  over(exchange: AccessRecord): void;
};

/** A request to the edge as spans: the request, and in it the hold, the connect and the call of the container. */
export function traceExchanges({ traces, clock }: { traces: Traces; clock: Clock }): TraceExchanges {
  const place = (theirs: string | undefined): RecordedTrace => {
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
      ...openTraceContext(),
      begin: (theirs) => {
        const traced = place(theirs);
        return traced.sampled ? traced : undefined;
      },
    },
    over: (exchange) => {
      const { labels: about, head } = exchange;
      if (about.traced) return record(exchange, about.traced);
      if (about.traceparent !== undefined || about.route === "health" || about.route === "none" || head === undefined) return;
      // It was answered before anything was sent on, and has no place yet.
      const said = head.header("traceparent");
      const traced = place(said !== undefined && isTraceparent(said) ? said : undefined);
      if (traced.sampled) record(exchange, traced);
    },
  };

  function record(exchange: AccessRecord, traced: RecordedTrace): void {
    const { labels: about, head, startedAt, overAt, identityMs, holdMs, connectMs } = exchange;
    const { traceId, spanId, parentId } = traced;
    // From the clock's scale that never jumps to the one that is shown.
    const base = clock.now() - clock.monotonic();
    const fault = exchange.fault ?? about.fault;
    const container: Record<string, string> = about.container === undefined ? {} : { "berth.container": about.container };
    const from = base + startedAt;
    const to = base + overAt;
    const part = (name: string, kind: "client" | "internal", id: string, begin: number, end: number, more: Record<string, string | number> = {}) =>
      traces.record({ name, kind, traceId, spanId: id, parentId: spanId, from: begin, to: end, attributes: { ...container, ...more }, fault });
    traces.record({
      name: `${head?.method ?? "GET"} ${about.route}`,
      kind: "server",
      traceId,
      spanId,
      parentId,
      from,
      to,
      attributes: {
        ...container,
        "http.request.method": head?.method ?? "GET",
        "http.route": about.route,
        "http.response.status_code": exchange.status,
        "client.address": exchange.peer,
        ...(about.requestId === undefined ? {} : { "berth.request_id": about.requestId }),
        "berth.ending": exchange.ending,
      },
      fault: exchange.status >= 500 ? (fault ?? "INTERNAL") : fault,
    });
    if (about.traced === undefined) return;
    const held = from + identityMs + holdMs;
    if (holdMs > 0) part("hold", "internal", traced.holdId, from + identityMs, held);
    // It never came to a call.
    if (holdMs > 0 && fault !== undefined && exchange.firstByteAt === 0) return;
    if (connectMs > 0) part("connect", "client", traces.newId(), held, held + connectMs);
    part("forward", "client", traced.forwardId, held + connectMs, to, { "http.response.status_code": exchange.status });
  }
}
