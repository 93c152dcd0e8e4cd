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
import type { NetConnection } from "../connections/connection.ts";
import type { ConnectionFactory } from "../connections/open-connections.ts";
import type { ContainerConnection, ConnectionPool } from "./pool.ts";

/** What all connections of one engine share. */
export type EngineContext = {
  decide: Decide<InterceptingForward>;
  /** What is said to bytes that are no request, and where `decide` fails. */
  refusal: (fault: Fault) => DirectResponse;
  limits: GatewayLimits;
  clock: Clock;
  log: Log;
  http1: Http1;
  connections: ConnectionFactory;
  pool: ConnectionPool;
  ticker: Ticker;
  draining: Draining;
  /** What waiting WebSockets have sent. */
  queues: QueueBudget;
  watch: ExchangeObserver;
  dials: DialCounts;
  /** Keeps a connection that was upgraded among those that end with the engine, until `over` settles; then its exchange is over. */
  keepUpgraded(link: NetConnection, over: Promise<void>, exchanged: AccessRecord): void;
};

/** A client's connection, as the exchange on it sees it. */
export type ExchangeClient = {
  readonly connection: NetConnection;
  readonly context: EngineContext;
  readonly peer: ClientPeer;
  readonly tls: boolean;
  /** When bytes last went either way, on the ticker's scale. */
  lastByteAt: number;
  /** Aborts when the client is gone. */
  readonly signal: AbortSignal;
  readonly gone: boolean;
  /** Reads on: the container takes more of the body. */
  resume(): void;
  /** Answers in the container's place. */
  respond(answer: DirectResponse): void;
  /** Whether the connection ends with the response that is about to begin. */
  closing(persistent: boolean): boolean;
  /** The whole response was sent. */
  exchangeOver(closing: boolean): void;
  /** Resets the connection, so that the client cannot take what it has for the whole. */
  cut(): void;
  /** Ends the connection, where the missing rest shows by itself. */
  breakOff(): void;
  /** Gives the connection away: what came behind the request's head. */
  handOver(): Buffer;
};

/** An exchange, as its response and its upgrade see it. */
export type ForwardedExchange = {
  readonly client: ExchangeClient;
  readonly head: RequestHead;
  /** The final response has begun: nothing else can be sent instead. */
  responding: boolean;
  /** What of the response comes next; `over` while the request is still coming. */
  awaiting: "head" | "length" | "chunked" | "close" | "over";
  responseLeft: number;
  /** The client's connection ends with this response. */
  closing: boolean;
  container: ContainerConnection | undefined;
  readonly forward: InterceptingForward | undefined;
  readonly lease: Lease | undefined;
  readonly record: AccessRecord;
  /** True where another response is wanted instead of the one whose head has come. */
  isIntercepted(head: ResponseHead): boolean;
  /** The whole response has come; `reusable` where its connection can carry another exchange. */
  responseOver(reusable: boolean): void;
  /** Ends the exchange for a reason that its caller gets, where that is still possible. */
  fail(error: unknown): void;
  /** The exchange goes on elsewhere, and its lease with it. */
  handOver(): void;
};
