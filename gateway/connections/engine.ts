import type { Server } from "node:net";
import type { Clock } from "../../lib/clock.ts";
import type { ConnectionBounds } from "../../lib/connection-limits.ts";
import type { Log } from "../../lib/log.ts";
import type { Fault } from "../../lib/fault.ts";
import type { Answer, Decide } from "../decision.ts";
import type { Watch } from "../access-record.ts";
import type { GatewayLimits } from "../limits.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import type { TlsKeys } from "../tls-keys.ts";
import type { Reads } from "./open-connections.ts";

/** What there is: `splice` works on sockets; `http-proxy` on Node's own HTTP server and the library of that name. */
export const FORWARDERS = ["splice", "http-proxy"] as const;
export type Forwarder = (typeof FORWARDERS)[number];

export type EngineParts = {
  decide: Decide;
  /** What is said to bytes that are no request, as clients of this listener read it; as those of the REST API do where it is left out. */
  refusal?: (fault: Fault) => Answer;
  limits: GatewayLimits;
  reads: Reads;
  /** With them the server speaks TLS. */
  tls: TlsKeys | undefined;
  /** Which connections are taken. */
  bounds: ConnectionBounds;
  watch: Watch;
  /** What it counts of its connections. */
  counts: EngineCounts;
  clock: Clock;
  log: Log;
};

export type EngineCounts = Pick<Metrics, "connections" | "webSockets" | "pooled" | "connects" | "retries">;

/** Reads what clients send, asks `decide` what is to be done with it, and does it. */
export type Engine = {
  /** The caller lets it listen, on a handle that workers may share. */
  server: Server;
  /** Takes no more connections, tells WebSockets to come again elsewhere and lets requests finish for at most `ms`; then closes. */
  drain(ms: number): Promise<void>;
  /** Ends everything at once. */
  close(): Promise<void>;
};
