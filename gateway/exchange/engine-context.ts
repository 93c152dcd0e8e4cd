import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Fault } from "../../lib/fault.ts";
import type { QueueBudget } from "../websockets/waiting-client.ts";
import type { Answer, Decide, Forward, Lease, Peer } from "../decision.ts";
import type { Exchanged, Watch } from "../access-record.ts";
import type { Http1, RequestHead, ResponseHead } from "../http1/open-http1.ts";
import type { GatewayLimits } from "../limits.ts";
import type { DialCounts } from "../connections/dial.ts";
import type { Draining } from "../connections/closing.ts";
import type { Link } from "../connections/connection.ts";
import type { OpenLinks } from "../connections/open-connections.ts";
import type { ContainerSide, Pool } from "./pool.ts";
import type { Ticker } from "./ticker.ts";

/** What all connections of one engine share. */
export type SpliceParts = {
  decide: Decide;
  /** What is said to bytes that are no request, and where `decide` fails. */
  refusal: (fault: Fault) => Answer;
  limits: GatewayLimits;
  clock: Clock;
  log: Log;
  http1: Http1;
  links: OpenLinks;
  pool: Pool;
  ticker: Ticker;
  draining: Draining;
  /** What waiting WebSockets have sent. */
  queues: QueueBudget;
  watch: Watch;
  dials: DialCounts;
  /** Keeps a connection that was upgraded among those that end with the engine, until `over` settles; then its exchange is over. */
  upgraded(link: Link, over: Promise<void>, exchanged: Exchanged): void;
};

/** A client's connection, as the exchange on it sees it. */
export type ExchangeClient = {
  readonly link: Link;
  readonly parts: SpliceParts;
  readonly peer: Peer;
  readonly tls: boolean;
  /** When bytes last went either way, on the ticker's scale. */
  lastByteAt: number;
  /** Aborts when the client is gone. */
  readonly signal: AbortSignal;
  readonly gone: boolean;
  /** Reads on: the container takes more of the body. */
  resume(): void;
  /** Answers in the container's place. */
  answer(answer: Answer): void;
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
  answering: boolean;
  /** What of the response comes next; `over` while the request is still coming. */
  awaiting: "head" | "length" | "chunked" | "close" | "over";
  answerLeft: number;
  /** The client's connection ends with this response. */
  closing: boolean;
  container: ContainerSide | undefined;
  readonly forward: Forward | undefined;
  readonly lease: Lease | undefined;
  readonly told: Exchanged;
  /** True where another response is wanted instead of the one whose head has come. */
  asksAgain(head: ResponseHead): boolean;
  /** The whole response has come; `reusable` where its connection can carry another exchange. */
  answerOver(reusable: boolean): void;
  /** Ends the exchange for a reason that its caller gets, where that is still possible. */
  fail(error: unknown): void;
  /** The exchange goes on elsewhere, and its lease with it. */
  handOver(): void;
};
