import { METHODS } from "node:http";
import { isIP } from "node:net";
import { CLASS, consistsOf } from "../../lib/character-classes.ts";
import { plainAddress } from "../../lib/connection-limits.ts";
import { Fault } from "../../lib/fault.ts";
import type { ClientPeer, Head, IncomingRequest } from "../decision.ts";

/**
 * How a proxy names the request that it asks about. `nginx`: `X-Original-Method` and `-URI`; it passes no status on but 401 and 403. `forward-auth`:
 * `X-Forwarded-Method` and `-Uri`, as Caddy and HAProxy send them. `envoy`: the request's own method, and its target behind `ENVOY_PREFIX`.
 */
export type CalloutStyle = "nginx" | "forward-auth" | "envoy";

export const DECIDE_PATH = "/decide";
export const ENVOY_PREFIX = "/envoy";
export const SECRET_HEADER = "x-berth-callout-secret";
/** Names the proxy, if several share an address. */
export const PROXY_HEADER = "x-berth-proxy";

/** The request of a client as its proxy has it, and who asks. */
export type OriginalRequest = { style: CalloutStyle; request: IncomingRequest; proxy: string };

/** Of a proxy for berth. The decision about a client's request never reads them. */
const OF_PROXY: ReadonlySet<string> = new Set([
  "x-original-method",
  "x-original-uri",
  "x-forwarded-method",
  "x-forwarded-uri",
  "x-forwarded-host",
  "x-forwarded-proto",
  "x-forwarded-port",
  "x-forwarded-server",
  "connection",
  SECRET_HEADER,
  PROXY_HEADER,
]);

const KNOWN_METHODS: ReadonlySet<string> = new Set(METHODS.filter((method) => method !== "CONNECT"));

/** Reads the client's request from the proxy's. Faults: REQUEST_INVALID. */
export function readOriginalRequest(incoming: IncomingRequest): OriginalRequest {
  const { head, peer } = incoming;
  const named = head.target.startsWith(`${ENVOY_PREFIX}/`) ? namedByPath(head) : namedByHeaders(head);
  return { style: named.style, request: originalRequest(incoming, named), proxy: head.header(PROXY_HEADER) ?? plainAddress(peer.address) };
}

/** The client's request, whose headers are those of `incoming`. Faults: REQUEST_INVALID. */
export function originalRequest(incoming: IncomingRequest, { style, method, target }: NamedRequest): IncomingRequest {
  const { head } = incoming;
  if (!KNOWN_METHODS.has(method)) throw invalid("The method of the original request is not one that berth knows");
  // Two lines of one header arrive as one with `, ` between them, and no target contains a space.
  if (!target.startsWith("/") || target.includes("#") || !consistsOf(target, CLASS.visible))
    throw invalid("The target of the original request is not a path and query of visible ASCII characters, as the client sent them");
  const proto = head.header("x-forwarded-proto");
  if (proto !== "http" && proto !== "https") throw invalid(`The proxy must send X-Forwarded-Proto, either http or https`);
  const { address, before } = splitChain(head.header("x-forwarded-for"));
  const host = (style === "forward-auth" ? head.header("x-forwarded-host") : undefined) ?? head.header("host");
  const original = new OriginalHead(head, { method, target, host, before });
  return new OriginalIncoming(incoming, original, { address }, proto === "https");
}

type NamedRequest = { style: CalloutStyle; method: string; target: string };

function namedByPath(head: Head): NamedRequest {
  return { style: "envoy", method: head.method, target: head.target.slice(ENVOY_PREFIX.length) };
}

/** A client may send the other pair of headers, and its proxy forward it: then it is not certain which of them the proxy wrote. */
function namedByHeaders(head: Head): NamedRequest {
  const original = { method: head.header("x-original-method"), target: head.header("x-original-uri") };
  const forwarded = { method: head.header("x-forwarded-method"), target: head.header("x-forwarded-uri") };
  const [own, other, style] =
    original.target === undefined ? [forwarded, original, "forward-auth" as const] : [original, forwarded, "nginx" as const];
  const { method, target } = own;
  if (method === undefined || target === undefined)
    throw invalid("The proxy must send X-Original-Method and X-Original-URI, or X-Forwarded-Method and X-Forwarded-Uri");
  if ((other.method ?? method) !== method || (other.target ?? target) !== target)
    throw invalid("X-Original-* and X-Forwarded-* name different requests: the proxy must remove those that it does not set");
  return { style, method, target };
}

/** The last address is that of the proxy's own client, which sent those before it. */
function splitChain(chain: string | undefined): { address: string; before: string | undefined } {
  const comma = chain?.lastIndexOf(",") ?? -1;
  const address = chain?.slice(comma + 1).trim() ?? "";
  if (isIP(address) === 0) throw invalid("The proxy must send X-Forwarded-For, which ends with the IP address of its client");
  return { address, before: comma === -1 ? undefined : chain?.slice(0, comma) };
}

function invalid(why: string): Fault {
  return new Fault("REQUEST_INVALID", why);
}

/** The head of the client's request: its own lines, without those that the proxy wrote for berth. */
class OriginalHead implements Head {
  readonly method: string;
  readonly target: string;
  readonly upgrade: boolean;
  readonly #head: Head;
  readonly #host: string | undefined;
  readonly #before: string | undefined;

  constructor(
    head: Head,
    { method, target, host, before }: { method: string; target: string; host: string | undefined; before: string | undefined },
  ) {
    this.method = method;
    this.target = target;
    this.#head = head;
    this.#host = host;
    this.#before = before;
    // Some proxies do not pass `Upgrade` on here. The others are end-to-end, and no browser opens a WebSocket without them.
    this.upgrade = ["upgrade", "sec-websocket-key", "sec-websocket-version"].some((name) => head.header(name) !== undefined);
  }

  header(name: string): string | undefined {
    if (name === "host") return this.#host;
    if (name === "upgrade") return this.upgrade ? "websocket" : undefined;
    if (name === "x-forwarded-for") return this.#before;
    return OF_PROXY.has(name) ? undefined : this.#head.header(name);
  }
}

class OriginalIncoming implements IncomingRequest {
  readonly head: Head;
  readonly peer: ClientPeer;
  readonly tls: boolean;
  readonly #incoming: IncomingRequest;

  constructor(incoming: IncomingRequest, head: Head, peer: ClientPeer, tls: boolean) {
    this.#incoming = incoming;
    this.head = head;
    this.peer = peer;
    this.tls = tls;
  }

  get signal(): AbortSignal {
    return this.#incoming.signal;
  }
}
