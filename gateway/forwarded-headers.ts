import { CLASS, consistsOf } from "../lib/character-classes.ts";
import { BoundedMap } from "../lib/bounded-map.ts";
import { type CredentialEdits, REMOVED_CREDENTIALS } from "./caller-edits.ts";
import type { RecordedTrace, RequestIds } from "./access-record.ts";
import type { ClientPeer, Head, HeaderEdits, HeaderLine, WrittenLines } from "./decision.ts";
import { type TraceContext, traceIdOf, traceparentIn, type TraceLines } from "./trace-context.ts";
import type { TrustedProxies } from "./trusted-proxies.ts";
import { ConstantLines, putText } from "./http1/write-lines.ts";

/** The edits of a request, and the ids under which it is forwarded. */
type ForwardedHeaderEdits = HeaderEdits & {
  readonly written: readonly WrittenLines[];
  readonly ids: RequestIds;
  readonly traced: RecordedTrace | undefined;
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

/** Clients whose lines are kept; beyond it, those of the oldest are made again. */
const MAX_PEERS = 4_096;

/**
 * Creates the edits that name the client, the trace and the request id. Headers of a trusted proxy are kept, and its address is appended to
 * `X-Forwarded-For`. Those of any other peer are replaced. A valid `traceparent` is kept unless this gateway records a span.
 */
export function createForwardedEdits({ trusted, trace }: { trusted: TrustedProxies; trace: TraceContext }): ForwardedEdits {
  const peers = { plain: new BoundedMap<string, PeerLines>(MAX_PEERS), tls: new BoundedMap<string, PeerLines>(MAX_PEERS) };
  const create = (address: string, tls: boolean): PeerLines => {
    const lines = new PeerLines(address, tls, trusted.trusts(address));
    peers[tls ? "tls" : "plain"].set(address, lines);
    return lines;
  };
  // Often the same client as before: a load balancer, or one with many requests.
  let last = { address: "", tls: false, lines: create("", false) };
  const linesOf = (address: string, tls: boolean): PeerLines => {
    if (last.address === address && last.tls === tls) return last.lines;
    const lines = (tls ? peers.tls : peers.plain).get(address) ?? create(address, tls);
    last = { address, tls, lines };
    return lines;
  };
  return (head, { address }, tls, own) => {
    const peer = linesOf(address, tls);
    const constant = peer.isTrusted ? undefined : peer.written(head);
    const theirs = traceparentIn(head);
    const theirId = requestIdOf(head);
    const traced = trace.begin?.(theirs);
    const begun = theirs === undefined && traced === undefined ? trace.next(theirId === undefined) : undefined;
    const traceparent = begun === undefined ? (traced?.traceparent ?? theirs) : undefined;
    const byTrace = peer.isTrusted ? REMOVED.trusted : REMOVED.untrusted;
    const byId = theirs === undefined ? byTrace.ours : traceparent === theirs ? byTrace.theirs : byTrace.within;
    const byCredentials = theirId === undefined ? byId.ours : byId.theirs;
    const remove = byCredentials[own?.removed ?? 0] ?? NONE;
    // The usual request: no line is its own.
    if (constant !== undefined && begun !== undefined && (own === undefined || own.add.length === 0)) {
      const written = own?.written === undefined ? [constant, begun] : [constant, begun, own.written];
      return new RequestEdits(remove, NO_LINES, written, new ForwardedIds(theirId, undefined, begun), traced);
    }
    const add = constant !== undefined ? [] : peer.isTrusted ? peer.addToProxy(head) : peer.add(head);
    const ids = new ForwardedIds(theirId, traceparent, begun);
    if (traceparent !== undefined && traceparent !== theirs) add.push(["traceparent", traceparent]);
    if (theirId === undefined && begun === undefined) add.push(["X-Request-Id", ids.requestId]);
    if (own !== undefined) for (const line of own.add) add.push(line);
    const written = [constant, begun, own?.written].filter((lines) => lines !== undefined);
    return new RequestEdits(remove, add, written, ids, traced);
  };
}

const NO_LINES: readonly HeaderLine[] = [];
const NONE: readonly string[] = [];

/** Created for every request: an object of a class costs less than one with its own functions. */
class RequestEdits implements ForwardedHeaderEdits {
  readonly remove: readonly string[];
  readonly add: readonly HeaderLine[];
  readonly written: readonly WrittenLines[];
  readonly ids: ForwardedIds;
  readonly traced: RecordedTrace | undefined;

  constructor(
    remove: readonly string[],
    add: readonly HeaderLine[],
    written: readonly WrittenLines[],
    ids: ForwardedIds,
    traced: RecordedTrace | undefined,
  ) {
    this.remove = remove;
    this.add = add;
    this.written = written;
    this.ids = ids;
    this.traced = traced;
  }
}

/** The ids under which a request is forwarded, as text when they are needed. */
class ForwardedIds implements RequestIds {
  readonly theirRequestId: string | undefined;
  readonly #traceparent: string | undefined;
  readonly #begun: TraceLines | undefined;

  /** `begun`: a new trace, in place of `traceparent`. */
  constructor(theirId: string | undefined, traceparent: string | undefined, begun: TraceLines | undefined) {
    this.theirRequestId = theirId;
    this.#traceparent = traceparent;
    this.#begun = begun;
  }

  get traceparent(): string {
    return this.#traceparent ?? this.#begun?.traceparent ?? "";
  }

  get requestId(): string {
    return this.theirRequestId ?? traceIdOf(this.traceparent);
  }

  putTraceId(out: Uint8Array, at: number): number {
    if (this.#begun !== undefined) return this.#begun.putTraceId(out, at);
    return putText(out, at, traceIdOf(this.#traceparent ?? ""));
  }
}

/** No line feed, which would begin another log line, and a bounded length. */
const MAX_REQUEST_ID = 128;

/** The client's `X-Request-Id` if it is safe to log; undefined: a new id is needed. */
export function requestIdOf(head: Pick<Head, "header">): string | undefined {
  const value = head.header("x-request-id");
  return value !== undefined && value !== "" && value.length <= MAX_REQUEST_ID && consistsOf(value, CLASS.requestId) ? value : undefined;
}

const PROTO_HTTP: HeaderLine = ["X-Forwarded-Proto", "http"];
const PROTO_HTTPS: HeaderLine = ["X-Forwarded-Proto", "https"];

/** The lines that name a client and what it requested, made once for requests to the same host. */
class PeerLines {
  readonly isTrusted: boolean;
  readonly #forwardedFor: HeaderLine;
  readonly #proto: HeaderLine;
  /** Of the last request. */
  #host: string | undefined;
  /** For that host, made when it comes a second time: the requests of a proxy may alternate between hosts. */
  #lines: WrittenLines | undefined;

  constructor(address: string, tls: boolean, isTrusted: boolean) {
    this.isTrusted = isTrusted;
    this.#forwardedFor = ["X-Forwarded-For", address];
    this.#proto = tls ? PROTO_HTTPS : PROTO_HTTP;
  }

  /** The constant lines of a client's request; undefined: those of `add`. */
  written(head: Head): WrittenLines | undefined {
    if (!this.#isLastHost(head)) {
      this.#host = head.header("host");
      this.#lines = undefined;
      return undefined;
    }
    this.#lines ??= new ConstantLines(this.add(head));
    return this.#lines;
  }

  /** The same, for one request. */
  add(head: Head): HeaderLine[] {
    const host = head.header("host");
    return host === undefined ? [this.#forwardedFor, this.#proto] : [this.#forwardedFor, this.#proto, ["X-Forwarded-Host", host]];
  }

  /** What a trusted proxy did not say itself, and its own address. */
  addToProxy(head: Head): HeaderLine[] {
    const before = head.header("x-forwarded-for");
    const add: HeaderLine[] = [before === undefined ? this.#forwardedFor : ["X-Forwarded-For", `${before}, ${this.#forwardedFor[1]}`]];
    if (head.header("x-forwarded-proto") === undefined) add.push(this.#proto);
    const host = head.header("x-forwarded-host") === undefined ? head.header("host") : undefined;
    if (host !== undefined) add.push(["X-Forwarded-Host", host]);
    return add;
  }

  #isLastHost(head: Head): boolean {
    const last = this.#host;
    if (last === undefined) return false;
    const span = head.spans?.headerSpan("host");
    if (span === undefined) return head.header("host") === last;
    const { bytes, start, end } = span;
    if (end - start !== last.length) return false;
    for (let at = 0; at < last.length; at++) if (bytes[start + at] !== last.charCodeAt(at)) return false;
    return true;
  }
}
