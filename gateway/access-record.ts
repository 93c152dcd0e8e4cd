import type { Clock } from "../lib/clock.ts";
import type { FaultCode } from "../lib/fault.ts";
import type { Count } from "../lib/metrics/cells.ts";
import type { TracePlace } from "../lib/traces/traces.ts";

/**
 * What requests are told apart by where they are counted: calls of containers, the API behind, questions about health, a registry's manifests, layers,
 * uploads, tokens and the rest; `none` for bytes that were no request.
 */
export type RouteName = "proxy" | "proxy-ws" | "api" | "health" | "manifest" | "blob" | "upload" | "token" | "registry" | "none";

/** What is noted of a request whose trace is recorded: the ids of the spans that others hang theirs below. */
export type RecordedTrace = TracePlace & {
  forwardId: string;
  /** What the container is sent. */
  traceparent: string;
  holdId: string;
  /** What control is told that wakes the container. */
  holdTraceparent: string;
};

/** What a decision says of its request for those who watch. One object may be of many requests. */
export type ExchangeLabels = {
  route: RouteName;
  /** The container's name. */
  container?: string;
  /** Where its answers are counted, by the first digit of their status. */
  answers?: readonly Count[] | undefined;
  /** Whose token it was. */
  login?: string;
  /** An image is pushed to the registry or pulled from it. */
  image?: "push" | "pull";
  /** The names under which the request went on. */
  requestId?: string;
  traceparent?: string;
  traced?: RecordedTrace | undefined;
  /** Why berth answered by itself. */
  fault?: FaultCode;
};

/** `left`: the client was gone before its answer was there as a whole; `cut`: the answer could not be finished. */
export type ExchangeEnding = "answered" | "left" | "cut";

/** What of a head is told. */
export type RecordedHead = { method: string; target: string; header(name: string): string | undefined };

/** Is told of every exchange when it is over. */
export type ExchangeObserver = {
  over(exchange: AccessRecord): void;
  /** Method, target and headers of a request are wanted even when it became a WebSocket, which may be open for days. */
  readonly keepsHeads: boolean;
};

const UNKNOWN: ExchangeLabels = { route: "none" };

/** One exchange as those see it who watch: numbers that the engine fills in as they come. Times are on the clock's monotonic scale, durations milliseconds. */
export class AccessRecord {
  labels: ExchangeLabels = UNKNOWN;
  head: RecordedHead | undefined;
  peer: string;
  /** Of what the client was sent; 0 while that is nothing. */
  status = 0;
  bytesIn = 0;
  bytesOut = 0;
  /** How long it took to know who calls what, to have the container awake, and to connect to it. */
  identityMs = 0;
  holdMs = 0;
  connectMs = 0;
  fault: FaultCode | undefined;
  ending: ExchangeEnding = "answered";
  readonly startedAt: number;
  /** When the head of the container's answer came; 0 where none did. */
  firstByteAt = 0;
  overAt = 0;
  readonly #watch: ExchangeObserver;
  readonly #clock: Clock;

  constructor(watch: ExchangeObserver, clock: Clock, head: RecordedHead | undefined, peer: string) {
    this.#watch = watch;
    this.#clock = clock;
    this.head = head;
    this.peer = peer;
    this.startedAt = clock.monotonic();
  }

  /** The container's answer begins. */
  responseStarted(status: number): void {
    this.status = status;
    this.firstByteAt = this.#clock.monotonic();
  }

  /** It becomes a WebSocket, and its head is let go. */
  becameWebSocket(): void {
    this.status = 101;
    if (!this.#watch.keepsHeads) this.head = undefined;
  }

  /** Once. */
  finish(ending: ExchangeEnding): void {
    this.ending = ending;
    this.overAt = this.#clock.monotonic();
    this.#watch.over(this);
  }
}
