import { once } from "node:events";
import { createServer } from "node:http";
import type { Clock } from "../clock.ts";
import { limitConnections, createConnectionLimits, type ConnectionLimitOptions } from "../connection-limits.ts";
import type { PrivateListeners } from "../container-peers.ts";
import { Fault } from "../fault.ts";
import type { Log } from "../log.ts";
import { AggregatorRegistry, prometheusContentType } from "prom-client";
import type { Snapshot } from "./open-metrics.ts";

const LONGEST_HEAD_MS = 5_000;
const MOST_CONNECTIONS = 64;
/** So that one client leaves room for the others. */
const MOST_OF_ONE_ADDRESS = MOST_CONNECTIONS / 2;

/** `GET /metrics` on a listener of its own: what it tells is not for the world. Faults: ADDRESS_IN_USE. */
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
        log.error({ err: error }, "The metrics could not be put together");
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
    // The next berth gets it; it has no public name.
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
  /** A process is there from now on, until the returned function is called. `ask` resolves with its metrics, or rejects where it does not answer. */
  join(ask: () => Promise<Snapshot>): () => void;
  /** As Prometheus reads it. */
  page(): Promise<string>;
};

export const PAGE_TYPE: string = prometheusContentType;

/**
 * Adds up what several processes count. What one had counted when it was last asked counts on after its end: a total that fell would be taken for a new
 * start by `rate()`, and all that the others counted for new. One that does not answer is taken to be as it was.
 */
export function createMetricsAggregator(): MetricsAggregator {
  const there = new Map<() => Promise<Snapshot>, Snapshot>();
  let gone: Snapshot = [];
  let asking: Promise<string> | undefined;

  const page = async () => {
    await Promise.all(
      [...there.keys()].map(async (ask) => {
        const now = await ask().catch(() => undefined);
        // It may have left meanwhile, with what it had before.
        if (now !== undefined && there.has(ask)) there.set(ask, now.map(measured));
      }),
    );
    return AggregatorRegistry.aggregate([gone, ...there.values()]).metrics();
  };

  return {
    join: (ask) => {
      there.set(ask, []);
      return () => {
        const last = there.get(ask);
        if (last === undefined) return;
        there.delete(ask);
        gone = added([gone, last.filter(isTotal)]);
      };
    },
    // However many ask at the same time, the processes are asked once.
    page: () => (asking ??= page().finally(() => (asking = undefined))),
  };
}

/** What only grows; a gauge of a process that is gone is gone. */
function isTotal({ type }: Snapshot[number]): boolean {
  return type === "counter" || type === "histogram";
}

/** Without what JSON cannot say, such as a mean of nothing. */
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
