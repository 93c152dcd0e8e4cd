import { Fault } from "../lib/fault.ts";

/** Limits that the settings give; `conf/settings.ts` has their defaults. Times are milliseconds. */
export type ConfiguredLimits = {
  /** Connections of one client address (IPv6: of a /64) that a process keeps open, and of all clients. */
  connectionsPerAddress: number;
  connectionsTotal: number;
  /** How long a request may wait for its container, and then as long for the head of the response. */
  proxyRequestTimeoutMs: number;
  /** How long the control plane's API may take to respond: `run` waits for the image and the start of a container. */
  apiTimeoutMs: number;
  /** Requests that may wait for one container at a time. The next one gets 503 with `Retry-After`. */
  holdLimit: number;
  /** The same for one user: at one container (at most half of `holdLimit`), and at all containers. */
  holdUserLimit: number;
  holdUserTotal: number;
  /** How long a client may take to send the head of a request. */
  headersTimeoutMs: number;
  /** How long an exchange may pass no byte in either direction; 0: no limit. Not for WebSockets: the container's own timeout ends silent ones. */
  idleTimeoutMs: number;
  /** How long the body of a request without a response may make no progress, because either side stalls; 0: no limit. */
  bodyTimeoutMs: number;
  /** How long an exchange may take in total; 0: no limit. Not for WebSockets. */
  totalTimeoutMs: number;
  keepAliveTimeoutMs: number;
  /** Matches requests that neither wake a container nor keep it awake: `header`, or `header:part of its value`. */
  noWake: readonly string[];
  /** Request headers with `_` in their names. CGI-like servers read them as `-`, so they could replace ours. */
  underscoreHeaders: "drop" | "pass";
};

/** Limits that no setting changes. */
export type FixedLimits = {
  /** Bytes that are queued for a WebSocket client before its container is ready. Beyond it, its socket is not read. */
  prebufferBytes: number;
  /** Memory for the queues of all waiting WebSockets of one user, and of a gateway process. */
  prebufferUserBytes: number;
  prebufferTotalBytes: number;
  /** Interval of pings to a waiting WebSocket client, so that load balancers keep its connection. */
  wsPingMs: number;
  connectTimeoutMs: number;
  /** How long to wait for a new view of a container that is awake and refused the connection. Control checks it within a second. */
  suspectAddressMs: number;
  /** How long an idle connection to a container is kept: less than the 5 s after which most servers close it. */
  upstreamIdleMs: number;
  /** How long a connection may be silent before TCP keep-alive probes it. */
  probeAfterMs: number;
  /** How long a shared HTTP/2 connection to a container may be silent before a PING probes it, and how long the answer may take. */
  silentSessionMs: number;
  /** How long the rest of a request is read and discarded after its response, and how long a closing socket may take. */
  lingeringCloseMs: number;
};

export type GatewayLimits = ConfiguredLimits & FixedLimits;

export const FIXED_LIMITS: FixedLimits = {
  prebufferBytes: 1_048_576,
  prebufferUserBytes: 8_388_608,
  prebufferTotalBytes: 67_108_864,
  wsPingMs: 15_000,
  connectTimeoutMs: 5_000,
  suspectAddressMs: 1_500,
  upstreamIdleMs: 4_000,
  probeAfterMs: 30_000,
  silentSessionMs: 5_000,
  lingeringCloseMs: 5_000,
};

/** While places are scarce or the gateway drains, an idle connection stays open for this long: its next request may already have been sent. */
export const SHORT_IDLE_MS = 1_000;

/** Connections of all clients, if the limit of file descriptors allows as many. */
export const MAX_CONNECTIONS = 65_536;

/** Node's default of 16 KiB is too small for the cookies and tokens that browsers send. */
export const MAX_HEAD_BYTES = 65_536;

/** The fault of a request whose body made no progress for `ms`. `unread`: the container does not read it; undefined: unknown. */
export function stalledBody(ms: number, unread?: boolean): Fault {
  const container = "the container does not read it";
  const client = "the client does not send the rest";
  const why = unread === undefined ? `${container}, or ${client}` : unread ? container : client;
  return new Fault("EXCHANGE_TIMED_OUT", `The request's body made no progress for ${Math.round(ms / 100) / 10} s: ${why}`);
}
