import { isIP } from "node:net";
import { Fault } from "../lib/fault.ts";
import type { Head, HeaderEdits, HeaderLine, Lease, ClientPeer, ForwardTarget } from "./decision.ts";
import { CLIENT_ADDRESS_HEADER, CONSOLE_HEADER, GATEWAY_TOKEN_HEADER, UNTRUSTED_PROXY_HEADER } from "./contract.ts";
import type { ControlApi } from "./feed/control-client.ts";
import type { TrustedProxies } from "./forwarded-headers.ts";
import { trimTrailing } from "../lib/trim-trailing.ts";

/** Where every request goes that is for no container. */
export type ApiBackend = {
  lease: Lease;
  /** The request target there of one that came here. */
  pathOf(target: string): string;
  /** What is changed in its headers, beyond what every target gets. */
  edits(head: Head, peer: ClientPeer): HeaderEdits;
  /** What a failure to reach a container means where it was this server. */
  faultOf(fault: Fault): Fault;
};

/** A Datagrok server that berth stands in front of. */
export type DatagrokServer = {
  /** Its API, with `/api`. */
  url: string;
  /** Whether it is sent the Host that the client asked for, rather than its own. */
  keepHost: boolean;
};

const SOON_MS = 1_000;
/** Headers that only the gateway may set for the API. */
const OWN_HEADERS = [CLIENT_ADDRESS_HEADER, CONSOLE_HEADER, UNTRUSTED_PROXY_HEADER, GATEWAY_TOKEN_HEADER];

/** The control plane's API. The client's address is told to it by us alone. */
export function controlBackend({ target, admits }: ControlApi, trusted: TrustedProxies): ApiBackend {
  const away = () => new Fault("CONTROL_AWAY", "The control plane is away; it should be back in a moment", { retryAfterMs: SOON_MS });
  return {
    lease: { ...leaseOf(target), replaceTarget: () => Promise.reject(away()) },
    pathOf: (target) => target,
    edits: (head, peer) => {
      const forwarded = head.header("x-forwarded-for");
      const add: HeaderLine[] = [[CLIENT_ADDRESS_HEADER, trusted.clientOf(forwarded, peer.address)]];
      if (forwarded !== undefined && !trusted.trusts(peer.address)) add.push([UNTRUSTED_PROXY_HEADER, peer.address]);
      if (admits !== undefined) add.push(admits());
      return { remove: OWN_HEADERS, add };
    },
    faultOf: (fault) => (fault.status === 502 ? away() : fault),
  };
}

export function datagrokBackend({ url, keepHost }: DatagrokServer): ApiBackend {
  const { protocol, hostname, port, host, pathname } = new URL(url);
  const bare = hostname.replace(/^\[|\]$/g, "");
  const secure = protocol === "https:";
  const address = { host: bare, port: Number(port) || (secure ? 443 : 80) };
  const base = trimTrailing(pathname, "/").replace(/\/api$/, "");
  const edits: HeaderEdits = keepHost ? { remove: [], add: [] } : { remove: ["host"], add: [["Host", host]] };
  return {
    lease: leaseOf(secure ? { ...address, tls: { servername: isIP(bare) === 0 ? bare : "" } } : address),
    // `*` is the whole server (RFC 9112 §3.2.4), under whatever path.
    pathOf: (target) => (target.startsWith("/") ? base + target : target),
    edits: () => edits,
    faultOf: (fault) => {
      const { cause } = fault;
      const why = codeOf(cause);
      if (fault.code === "CONTAINER_UNREACHABLE")
        return new Fault("DATAGROK_AWAY", `The Datagrok server cannot be reached (${why})`, { cause, retryAfterMs: SOON_MS });
      if (fault.status === 502)
        return new Fault("DATAGROK_BROKE_OFF", `The Datagrok server broke the connection before it answered (${why})`, { cause });
      if (fault.code === "RESPONSE_TIMED_OUT") return new Fault("RESPONSE_TIMED_OUT", "The Datagrok server did not answer in time", { cause });
      return fault;
    },
  };
}

/** The server does not move: a connection that was refused is tried once more. */
function leaseOf(target: ForwardTarget): Lease {
  return {
    owner: "",
    target: () => target,
    replaceTarget: () => Promise.resolve(target),
    onTargetGone: () => () => undefined,
    countBytes: () => undefined,
    release: () => undefined,
  };
}

/** Also one error further down: what was refused says by what. */
function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "no reason given";
  if ("code" in error && typeof error.code === "string") return error.code;
  return codeOf(error.cause);
}
