import type { Clock, Ticker } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Fault } from "../../lib/fault.ts";
import type { QueueBudget } from "../websockets/waiting-client.ts";
import type { DirectResponse, Decide, InterceptingForward, Lease, ClientPeer } from "../decision.ts";
import type { AccessRecord, ExchangeObserver } from "../access-record.ts";
import type { Http1, RequestHead, ResponseHead } from "../http1/message-reader.ts";
import type { GatewayLimits } from "../limits.ts";
import type { DialCounts } from "../connections/dial.ts";
import type { Draining } from "../connections/closing.ts";
import type { Connection } from "../connections/connection.ts";
import type { ConnectionFactory } from "../connections/open-connections.ts";
import type { ContainerSessions } from "../http2/container-sessions.ts";
import type { ContainerConnection, ConnectionPool } from "./pool.ts";

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
  trackUpgraded(connection: Connection, over: Promise<void>, record: AccessRecord): void;
};

/** A client's connection, as its exchange sees it. */
export type ExchangeClient = {
  readonly connection: Connection;
  readonly context: EngineContext;
  readonly peer: ClientPeer;
  readonly tls: boolean;
  /** When bytes last passed in either direction, on the ticker's scale. */
  lastByteAt: number;
  /** Aborts when the client is gone. */
  readonly signal: AbortSignal;
  readonly gone: boolean;
  /** Continues reading: the container takes more of the body. */
  resume(): void;
  /** Sends a response of berth's own. */
  respond(answer: DirectResponse): void;
  /** The connection must close after the response that is about to begin. */
  closing(persistent: boolean): boolean;
  /** The whole response was sent. */
  exchangeOver(closing: boolean): void;
  /** Resets the connection: the client must not treat what it received as complete. */
  cut(): void;
  /** Closes the connection. The framing shows the client that data is missing. */
  breakOff(): void;
  /** Gives the connection away; returns the bytes after the request's head. */
  handOver(): Buffer;
};

/** An exchange, as `pass-response.ts` and `upgrade.ts` see it. */
export type ForwardedExchange = {
  readonly client: ExchangeClient;
  readonly head: RequestHead;
  /** The final response has begun. */
  responding: boolean;
  /** The next part of the response; `over`: it is complete, but the request is not. */
  awaiting: "head" | "length" | "chunked" | "close" | "over";
  responseLeft: number;
  /** The client's connection closes after this response. */
  closing: boolean;
  container: ContainerConnection | undefined;
  readonly forward: InterceptingForward | undefined;
  readonly lease: Lease | undefined;
  readonly record: AccessRecord;
  /** Another response replaces the one whose head has come. */
  isIntercepted(head: ResponseHead): boolean;
  /** The whole response has come. `reusable`: its connection can be used for another exchange. */
  responseOver(reusable: boolean): void;
  /** Ends the exchange, with the error as response if that is still possible. */
  fail(error: unknown): void;
  /** Others continue the exchange, with its lease. */
  handOver(): void;
};
