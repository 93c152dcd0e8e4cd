import type { Clock } from "../lib/clock.ts";
import { type FaultCode, FAULTS } from "../lib/fault.ts";
import type { Count, Spread, Metrics } from "../lib/metrics/open-metrics.ts";
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

/** By the first digit of a status. */
const CLASSES = ["left", "1xx", "2xx", "3xx", "4xx", "5xx"] as const;
const IMAGES = { push: "pushes", pull: "pulls" } as const;
const REFUSES = new Set([401, 403, 429]);

/** A cell for each class, in their order. */
export type StatusClassCells = readonly Count[];
type RouteCells = { byClass: StatusClassCells; total: Spread; first: Spread; in: Count; out: Count };

/** Counts exchanges. What it adds to is found once for each route, and comes with the container: a request costs additions, and no label is put together for it. */
export function countExchanges(metrics: Metrics): (exchange: AccessRecord) => void {
  const routes = new Map<RouteName, RouteCells>();

  const ofRoute = (route: RouteName): RouteCells => {
    const cells: RouteCells = {
      byClass: CLASSES.map((status) => metrics.requests.at(route, status)),
      total: metrics.requestSeconds.at(route),
      first: metrics.firstByteSeconds.at(route),
      in: metrics.bytes.at(route, "in"),
      out: metrics.bytes.at(route, "out"),
    };
    routes.set(route, cells);
    return cells;
  };

  return (exchange) => {
    const { labels: about, status, startedAt, firstByteAt } = exchange;
    const { route, answers } = about;
    const cells = routes.get(route) ?? ofRoute(route);
    const nth = Math.trunc(status / 100);
    (cells.byClass[nth] ?? cells.byClass[0])?.add();
    cells.total.observe((exchange.overAt - startedAt) / 1_000);
    if (firstByteAt !== 0) cells.first.observe((firstByteAt - startedAt) / 1_000);
    cells.in.value += exchange.bytesIn;
    cells.out.value += exchange.bytesOut;
    if (answers !== undefined) {
      if (exchange.holdMs > 0 && exchange.connectMs > 0) metrics.wakePhaseSeconds.at("connect").observe(exchange.connectMs / 1_000);
      (answers[nth] ?? answers[0])?.add();
    }
    if (about.image !== undefined) metrics[IMAGES[about.image]].at(CLASSES[nth] ?? CLASSES[0]).add();
    const fault = exchange.fault ?? about.fault;
    if (fault !== undefined) {
      metrics.faults.at(route, fault).add();
      if (REFUSES.has(FAULTS[fault][0])) metrics.authFailures.at(route, fault).add();
    }
    if (exchange.ending !== "answered" && status !== 0 && status !== 101) metrics.broken.at(route).add();
  };
}

/** The cells of a container's answers, by its name. */
export function answersOf(metrics: Pick<Metrics, "containerRequests">, name: string): StatusClassCells {
  return CLASSES.map((status) => metrics.containerRequests.at(name, status));
}

/** What else is to be told of every exchange that is over: an access log, traces. */
export type ExchangeListener = (exchange: AccessRecord) => void;

/** Exchanges are counted in any case; the rest costs nothing where there is none of it. */
export function createExchangeObserver(metrics: Metrics, watchers: readonly ExchangeListener[]): ExchangeObserver {
  const count = countExchanges(metrics);
  if (watchers.length === 0) return { over: count, keepsHeads: false };
  return {
    over: (exchange) => {
      count(exchange);
      for (const told of watchers) told(exchange);
    },
    keepsHeads: true,
  };
}
