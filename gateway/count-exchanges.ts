import { FAULTS } from "../lib/fault.ts";
import type { Count, Spread } from "../lib/metrics/cells.ts";
import type { Metrics } from "../lib/metrics/open-metrics.ts";
import type { AccessRecord, RouteName, ExchangeObserver } from "./access-record.ts";

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
