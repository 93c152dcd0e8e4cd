import { randomFillSync } from "node:crypto";
import { BlockList, isIP } from "node:net";
import { BoundedMap } from "../lib/bounded-map.ts";
import type { Head, HeaderEdits, HeaderLine, ClientPeer } from "./decision.ts";
import type { RecordedTrace } from "./access-record.ts";

/** The edits of a request, and the ids under which it is forwarded. */
type ForwardedHeaderEdits = HeaderEdits & {
  requestId: string;
  traceparent: string;
  traced: RecordedTrace | undefined;
};

/** Creates the edits of a request, `own` among them. */
export type ForwardedEdits = (head: Head, peer: ClientPeer, tls: boolean, own?: HeaderEdits) => ForwardedHeaderEdits;

/** Headers in which a proxy names its client. They are removed unless the peer is a trusted proxy. */
const PROXY_HEADERS = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "forwarded"];
const TRACE_HEADERS = ["traceparent", "tracestate"];

/** Lists of headers to remove. They are created once: a request then allocates none. */
const REMOVED = {
  trusted: removedLists(["x-forwarded-for"]),
  untrusted: removedLists(PROXY_HEADERS),
} as const;

function removedLists(always: readonly string[]) {
  const byTrace = (trace: readonly string[]) => ({ theirId: [...always, ...trace], ourId: [...always, ...trace, "x-request-id"] });
  return { theirTrace: byTrace([]), inTheirTrace: byTrace(["traceparent"]), ourTrace: byTrace(TRACE_HEADERS) } as const;
}

const PROTO_HTTP: HeaderLine = ["X-Forwarded-Proto", "http"];
const PROTO_HTTPS: HeaderLine = ["X-Forwarded-Proto", "https"];

/** Offsets of the trace id within a `traceparent`. */
const TRACE_ID = [3, 35] as const;

/**
 * Creates the edits that name the client, the trace and the request id. Headers of a trusted proxy are kept, and its address is appended to
 * `X-Forwarded-For`. Those of any other peer are replaced. A valid `traceparent` is kept unless this gateway records a span.
 */
export function createForwardedEdits({ trusted, trace }: { trusted: TrustedProxies; trace: TraceContext }): ForwardedEdits {
  return (head, peer, tls, own) => {
    const trusts = trusted.trusts(peer.address);
    const add: HeaderLine[] = [];
    const before = trusts ? head.header("x-forwarded-for") : undefined;
    add.push(["X-Forwarded-For", before === undefined ? peer.address : `${before}, ${peer.address}`]);
    if (!trusts || head.header("x-forwarded-proto") === undefined) add.push(tls ? PROTO_HTTPS : PROTO_HTTP);
    const host = head.header("host");
    if (host !== undefined && (!trusts || head.header("x-forwarded-host") === undefined)) add.push(["X-Forwarded-Host", host]);
    const theirs = traceparentIn(head);
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

/** Characters of usual ids. No line feed, which would begin another log line, and a bounded length. */
const REQUEST_ID = /^[\w.:+/=@-]{1,128}$/;

/** The client's `X-Request-Id` if it is safe to log; undefined: a new id is needed. */
export function requestIdOf(header: Head["header"]): string | undefined {
  const value = header("x-request-id");
  return value !== undefined && REQUEST_ID.test(value) ? value : undefined;
}

/** The load balancers in front: their forwarding headers are believed. */
export type TrustedProxies = {
  trusts(address: string): boolean;
  /**
   * The client's own address: of `peer` and the addresses that `forwardedFor` lists before it, the last that is not a trusted proxy.
   * Entries that an untrusted address wrote are ignored.
   */
  clientOf(forwardedFor: string | undefined, peer: string): string;
};

/** Names that `BERTH_TRUSTED_PROXIES` accepts beside blocks. `private`: RFC 1918 and RFC 4193. */
const NAMED_BLOCKS: Record<string, readonly string[]> = {
  loopback: ["127.0.0.0/8", "::1"],
  private: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
};

/** Entries of `X-Forwarded-For` that are read at most. A header of 64 KiB lists thousands. */
const MAX_HOPS = 32;

/** Peers whose result is cached; a look-up in the block list takes a microsecond. */
const MAX_CACHED_PEERS = 1_000;

/** `blocks` are addresses, blocks such as `10.0.0.0/8`, and the names above. */
export function createTrustedProxies(blocks: readonly string[]): TrustedProxies {
  if (blocks.length === 0) return { trusts: () => false, clientOf: (_forwardedFor, peer) => peer };
  const list = new BlockList();
  for (const block of blocks.flatMap((name) => NAMED_BLOCKS[name] ?? [name])) {
    const [address = "", bits] = block.split("/");
    const family = isIP(address) === 6 ? "ipv6" : "ipv4";
    if (bits === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(bits), family);
  }
  const cache = new BoundedMap<string, boolean>(MAX_CACHED_PEERS);

  const trusts = (address: string): boolean => {
    const cached = cache.get(address);
    if (cached !== undefined) return cached;
    const family = isIP(address);
    const trusted = family !== 0 && list.check(address, family === 6 ? "ipv6" : "ipv4");
    cache.set(address, trusted);
    return trusted;
  };

  return {
    trusts,
    clientOf: (forwardedFor, peer) => {
      let client = peer;
      const chain = forwardedFor ?? "";
      let end = forwardedFor === undefined ? -1 : chain.length;
      for (let hop = 0; end >= 0 && hop < MAX_HOPS && trusts(client); hop++) {
        const comma = end === 0 ? -1 : chain.lastIndexOf(",", end - 1);
        const address = addressIn(chain.slice(comma + 1, end).trim());
        if (address === undefined) return client;
        client = address;
        end = comma;
      }
      return client;
    },
  };
}

/** Some proxies append a port, and then enclose an IPv6 address in brackets. */
function addressIn(entry: string): string | undefined {
  if (isIP(entry) !== 0) return entry;
  const address = /^(?:\[([^\]]+)\]|([^:]+))(?::\d+)?$/.exec(entry)?.slice(1).find(Boolean) ?? "";
  return isIP(address) === 0 ? undefined : address;
}

/** Creates `traceparent` values (W3C Trace Context), which connect the logs of several programs for one request. */
export type TraceContext = {
  /**
   * The `traceparent` to forward when this gateway records no span: the client's valid one, else a new one. A new one is not marked as sampled,
   * because other programs decide whether they record.
   */
  next(theirs: string | undefined): string;
  /** Present if this gateway records spans: the request's place in its trace; undefined if this request is not sampled. */
  begin?(theirs: string | undefined): RecordedTrace | undefined;
};

/** Version, trace id, parent id, flags; no id is all zeros. Later versions may append fields. */
const TRACEPARENT =
  /^(?:00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}|(?!00|ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?)$/;

export function isTraceparent(value: string): boolean {
  return TRACEPARENT.test(value);
}

/** The valid `traceparent` of a request. */
export function traceparentIn({ header }: Pick<Head, "header">): string | undefined {
  const value = header("traceparent");
  return value !== undefined && isTraceparent(value) ? value : undefined;
}

/** Random bytes are requested for this many traces at once: one call for each would take a microsecond. */
const TRACES_AT_ONCE = 170;
/** A trace id of 16 bytes and a parent id of 8, in hexadecimal. */
const DIGITS = 48;

export function createTraceContext(): TraceContext {
  const pool = Buffer.alloc((TRACES_AT_ONCE * DIGITS) / 2);
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
