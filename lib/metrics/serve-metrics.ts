import { once } from "node:events";
import { createServer } from "node:http";
import type { Clock } from "../clock.ts";
import { limitConnections, createConnectionLimits, type ConnectionLimitOptions } from "../connection-limits.ts";
import type { PrivateListeners } from "../container-peers.ts";
import { Fault } from "../fault.ts";
import type { Log } from "../log.ts";
import { type MetricsAggregator, PAGE_TYPE } from "./gather.ts";

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
