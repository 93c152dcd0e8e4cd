import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import type { DialCounts } from "./dial.ts";

/** It comes in thousands, or not at all. */
const SAY_AGAIN_MS = 10_000;

/** Counts connects, and logs, now and then, that this process has no descriptor left for one. */
export function dialCounts(metrics: Pick<Metrics, "connects" | "retries">, { clock, log }: { clock: Clock; log: Log }): DialCounts {
  const { connects } = metrics;
  let saidAt: number | undefined;
  return {
    made: connects.at("made"),
    refused: connects.at("refused"),
    retries: metrics.retries.at(),
    exhausted: (code) => {
      connects.at("noDescriptor").add();
      if (saidAt !== undefined && clock.monotonic() - saidAt < SAY_AGAIN_MS) return;
      saidAt = clock.monotonic();
      log.error({ code }, "no file descriptor is left for a connection to a container: raise the limit (nofile)");
    },
  };
}
