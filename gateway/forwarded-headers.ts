import { CLASS, consistsOf } from "../lib/character-classes.ts";
import { BoundedMap } from "../lib/bounded-map.ts";
import { type CredentialEdits, REMOVED_CREDENTIALS } from "./caller-edits.ts";
import type { RecordedTrace } from "./access-record.ts";
import type { ClientPeer, Head, HeaderEdits, HeaderLine } from "./decision.ts";
import { type TraceContext, traceIdOf, traceparentIn } from "./trace-context.ts";
import type { TrustedProxies } from "./trusted-proxies.ts";

/** The edits of a request, and the ids under which it is forwarded. */
type ForwardedHeaderEdits = HeaderEdits & {
  requestId: string;
  traceparent: string;
  traced: RecordedTrace | undefined;
};

/** Creates the edits of a request, those of its credentials among them. */
export type ForwardedEdits = (head: Head, peer: ClientPeer, tls: boolean, own?: CredentialEdits) => ForwardedHeaderEdits;

/** Whether the peer is a trusted proxy. If not, the headers in which a proxy names its client are removed. */
const OF_PEER = {
  trusted: ["x-forwarded-for"],
  untrusted: ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "forwarded"],
};
/** `theirs`: the client's trace is forwarded; `within`: this gateway records a span within it; `ours`: the client sent none that is valid. */
const OF_TRACE = { theirs: [], within: ["traceparent"], ours: ["traceparent", "tracestate"] };
/** Whether the client's request id is forwarded. */
const OF_ID = { theirs: [], ours: ["x-request-id"] };

/** The lists of headers to remove, by `OF_PEER`, `OF_TRACE`, `OF_ID` and the sum of `REMOVED_CREDENTIALS`. They are created once: a request allocates none. */
const REMOVED = mapValues(OF_PEER, (peer) =>
  mapValues(OF_TRACE, (trace) =>
    mapValues(OF_ID, (id) => Array.from({ length: 8 }, (_, sum) => [...peer, ...trace, ...id, ...credentialNames(sum)])),
  ),
);

function mapValues<Key extends string, From, To>(table: Readonly<Record<Key, From>>, map: (value: From) => To): Readonly<Record<Key, To>> {
  return Object.fromEntries(Object.entries<From>(table).map(([key, value]) => [key, map(value)])) as Record<Key, To>;
}

function credentialNames(sum: number): string[] {
  return [
    ...(sum & REMOVED_CREDENTIALS.authorization ? ["authorization"] : []),
    ...(sum & REMOVED_CREDENTIALS.cookie ? ["cookie"] : []),
    ...(sum & REMOVED_CREDENTIALS.key ? ["x-user-api-key"] : []),
  ];
}

const PROTO_HTTP: HeaderLine = ["X-Forwarded-Proto", "http"];
const PROTO_HTTPS: HeaderLine = ["X-Forwarded-Proto", "https"];

/** What is the same for all requests of a peer. */
type PeerConstants = { trusted: boolean; forwardedFor: HeaderLine };

/** Beyond it, the constants of the oldest are created again. */
const MAX_PEERS = 4_096;

/**
 * Creates the edits that name the client, the trace and the request id. Headers of a trusted proxy are kept, and its address is appended to
 * `X-Forwarded-For`. Those of any other peer are replaced. A valid `traceparent` is kept unless this gateway records a span.
 */
export function createForwardedEdits({ trusted, trace }: { trusted: TrustedProxies; trace: TraceContext }): ForwardedEdits {
  const peers = new BoundedMap<string, PeerConstants>(MAX_PEERS);
  const constantsOf = (address: string): PeerConstants => {
    const constants: PeerConstants = { trusted: trusted.trusts(address), forwardedFor: ["X-Forwarded-For", address] };
    peers.set(address, constants);
    return constants;
  };
  return (head, { address }, tls, own) => {
    const peer = peers.get(address) ?? constantsOf(address);
    const proto = tls ? PROTO_HTTPS : PROTO_HTTP;
    const host = head.header("host");
    let add: HeaderLine[];
    if (peer.trusted) add = linesOfProxy(head, peer.forwardedFor, proto, host);
    else if (host === undefined) add = [peer.forwardedFor, proto];
    else add = [peer.forwardedFor, proto, ["X-Forwarded-Host", host]];
    const theirs = traceparentIn(head);
    const traced = trace.begin?.(theirs);
    const traceparent = traced === undefined ? trace.next(theirs) : traced.traceparent;
    if (traceparent !== theirs) add.push(["traceparent", traceparent]);
    const theirId = requestIdOf(head);
    const requestId = theirId ?? traceIdOf(traceparent);
    if (theirId === undefined) add.push(["X-Request-Id", requestId]);
    if (own !== undefined) for (const line of own.add) add.push(line);
    const byTrace = peer.trusted ? REMOVED.trusted : REMOVED.untrusted;
    const byId = theirs === undefined ? byTrace.ours : traceparent === theirs ? byTrace.theirs : byTrace.within;
    const byCredentials = theirId === undefined ? byId.ours : byId.theirs;
    return { remove: byCredentials[own?.removed ?? 0] ?? [], add, requestId, traceparent, traced };
  };
}

/** What the trusted proxy did not say itself, and its own address. */
function linesOfProxy(head: Head, forwardedFor: HeaderLine, proto: HeaderLine, host: string | undefined): HeaderLine[] {
  const before = head.header("x-forwarded-for");
  const add: HeaderLine[] = [before === undefined ? forwardedFor : ["X-Forwarded-For", `${before}, ${forwardedFor[1]}`]];
  if (head.header("x-forwarded-proto") === undefined) add.push(proto);
  if (host !== undefined && head.header("x-forwarded-host") === undefined) add.push(["X-Forwarded-Host", host]);
  return add;
}

/** No line feed, which would begin another log line, and a bounded length. */
const MAX_REQUEST_ID = 128;

/** The client's `X-Request-Id` if it is safe to log; undefined: a new id is needed. */
export function requestIdOf(head: Pick<Head, "header">): string | undefined {
  const value = head.header("x-request-id");
  return value !== undefined && value !== "" && value.length <= MAX_REQUEST_ID && consistsOf(value, CLASS.requestId) ? value : undefined;
}
