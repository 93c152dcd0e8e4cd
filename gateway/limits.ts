import { Fault } from "../lib/fault.ts";

/** Limits that the settings give; `conf/settings.ts` has their defaults. Times are milliseconds. */
export type ConfiguredLimits = {
  /** Connections of one client address (IPv6: of a /64) that a process keeps open, and of all clients. */
  connectionsPerAddress: number;
  connectionsTotal: number;
  /** How long a request may wait for its container, and then how long for the head of the response. */
  proxyRequestTimeoutMs: number;
  /** Requests that may wait for one container at a time; the next one is told to come again. */
  holdLimit: number;
  /** Of those, one user's: half of `holdLimit` at most; and of all containers' together. */
  holdUserLimit: number;
  holdUserTotal: number;
  /** How long a client may take to send the head of a request. */
  headersTimeoutMs: number;
  /** How long no byte may pass either way within an exchange; 0: for ever. Not for WebSockets: their container's own time-out ends silent ones. */
  idleTimeoutMs: number;
  /** How long the body of a request that is not answered yet may make no progress: its container does not read it, or its client sends no more; 0: for ever. */
  bodyTimeoutMs: number;
  /** How long an exchange may take in all; 0: for ever. Not for WebSockets. */
  totalTimeoutMs: number;
  keepAliveTimeoutMs: number;
  /** Requests that neither wake a container nor keep it awake: `header`, or `header:part of its value`. */
  noWake: readonly string[];
  /** Request headers with `_` in their names: CGI-like servers take them for the same with `-`, and so for ours. */
  underscoreHeaders: "drop" | "pass";
};

/** Limits that no setting changes. */
export type FixedLimits = {
  /** What a WebSocket client may send before its container is there; beyond it, its socket is no longer read. */
  prebufferBytes: number;
  /** The same of all waiting WebSockets of one user, and of a gateway process: memory that their queues take. */
  prebufferUserBytes: number;
  prebufferTotalBytes: number;
  /** How often a waiting WebSocket client is pinged, so that load balancers keep its socket. */
  wsPingMs: number;
  connectTimeoutMs: number;
  /** How long to wait for news of a container that refused the connection although it counts as awake; control looks within a second. */
  doubtMs: number;
  /** How long the control plane's API may take; `run` and `stop` may wait there for a whole start. */
  apiTimeoutMs: number;
  /** How long an unused connection to a container is kept; below the 5 s after which most servers close it. */
  upstreamIdleMs: number;
  /** How long a connection may be silent before its other end is asked whether it is still there; one that vanished is then closed. */
  probeAfterMs: number;
  /** How long the rest of a request is read and thrown away after its answer, and a closing socket waited for. */
  lingerMs: number;
};

/** How long a gateway waits, how many it admits, and how much it keeps. */
export type GatewayLimits = ConfiguredLimits & FixedLimits;

export const FIXED_LIMITS: FixedLimits = {
  prebufferBytes: 1_048_576,
  prebufferUserBytes: 8_388_608,
  prebufferTotalBytes: 67_108_864,
  wsPingMs: 15_000,
  connectTimeoutMs: 5_000,
  doubtMs: 1_500,
  apiTimeoutMs: 900_000,
  upstreamIdleMs: 4_000,
  probeAfterMs: 30_000,
  lingerMs: 5_000,
};

/** Connections of all clients, where the limit of file descriptors allows as many. */
export const MAX_CONNECTIONS = 65_536;

/** Large enough for the cookies and tokens that browsers really send; Node's own 16 KiB are not. */
export const MAX_HEAD_BYTES = 65_536;

/** Why a request ends whose body did not move for `ms`. `untaken`: its container does not take what has come; undefined: unknown. */
export function stalledBody(ms: number, untaken?: boolean): Fault {
  const unread = "the container does not read it";
  const unsent = "the client does not send the rest";
  const why = untaken === undefined ? `${unread}, or ${unsent}` : untaken ? unread : unsent;
  return new Fault("EXCHANGE_TIMED_OUT", `The request's body made no progress for ${Math.round(ms / 100) / 10} s: ${why}`);
}
