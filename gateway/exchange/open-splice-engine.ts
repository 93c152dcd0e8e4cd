import { dialCounts } from "../connections/dial.ts";
import type { InterceptingForward } from "../decision.ts";
import { apiErrorResponse } from "../direct-responses.ts";
import { openQueueBudget } from "../websockets/waiting-client.ts";
import { createHttp1 } from "../http1/message-reader.ts";
import { openEdgeServer, watchHandshakes, type ForwardingEngine, type ForwardingEngineDeps } from "../connections/engine.ts";
import { Draining } from "../connections/closing.ts";
import type { NetConnection } from "../connections/connection.ts";
import { createConnectionFactory } from "../connections/open-connections.ts";
import { ClientConnection, DRAIN_IDLE_MS } from "./client-connection.ts";
import type { EngineContext } from "./engine-context.ts";
import { createTicker } from "../../lib/clock.ts";
import { openPool } from "./pool.ts";

/** The engine on sockets: reads heads strictly, rewrites what it must of them, and passes on everything else as the bytes that came. */
export function openSpliceEngine({
  decide,
  refusal = apiErrorResponse,
  limits,
  reads,
  tls,
  bounds,
  watch,
  counts,
  clock,
  log,
}: ForwardingEngineDeps<InterceptingForward>): ForwardingEngine {
  const ticker = createTicker(clock);
  const pool = openPool({ ticker, idleMs: limits.upstreamIdleMs });
  const links = createConnectionFactory(reads);
  const draining = new Draining();
  const clients = new Set<ClientConnection>();
  const upgraded = new Map<NetConnection, Promise<void>>();
  let whenEmpty = () => {};

  const parts: EngineContext = {
    decide,
    refusal,
    limits,
    clock,
    log,
    http1: createHttp1({ underscoreHeaders: limits.underscoreHeaders }),
    connections: links,
    pool,
    ticker,
    draining,
    queues: openQueueBudget({ ofUser: limits.prebufferUserBytes, ofAll: limits.prebufferTotalBytes }),
    watch,
    dials: dialCounts(counts, { clock, log }),
    keepUpgraded: (link, over, exchanged) => {
      const open = counts.webSockets.at(exchanged.labels.route);
      open.add();
      const done = over
        .catch((error: unknown) => log.error({ err: error }, "A WebSocket failed in a way that nobody foresaw"))
        .finally(() => {
          link.destroy();
          open.add(-1);
          exchanged.finish("answered");
          upgraded.delete(link);
          left();
        });
      upgraded.set(link, done);
    },
  };

  const forget = (side: ClientConnection) => {
    clients.delete(side);
    ticker.delete(side);
    left();
  };
  // A moment later: a connection that was upgraded leaves the clients before it is counted among the others.
  const left = () =>
    queueMicrotask(() => {
      if (clients.size + upgraded.size + handshakes.count() === 0) whenEmpty();
    });

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
    // Who reads it is decided first.
    pauseOnConnect: true,
    noDelay: true,
    // The system's own two hours would keep a container awake for a client that vanished.
    keepAlive: true,
    keepAliveInitialDelay: limits.probeAfterMs,
  };
  const server = openEdgeServer(options, { tls, handshakeMs: limits.headersTimeoutMs, bounds }, (socket, admission, under) => {
    const link = links.accept(socket, under);
    // Not that of the server's own socket, whose connection others may have taken over.
    link.socket.once("close", admission.release);
    const side = new ClientConnection(link, parts, { admission, forget });
    clients.add(side);
    ticker.add(side);
  });
  const handshakes = watchHandshakes(server, tls, left);

  const close = async () => {
    draining.begin();
    const closed = server.listening ? new Promise<void>((resolve) => void server.close(() => resolve())) : Promise.resolve();
    for (const { connection: link } of clients) link.destroy();
    for (const link of upgraded.keys()) link.destroy();
    handshakes.destroy();
    pool.close();
    await Promise.allSettled(upgraded.values());
    await Promise.all([closed, allGone()]);
  };

  return {
    server,
    drain: async (ms) => {
      if (server.listening) server.close();
      draining.begin();
      for (const side of clients) side.drain();
      const cancel = clock.after(DRAIN_IDLE_MS, handshakes.destroy);
      const enough = new AbortController();
      await Promise.race([allGone().then(() => enough.abort()), clock.sleep(ms, enough.signal).catch(() => undefined)]);
      cancel();
      await close();
    },
    close,
  };
}
