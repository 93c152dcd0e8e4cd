import type { Ticker } from "../../lib/clock.ts";
import type { NetConnection } from "../connections/connection.ts";

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
