import { once } from "node:events";
import { createServer } from "node:http";
import { AggregatorRegistry, prometheusContentType } from "prom-client";
import type { Clock } from "../clock.ts";
import { type ConnectionLimitOptions, createConnectionLimits, limitConnections } from "../connection-limits.ts";
import { Fault } from "../fault.ts";
import type { Log } from "../log.ts";
import type { PrivateListeners } from "../refused-addresses.ts";
import type { Snapshot } from "./open-metrics.ts";

const LONGEST_HEAD_MS = 5_000;
const MOST_CONNECTIONS = 64;
/** One client cannot take all connections. */
const MOST_OF_ONE_ADDRESS = MOST_CONNECTIONS / 2;

/** `GET /metrics` on a private listener. Faults: ADDRESS_IN_USE. */
export async function serveMetrics(
  /** `handle`: a listening socket that is open already. */
  at: { host: string; port: number; handle?: object | undefined },
  {
    gathering,
    listeners,
    refused,
    clock,
    log,
  }: {
    gathering: Pick<MetricsAggregator, "page">;
    listeners?: PrivateListeners | undefined;
    refused?: ConnectionLimitOptions["refused"];
    clock: Clock;
    log: Log;
  },
): Promise<{ port: number; handle: object; close(): Promise<void> }> {
  const server = createServer({ headersTimeout: LONGEST_HEAD_MS, requestTimeout: LONGEST_HEAD_MS }, (request, response) => {
    const [path] = (request.url ?? "").split("?", 1);
    if (path !== "/metrics") return void response.writeHead(404).end();
    if (request.method !== "GET" && request.method !== "HEAD") return void response.writeHead(405, { allow: "GET, HEAD" }).end();
    gathering.page().then(
      (page) => response.writeHead(200, { "content-type": PAGE_TYPE, "content-length": Buffer.byteLength(page) }).end(page),
      (error: unknown) => {
        log.error({ err: error }, "collecting the metrics failed");
        response.writeHead(500).end();
      },
    );
  });
  limitConnections(
    server,
    createConnectionLimits({ perAddress: MOST_OF_ONE_ADDRESS, total: MOST_CONNECTIONS, ...(refused && { refused }), clock, log }),
  );
  listeners?.guard(server);
  server.listen(at.handle ?? { host: at.host, port: at.port });
  await once(server, "listening").catch((cause: unknown) => {
    throw new Fault("ADDRESS_IN_USE", `Cannot serve metrics on ${at.host} port ${at.port}: it is in use, or not an address of this machine.`, {
      cause,
    });
  });
  const bound = server.address();
  const { _handle: handle } = server as unknown as { _handle: object };
  return {
    // A successor gets it; it has no public name.
    handle,
    port: typeof bound === "object" && bound !== null ? bound.port : at.port,
    close: async () => {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** The metrics of the processes of one berth, as one page. */
export type MetricsAggregator = {
  /** Adds a process until the returned function is called. `load` resolves with its metrics, or rejects if it does not answer. */
  join(load: () => Promise<Snapshot>): () => void;
  /** As Prometheus reads it. */
  page(): Promise<string>;
};

const PAGE_TYPE: string = prometheusContentType;

/**
 * Adds up the metrics of several processes. The last totals of an ended process stay in the sum: `rate()` would take a smaller total for a restart. A
 * process that does not answer keeps its last values.
 */
export function createMetricsAggregator(): MetricsAggregator {
  const processes = new Map<() => Promise<Snapshot>, Snapshot>();
  let gone: Snapshot = [];
  let collecting: Promise<string> | undefined;

  const page = async () => {
    await Promise.all(
      [...processes.keys()].map(async (load) => {
        const now = await load().catch(() => undefined);
        // It may have left meanwhile.
        if (now !== undefined && processes.has(load)) processes.set(load, now.map(measured));
      }),
    );
    return AggregatorRegistry.aggregate([gone, ...processes.values()]).metrics();
  };

  return {
    join: (load) => {
      processes.set(load, []);
      return () => {
        const last = processes.get(load);
        if (last === undefined) return;
        processes.delete(load);
        gone = added([gone, last.filter(isTotal)]);
      };
    },
    // Simultaneous scrapes share one collection.
    page: () => (collecting ??= page().finally(() => (collecting = undefined))),
  };
}

/** Counters stay after the end of their process, gauges do not. */
function isTotal({ type }: Snapshot[number]): boolean {
  return type === "counter" || type === "histogram";
}

/** Without values that JSON does not have, such as NaN. */
function measured(metric: Snapshot[number]): Snapshot[number] {
  return { ...metric, values: metric.values.filter(({ value }) => Number.isFinite(value)) };
}

function added(snapshots: Snapshot[]): Snapshot {
  const metrics = new Map<string, Snapshot[number]>();
  for (const metric of snapshots.flat()) {
    const before = metrics.get(metric.name);
    const values = new Map<string, Snapshot[number]["values"][number]>();
    for (const sample of [...(before?.values ?? []), ...metric.values]) {
      const key = JSON.stringify([sample.metricName, sample.labels]);
      values.set(key, { ...sample, value: sample.value + (values.get(key)?.value ?? 0) });
    }
    metrics.set(metric.name, { ...metric, values: [...values.values()] });
  }
  return [...metrics.values()];
}
