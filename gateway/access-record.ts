import type { Clock } from "../lib/clock.ts";
import { type FaultCode, FAULTS } from "../lib/fault.ts";
import type { Count, Metrics, Spread } from "../lib/metrics/open-metrics.ts";
import type { TracePlace } from "../lib/traces/traces.ts";
import { ContainerTraffic } from "./containers/traffic.ts";

/**
 * The `route` label of metrics, logs and spans. `tcp`: connections of a TCP listener; `callout`: questions of the operator's own proxies; `registry`: other requests to the registry proxy; `none`: bytes that
 * were not a request.
 */
export type RouteName = "proxy" | "proxy-ws" | "tcp" | "callout" | "api" | "health" | "manifest" | "blob" | "upload" | "token" | "registry" | "none";

/** The span ids of a sampled request. */
export type RecordedTrace = TracePlace & {
  forwardId: string;
  /** For the container. */
  traceparent: string;
  holdId: string;
  /** For control, when it starts the container. */
  holdTraceparent: string;
};

/** The ids of a forwarded request. They may be made when they are read. */
export type RequestIds = {
  /** The client's own, or the trace id. */
  readonly requestId: string;
  readonly traceparent: string;
  /** The client's own. */
  readonly theirRequestId: string | undefined;
  /** Writes the 32 digits of the trace id; returns the offset after them. */
  putTraceId(out: Uint8Array, at: number): number;
};

/** What a decision adds to the record of its request. Several requests may share one object. */
export type ExchangeLabels = {
  route: RouteName;
  /** The container's name. */
  container?: string;
  /** The counters of the container's responses. */
  answers?: ContainerResponses | undefined;
  /** Of the caller. */
  login?: string;
  /** An image is pushed to the registry or pulled from it. */
  image?: "push" | "pull";
  /** Those under which the request was forwarded. */
  ids?: RequestIds;
  traced?: RecordedTrace | undefined;
  /** Why berth responded itself. */
  fault?: FaultCode;
};

/** `left`: the client left before it had the whole response; `cut`: the response could not be finished. */
type ExchangeEnding = "answered" | "left" | "cut";

type RecordedHead = { method: string; target: string; header(name: string): string | undefined };

/** Receives the record of every exchange at its end. */
export type ExchangeObserver = {
  over(exchange: AccessRecord): void;
  /** Records keep method, target and headers of a WebSocket, which may be open for days. */
  readonly keepsHeads: boolean;
  /** Without the headers: they keep method and target. */
  readonly keepsTargets: boolean;
};

const UNKNOWN: ExchangeLabels = { route: "none" };

/** A direction of bytes, named by the side that sent them. */
type ByteSource = "client" | "container";

/** What counts the bytes of an exchange. */
export type ByteCounter = { countBytes(n: number, from: ByteSource): void };

/** One exchange as logs, metrics and traces see it; the engine reports what happens. Times are on the clock's monotonic scale, durations in milliseconds. */
export class AccessRecord implements ByteCounter {
  readonly peer: string;
  /** Of the client's connection. */
  readonly protocol: "http1" | "h2";
  readonly startedAt: number;
  readonly #observer: ExchangeObserver;
  readonly #clock: Clock;
  #labels = UNKNOWN;
  #head: RecordedHead | undefined;
  #status = 0;
  #bytesIn = 0;
  #bytesOut = 0;
  #identityMs = 0;
  #holdMs = 0;
  #connectMs = 0;
  #fault: FaultCode | undefined;
  #ending: ExchangeEnding = "answered";
  #firstByteAt = 0;
  #overAt = 0;

  constructor(observer: ExchangeObserver, clock: Clock, head: RecordedHead | undefined, peer: string, protocol: AccessRecord["protocol"] = "http1") {
    this.#observer = observer;
    this.#clock = clock;
    this.#head = head;
    this.peer = peer;
    this.protocol = protocol;
    this.startedAt = clock.monotonic();
  }

  get labels(): ExchangeLabels {
    return this.#labels;
  }

  get head(): RecordedHead | undefined {
    return this.#head;
  }

  /** Of the response that the client received; 0 while there is none. */
  get status(): number {
    return this.#status;
  }

  get bytesIn(): number {
    return this.#bytesIn;
  }

  get bytesOut(): number {
    return this.#bytesOut;
  }

  /** The duration of authentication. */
  get identityMs(): number {
    return this.#identityMs;
  }

  get holdMs(): number {
    return this.#holdMs;
  }

  get connectMs(): number {
    return this.#connectMs;
  }

  get fault(): FaultCode | undefined {
    return this.#fault;
  }

  get ending(): ExchangeEnding {
    return this.#ending;
  }

  /** When the head of the container's response came; 0 if none came. */
  get firstByteAt(): number {
    return this.#firstByteAt;
  }

  get overAt(): number {
    return this.#overAt;
  }

  decided(labels: ExchangeLabels): void {
    this.#labels = labels;
  }

  identified(ms: number): void {
    this.#identityMs = ms;
  }

  held(ms: number): void {
    this.#holdMs = ms;
  }

  connected(ms: number): void {
    this.#connectMs = ms;
  }

  countBytes(n: number, from: ByteSource): void {
    if (from === "client") this.#bytesIn += n;
    else this.#bytesOut += n;
  }

  /** The client gets this status, and not from a container. */
  answered(status: number): void {
    this.#status = status;
  }

  /** The head of the container's response came. */
  responseStarted(status: number): void {
    this.#status = status;
    this.#firstByteAt = this.#clock.monotonic();
  }

  /** The whole response came with its head: reading the clock again costs as much as a look-up. */
  responseEndedWithHead(): void {
    this.#overAt = this.#firstByteAt;
  }

  becameWebSocket(): void {
    this.#status = 101;
    const head = this.#head;
    if (this.#observer.keepsHeads || head === undefined) return;
    // Its bytes and other headers would be in memory for as long.
    this.#head = this.#observer.keepsTargets ? { method: head.method, target: head.target, header: () => undefined } : undefined;
  }

  failed(fault: FaultCode): void {
    this.#fault = fault;
  }

  /** To be called once. */
  finish(ending: ExchangeEnding): void {
    this.#ending = ending;
    if (this.#overAt === 0) this.#overAt = this.#clock.monotonic();
    this.#observer.over(this);
  }
}

/** Receives finished exchanges beside the metrics: an access log, traces. */
export type ExchangeListener = (exchange: AccessRecord) => void;

/** Counts every exchange, and passes it to the listeners. `recent` reads method and target of a head only. */
export function createExchangeObserver(metrics: Metrics, listeners: readonly ExchangeListener[], recent?: ExchangeListener): ExchangeObserver {
  const count = countExchanges(metrics);
  const all = recent === undefined ? listeners : [...listeners, recent];
  const over: ExchangeListener = (exchange) => {
    count(exchange);
    for (const listener of all) listener(exchange);
  };
  return { over: all.length === 0 ? count : over, keepsHeads: listeners.length > 0, keepsTargets: recent !== undefined };
}

/** Index: the first digit of a status. */
const CLASSES = ["left", "1xx", "2xx", "3xx", "4xx", "5xx"] as const;
const IMAGES = { push: "pushes", pull: "pulls" } as const;
const REFUSALS = new Set([401, 403, 429]);

/** One counter for each of `CLASSES`. */
type StatusClassCells = readonly Count[];
type RouteCells = { byClass: StatusClassCells; total: Spread; first: Spread; in: Count; out: Count };

/** A finished request, in a slot that the next ones reuse. */
export type KeptRequest = { overAt: number; method: string; target: string; status: number; ms: number; login: string };

/**
 * The last requests of one container. `written`: how many there were; the slots beyond it are another container's. `used`: there was another one since
 * the search for a ring that is no longer used came past.
 */
export type RequestRing = { id: string; readonly slots: KeptRequest[]; written: number; used: boolean };

export type ContainerResponses = {
  readonly id: string;
  readonly byClass: StatusClassCells;
  readonly traffic: ContainerTraffic;
  /** The last requests, if they are kept. */
  recent: RequestRing | undefined;
};

/** What is kept of a container's responses: counters by class for the metrics, and for reports to control. */
export function answersOf(metrics: Pick<Metrics, "containerRequests">, { id, name }: { id: string; name: string }): ContainerResponses {
  const byClass = CLASSES.map((status) => metrics.containerRequests.at(name, status));
  return { id, byClass, traffic: new ContainerTraffic(), recent: undefined };
}

/** Cells are looked up once for each route, and come with the container's labels: a request costs additions only. */
function countExchanges(metrics: Metrics): (exchange: AccessRecord) => void {
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

  let last: { route: RouteName; cells: RouteCells } | undefined;
  const cellsOf = (route: RouteName): RouteCells => {
    if (last?.route === route) return last.cells;
    const cells = routes.get(route) ?? ofRoute(route);
    last = { route, cells };
    return cells;
  };

  return (exchange) => {
    const { labels, status, startedAt, firstByteAt } = exchange;
    const { route, answers } = labels;
    const cells = cellsOf(route);
    const digit = Math.trunc(status / 100);
    (cells.byClass[digit] ?? cells.byClass[0])?.add();
    cells.total.observe((exchange.overAt - startedAt) / 1_000);
    if (firstByteAt !== 0) cells.first.observe((firstByteAt - startedAt) / 1_000);
    cells.in.value += exchange.bytesIn;
    cells.out.value += exchange.bytesOut;
    if (answers !== undefined) {
      if (exchange.holdMs > 0 && exchange.connectMs > 0) metrics.wakePhaseSeconds.at("connect").observe(exchange.connectMs / 1_000);
      (answers.byClass[digit] ?? answers.byClass[0])?.add();
      answers.traffic.count(digit, exchange.overAt - startedAt);
    }
    if (labels.image !== undefined) metrics[IMAGES[labels.image]].at(CLASSES[digit] ?? CLASSES[0]).add();
    const fault = exchange.fault ?? labels.fault;
    if (fault !== undefined) {
      metrics.faults.at(route, fault).add();
      if (REFUSALS.has(FAULTS[fault][0])) metrics.authFailures.at(route, fault).add();
    }
    if (exchange.ending !== "answered" && status !== 0 && status !== 101) metrics.broken.at(route).add();
  };
}
