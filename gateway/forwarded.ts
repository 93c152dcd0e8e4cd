import type { Head, HeaderEdits, HeaderLine, Peer } from "./decision.ts";
import { isTraceparent, type TraceContext } from "./trace-context.ts";
import type { TrustedProxies } from "./trusted-proxies.ts";

/** Makes the edits of a request; `own` are lines to add beside them. */
export type ForwardedEdits = (head: Head, peer: Peer, tls: boolean, own?: HeaderLine) => HeaderEdits;

/** Where a sender says by whom and how it was asked. Who is not trusted says nothing in them. */
const SAID_BY_PROXIES = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "forwarded"];
const SAID_OF_TRACE = ["traceparent", "tracestate"];

/** What goes, by who asks and whose trace it is: always the same lists, so that nobody has to look into them twice. */
const REMOVED = {
  trusted: { theirTrace: ["x-forwarded-for"], ourTrace: ["x-forwarded-for", ...SAID_OF_TRACE] },
  untrusted: { theirTrace: SAID_BY_PROXIES, ourTrace: [...SAID_BY_PROXIES, ...SAID_OF_TRACE] },
} as const;

const PROTO_HTTP: HeaderLine = ["X-Forwarded-Proto", "http"];
const PROTO_HTTPS: HeaderLine = ["X-Forwarded-Proto", "https"];

/**
 * The edits that tell a target whom it really talks to, and under which trace. A trusted proxy's word stands, with its own address
 * added to it; anybody else's is replaced by what is seen here. A valid trace goes on as it came.
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
    const traceparent = head.header("traceparent");
    const theirTrace = traceparent !== undefined && isTraceparent(traceparent);
    if (!theirTrace) add.push(["traceparent", trace.next()]);
    if (own !== undefined) add.push(own);
    const removed = trusts ? REMOVED.trusted : REMOVED.untrusted;
    return { remove: theirTrace ? removed.theirTrace : removed.ourTrace, add };
  };
}
