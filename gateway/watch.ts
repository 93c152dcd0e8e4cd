import type { Metrics } from "../lib/metrics/open-metrics.ts";
import { countExchanges } from "./count-exchanges.ts";
import type { Exchanged, Watch } from "./exchanges.ts";

/** What else is to be told of every exchange that is over: an access log, traces. */
export type Watcher = (exchange: Exchanged) => void;

/** Exchanges are counted in any case; the rest costs nothing where there is none of it. */
export function openWatch(metrics: Metrics, watchers: readonly Watcher[]): Watch {
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
