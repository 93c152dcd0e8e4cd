import type { Server } from "node:net";
import type { Clock } from "../../lib/clock.ts";
import type { ConnectionLimits } from "../../lib/connection-limits.ts";
import type { Log } from "../../lib/log.ts";
import type { Fault } from "../../lib/fault.ts";
import type { DirectResponse, Decide } from "../decision.ts";
import type { ExchangeObserver } from "../access-record.ts";
import type { GatewayLimits } from "../limits.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import type { TlsKeys } from "../tls-keys.ts";
import type { ReadMode } from "./open-connections.ts";

/** What there is: `splice` works on sockets; `http-proxy` on Node's own HTTP server and the library of that name. */
export const ENGINE_NAMES = ["splice", "http-proxy"] as const;
export type EngineName = (typeof ENGINE_NAMES)[number];

export type ForwardingEngineDeps = {
  decide: Decide;
  /** What is said to bytes that are no request, as clients of this listener read it; as those of the REST API do where it is left out. */
  refusal?: (fault: Fault) => DirectResponse;
  limits: GatewayLimits;
  reads: ReadMode;
  /** With them the server speaks TLS. */
  tls: TlsKeys | undefined;
  /** Which connections are taken. */
  bounds: ConnectionLimits;
  watch: ExchangeObserver;
  /** What it counts of its connections. */
  counts: EngineCounts;
  clock: Clock;
  log: Log;
};

export type EngineCounts = Pick<Metrics, "connections" | "webSockets" | "pooled" | "connects" | "retries">;

/** Reads what clients send, asks `decide` what is to be done with it, and does it. */
export type ForwardingEngine = {
  /** The caller lets it listen, on a handle that workers may share. */
  server: Server;
  /** Takes no more connections, tells WebSockets to come again elsewhere and lets requests finish for at most `ms`; then closes. */
  drain(ms: number): Promise<void>;
  /** Ends everything at once. */
  close(): Promise<void>;
};
