import type { Clock, Ticker } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Fault } from "../../lib/fault.ts";
import type { QueueBudget } from "../websockets/waiting-client.ts";
import type { DirectResponse, Decide, InterceptingForward } from "../decision.ts";
import type { AccessRecord, ExchangeObserver } from "../access-record.ts";
import type { Http1 } from "../http1/message-reader.ts";
import type { GatewayLimits } from "../limits.ts";
import type { DialCounts } from "../connections/dial.ts";
import type { Draining } from "../connections/closing.ts";
import type { NetConnection } from "../connections/connection.ts";
import type { ConnectionFactory } from "../connections/open-connections.ts";
import type { ContainerSessions } from "../http2/container-sessions.ts";
import type { ConnectionPool } from "./pool.ts";

/** Shared by all connections of an engine. */
export type EngineContext = {
  decide: Decide<InterceptingForward>;
  /** The response to bytes that are not a request, and after a failure of `decide`. */
  refusal: (fault: Fault) => DirectResponse;
  limits: GatewayLimits;
  clock: Clock;
  log: Log;
  http1: Http1;
  connections: ConnectionFactory;
  pool: ConnectionPool;
  ticker: Ticker;
  draining: Draining;
  /** The memory budget of waiting WebSockets. */
  queues: QueueBudget;
  watch: ExchangeObserver;
  dials: DialCounts;
  /** Of containers that speak HTTP/2. */
  h2c: ContainerSessions;
  /** Tracks an upgraded connection until `over` settles, and then finishes its record. The engine destroys tracked connections when it closes. */
  trackUpgraded(connection: NetConnection, over: Promise<void>, record: AccessRecord): void;
};
