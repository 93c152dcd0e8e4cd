import type { Head, HeaderEdits, HeaderLine, ClientPeer } from "./decision.ts";
import type { RecordedTrace } from "./access-record.ts";
import { isTraceparent, type TraceContext } from "./traces.ts";
import { BoundedMap } from "../lib/bounded-map.ts";
import { BlockList, isIP } from "node:net";

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

/** The load balancers in front: what they say of where a request came from is believed. */
export type TrustedProxies = {
  trusts(address: string): boolean;
  /**
   * The client's own address: of `peer` and those that `forwardedFor` names before it, the last that is no trusted proxy. What an
   * untrusted one says of whom it speaks for is not even looked at.
   */
  clientOf(forwardedFor: string | undefined, peer: string): string;
};

/** What the words of `BERTH_TRUSTED_PROXIES` stand for. `private`: RFC 1918 and RFC 4193. */
const WORDS: Record<string, readonly string[]> = {
  loopback: ["127.0.0.0/8", "::1"],
  private: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
};

/** Proxies that one request may have passed; what is named before them is not looked at. A header of 64 KiB names thousands. */
const MOST_HOPS = 32;

/** Peers whose verdict is remembered; the list behind it costs a microsecond to ask. */
const MOST_REMEMBERED = 1_000;

/** `blocks` are addresses, blocks such as `10.0.0.0/8`, and the words above. */
export function trustedProxies(blocks: readonly string[]): TrustedProxies {
  if (blocks.length === 0) return { trusts: () => false, clientOf: (_chain, peer) => peer };
  const list = new BlockList();
  for (const block of blocks.flatMap((word) => WORDS[word] ?? [word])) {
    const [address = "", bits] = block.split("/");
    const family = isIP(address) === 6 ? "ipv6" : "ipv4";
    if (bits === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(bits), family);
  }
  const remembered = new BoundedMap<string, boolean>(MOST_REMEMBERED);

  const trusts = (address: string): boolean => {
    const known = remembered.get(address);
    if (known !== undefined) return known;
    const family = isIP(address);
    const verdict = family !== 0 && list.check(address, family === 6 ? "ipv6" : "ipv4");
    remembered.set(address, verdict);
    return verdict;
  };

  return {
    trusts,
    clientOf: (forwardedFor, peer) => {
      let client = peer;
      const chain = forwardedFor ?? "";
      let end = forwardedFor === undefined ? -1 : chain.length;
      for (let hop = 0; end >= 0 && hop < MOST_HOPS && trusts(client); hop++) {
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

/** Some write a port behind the address, and then brackets around one of IPv6. */
function addressIn(said: string): string | undefined {
  if (isIP(said) !== 0) return said;
  const address = /^(?:\[([^\]]+)\]|([^:]+))(?::\d+)?$/.exec(said)?.slice(1).find(Boolean) ?? "";
  return isIP(address) === 0 ? undefined : address;
}
