import type { AdmittedConnection } from "../../lib/connection-limits.ts";
import { dialCounts } from "../connections/dial.ts";
import type { InterceptingForward } from "../decision.ts";
import type { AccessRecord } from "../access-record.ts";
import { apiErrorResponse } from "../direct-responses.ts";
import { createQueueBudget } from "../websockets/waiting-client.ts";
import { createHttp1 } from "../http1/message-reader.ts";
import { openEdgeServer, watchHandshakes, type ForwardingEngine, type ForwardingEngineDeps } from "../connections/engine.ts";
import { Draining } from "../connections/closing.ts";
import type { NetConnection } from "../connections/connection.ts";
import { SHORT_IDLE_MS } from "../limits.ts";
import { ClientConnection } from "./client-connection.ts";
import type { EngineContext } from "./engine-context.ts";
import { createTicker } from "../../lib/clock.ts";
import { completesWithin } from "../../lib/deadline.ts";
import { openContainerSessions } from "../http2/container-sessions.ts";
import { isHttp2, openEdgeSessions } from "../http2/edge-sessions.ts";
import { FirstBytes } from "./first-bytes.ts";
import { openPool } from "./pool.ts";

/** The engine on sockets: it parses heads strictly, rewrites what it must of them, and forwards all other bytes unchanged. */
export function openSpliceEngine({
  decide,
  refusal = apiErrorResponse,
  limits,
  connections,
  tls,
  http2 = false,
  takeHttp2,
  bounds,
  watch,
  counts,
  clock,
  log,
}: ForwardingEngineDeps<InterceptingForward>): ForwardingEngine {
  const ticker = createTicker(clock);
  const pool = openPool({ ticker, idleMs: limits.upstreamIdleMs });
  const draining = new Draining();
  const clients = new Set<ClientConnection>();
  const upgraded = new Map<NetConnection, Promise<void>>();
  let whenEmpty = () => {};

  const http1 = createHttp1({ underscoreHeaders: limits.underscoreHeaders });
  const context: EngineContext = {
    decide,
    refusal,
    limits,
    clock,
    log,
    http1,
    connections,
    pool,
    ticker,
    draining,
    queues: createQueueBudget({ ofUser: limits.prebufferUserBytes, ofAll: limits.prebufferTotalBytes }),
    watch,
    dials: dialCounts(counts, { clock, log }),
    h2c: openContainerSessions({ limits, clock }),
    trackUpgraded: (connection, over, record) => {
      const open = counts.webSockets.at(record.labels.route);
      open.add();
      const done = over
        .catch((error: unknown) => log.error({ err: error }, "WebSocket failed: internal error"))
        .finally(() => {
          connection.destroy();
          open.add(-1);
          record.finish("answered");
          upgraded.delete(connection);
          left();
        });
      upgraded.set(connection, done);
    },
  };

  const forget = (client: ClientConnection) => {
    clients.delete(client);
    ticker.delete(client);
    left();
  };
  const left = () => {
    // Each that is still there calls this when it leaves.
    if (clients.size > 0) return;
    // In a microtask: an upgraded connection leaves `clients` before it enters `upgraded`.
    queueMicrotask(() => {
      if (clients.size + upgraded.size + handshakes.count() + sessions.count() === 0) whenEmpty();
    });
  };

  const allGone = () =>
    new Promise<void>((resolve) => {
      const before = whenEmpty;
      whenEmpty = () => {
        before();
        resolve();
      };
      left();
    });

  counts.connections.look((family) => family.at().set(clients.size));
  counts.pooled.look((family) => family.at().set(pool.size()));

  const options = {
    allowHalfOpen: true,
    pauseOnConnect: true,
    noDelay: true,
    // The system's default of two hours would keep a container awake for a client that vanished.
    keepAlive: true,
    keepAliveInitialDelay: limits.probeAfterMs,
  };
  const serve = (connection: NetConnection, admission: AdmittedConnection, protocol: AccessRecord["protocol"]) => {
    const client = new ClientConnection(connection, context, { admission, forget, protocol });
    clients.add(client);
    ticker.add(client);
    return client;
  };
  const sessions = openEdgeSessions({
    onConnection: (connection, admission) => void serve(connection, admission, "h2"),
    connections,
    http1,
    onLess: left,
    draining,
    bounds,
    limits,
    counts,
    ticker,
    log,
  });
  const server = openEdgeServer(options, { tls, http2, handshakeMs: limits.headersTimeoutMs, bounds }, (socket, admission, under) => {
    if (isHttp2(socket)) return sessions.accept(socket, admission);
    const connection = connections.adopt(socket, { under });
    connection.onceClosed(() => admission.release());
    const client = serve(connection, admission, "http1");
    if (takeHttp2 !== undefined) connection.user = new FirstBytes(connection, client, takeHttp2);
  });
  const handshakes = watchHandshakes(server, tls, left);

  const close = async () => {
    draining.end();
    const closed = server.listening ? new Promise<void>((resolve) => void server.close(() => resolve())) : Promise.resolve();
    for (const { connection } of clients) connection.destroy();
    for (const connection of upgraded.keys()) connection.destroy();
    handshakes.destroy();
    sessions.destroy();
    pool.close();
    context.h2c.close();
    await Promise.allSettled(upgraded.values());
    await Promise.all([closed, allGone()]);
  };

  return {
    server,
    drain: async (ms) => {
      if (server.listening) server.close();
      draining.begin();
      for (const client of clients) client.drain();
      sessions.drain();
      const cancel = clock.after(SHORT_IDLE_MS, handshakes.destroy);
      await completesWithin(allGone(), ms, clock);
      cancel();
      await close();
    },
    close,
  };
}
