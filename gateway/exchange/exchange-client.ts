import type { AccessRecord } from "../access-record.ts";
import type { ClientPeer, DirectResponse } from "../decision.ts";
import type { NetConnection } from "../connections/connection.ts";
import type { EngineContext } from "./engine-context.ts";
import type { ResponseWriter } from "./response-writer.ts";
import type { Ticker } from "../../lib/clock.ts";

/** A client's connection, as its exchange sees it. */
export type ExchangeClient = {
  readonly connection: NetConnection;
  readonly writer: ResponseWriter;
  readonly clock: ClientClock;
  readonly context: EngineContext;
  readonly peer: ClientPeer;
  readonly tls: boolean;
  /** What the client speaks. */
  readonly protocol: AccessRecord["protocol"];
  /** Aborts when the client is gone. */
  readonly signal: AbortSignal;
  readonly gone: boolean;
  /** The container does not take the body that the client sends. */
  readonly isHeldByContainer: boolean;
  /** Continues reading: the container takes more of the body. */
  resume(): void;
  /** Sends a response of berth's own. */
  respond(answer: DirectResponse): void;
  /** The response that is about to begin is the last one of the connection. */
  closesAfter(persistent: boolean): boolean;
  /** The whole response was sent. `last`: the client knows that it is the last one. */
  exchangeOver(last: boolean): void;
  /** Resets the connection: the client must not treat what it received as complete. */
  cut(): void;
  /** Closes the connection. The framing shows the client that data is missing. */
  breakOff(): void;
  /** Gives the connection away; returns the bytes after the request's head. */
  handOver(): Buffer;
};

const NEVER = Number.POSITIVE_INFINITY;

/** The deadline of a client's connection while no exchange is open, and when bytes last passed. Times are on the ticker's scale. */
export class ClientClock {
  readonly #ticker: Ticker;
  #deadline = NEVER;
  #lastByteAt: number;
  #backlog = 0;

  constructor(ticker: Ticker) {
    this.#ticker = ticker;
    this.#lastByteAt = ticker.now;
  }

  get lastByteAt(): number {
    return this.#lastByteAt;
  }

  start(ms: number): void {
    this.#deadline = this.#ticker.now + ms;
  }

  stop(): void {
    this.#deadline = NEVER;
  }

  isOver(now: number): boolean {
    return now >= this.#deadline;
  }

  noteProgress(): void {
    this.#lastByteAt = this.#ticker.now;
  }

  /** Nothing passed for `ms`, and nothing is queued. */
  isIdle({ backlog }: NetConnection, ms: number): boolean {
    return backlog === 0 && this.#ticker.now - this.#lastByteAt >= ms;
  }

  /** The client still takes queued bytes. A slow client is not idle, unless it takes nothing for `idleTimeoutMs` (0: however long). */
  isTaking({ backlog }: NetConnection, idleTimeoutMs: number): boolean {
    if (backlog === 0) return false;
    if (backlog !== this.#backlog) this.noteProgress();
    this.#backlog = backlog;
    return idleTimeoutMs === 0 || this.#ticker.now - this.#lastByteAt < idleTimeoutMs;
  }
}
