import type { Head, HeaderEdits, HeaderLine, ClientPeer } from "./decision.ts";
import type { RecordedTrace } from "./access-record.ts";
import { isTraceparent, type TraceContext } from "./traces.ts";
import type { TrustedProxies } from "./trusted-proxies.ts";

/** The edits of a request, and the names under which it goes on. */
export type ForwardedHeaderEdits = HeaderEdits & {
  requestId: string;
  traceparent: string;
  traced: RecordedTrace | undefined;
};

/** Makes the edits of a request, `own` among them. */
export type ForwardedEdits = (head: Head, peer: ClientPeer, tls: boolean, own?: HeaderEdits) => ForwardedHeaderEdits;

/** Where a sender says by whom and how it was asked. Who is not trusted says nothing in them. */
const PROXY_HEADERS = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "forwarded"];
const TRACE_HEADERS = ["traceparent", "tracestate"];

/** What goes, by who asks, whose trace it is and whose id: always the same lists, so that nobody has to look into them twice. */
const REMOVED = {
  trusted: removed(["x-forwarded-for"]),
  untrusted: removed(PROXY_HEADERS),
} as const;

function removed(said: readonly string[]) {
  const byTrace = (trace: readonly string[]) => ({ theirId: [...said, ...trace], ourId: [...said, ...trace, "x-request-id"] });
  return { theirTrace: byTrace([]), inTheirTrace: byTrace(["traceparent"]), ourTrace: byTrace(TRACE_HEADERS) } as const;
}

const PROTO_HTTP: HeaderLine = ["X-Forwarded-Proto", "http"];
const PROTO_HTTPS: HeaderLine = ["X-Forwarded-Proto", "https"];

/** Where the ids of a trace stand in a `traceparent`. */
const TRACE_ID = [3, 35] as const;

/**
 * The edits that tell a target whom it really talks to, and under which trace and request id. A trusted proxy's word stands, with its own address
 * added to it; anybody else's is replaced by what is seen here. A valid trace goes on as it came, unless what happens here is part of it.
 */
export function forwardedEdits({ trusted, trace }: { trusted: TrustedProxies; trace: TraceContext }): ForwardedEdits {
  return (head, peer, tls, own) => {
    const trusts = trusted.trusts(peer.address);
    const add: HeaderLine[] = [];
    const before = trusts ? head.header("x-forwarded-for") : undefined;
    add.push(["X-Forwarded-For", before === undefined ? peer.address : `${before}, ${peer.address}`]);
    if (!trusts || head.header("x-forwarded-proto") === undefined) add.push(tls ? PROTO_HTTPS : PROTO_HTTP);
    const host = head.header("host");
    if (host !== undefined && (!trusts || head.header("x-forwarded-host") === undefined)) add.push(["X-Forwarded-Host", host]);
    const said = head.header("traceparent");
    const theirs = said !== undefined && isTraceparent(said) ? said : undefined;
    const traced = trace.begin?.(theirs);
    const traceparent = traced === undefined ? trace.next(theirs) : traced.traceparent;
    if (traceparent !== theirs) add.push(["traceparent", traceparent]);
    const theirId = requestIdOf(head.header);
    const requestId = theirId ?? traceparent.slice(...TRACE_ID);
    if (theirId === undefined) add.push(["X-Request-Id", requestId]);
    if (own !== undefined) for (const line of own.add) add.push(line);
    const byTrace = trusts ? REMOVED.trusted : REMOVED.untrusted;
    const byId = theirs === undefined ? byTrace.ourTrace : traceparent === theirs ? byTrace.theirTrace : byTrace.inTheirTrace;
    const remove = theirId === undefined ? byId.ourId : byId.theirId;
    return { remove: own === undefined || own.remove.length === 0 ? remove : remove.concat(own.remove), add, requestId, traceparent, traced };
  };
}

/** As programs write ids: nothing that could become a second line of a log, or be too long for one. */
const SANE = /^[\w.:+/=@-]{1,128}$/;

/** The name under which a request is known in the logs of all who handle it: the client's own where it can be one. Undefined where a new one is to be made. */
export function requestIdOf(header: (name: string) => string | undefined): string | undefined {
  const given = header("x-request-id");
  return given !== undefined && SANE.test(given) ? given : undefined;
}
