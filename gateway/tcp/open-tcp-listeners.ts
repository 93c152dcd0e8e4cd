import { createServer, type Server, type Socket } from "node:net";
import { createBackoff } from "../../lib/backoff.ts";
import { onceEvery } from "../../lib/clock.ts";
import { completesWithin } from "../../lib/deadline.ts";
import type { ConnectionLimits } from "../../lib/connection-limits.ts";
import type { Fault } from "../../lib/fault.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import { acceptWaiting } from "../connections/engine.ts";
import type { TcpListenerSource } from "../feed/container-cache.ts";
import { openTcpConnection, type TcpConnection, type TcpConnectionDeps } from "./tcp-connection.ts";

export type TcpListeners = {
  /** Accepts nothing more, ends connections when they are at rest, and all of them after `ms`. */
  drain(ms: number): Promise<void>;
  /** Ends everything at once. */
  close(): Promise<void>;
};

export type TcpListenersDeps = TcpConnectionDeps & {
  source: TcpListenerSource;
  host: string;
  /** Connections of one container. */
  perContainer: number;
  /** Of the whole process. */
  bounds: ConnectionLimits;
  /** Called with each server before it listens. */
  guard?: ((server: Server) => void) | undefined;
  counts: Pick<Metrics, "tcpConnections" | "refusedConnections">;
};

/** Between attempts to listen on a port that another program has. */
const LISTEN_RETRY = { firstMs: 500, longestMs: 30_000 };
const LOG_EVERY_MS = 10_000;

/**
 * One listener for each container that has a TCP port, opened and closed as the source changes. Each gateway process of a machine binds the same ports
 * (SO_REUSEPORT), and so does the next version during an upgrade: the kernel distributes connections among them.
 */
export function openTcpListeners(deps: TcpListenersDeps): TcpListeners {
  const { source, counts, clock } = deps;
  const listeners = new Map<string, TcpListener>();
  const connections = new Set<TcpConnection>();
  let whenEmpty = () => {};
  let accepted = 0;

  counts.tcpConnections.look((family) => family.at().set(connections.size));

  const track = (connection: TcpConnection) => {
    accepted++;
    connections.add(connection);
    void connection.over.finally(() => {
      connections.delete(connection);
      if (connections.size === 0) whenEmpty();
    });
  };
  const unwatch = source.watch((id, port) => {
    listeners.get(id)?.close();
    if (port === undefined) listeners.delete(id);
    else listeners.set(id, new TcpListener(deps, { id, port, track }));
  });

  const stopAccepting = () => {
    unwatch();
    for (const listener of listeners.values()) listener.close();
    listeners.clear();
  };
  const close = async () => {
    stopAccepting();
    for (const connection of connections) connection.destroy();
    await Promise.all([...connections].map(({ over }) => over));
  };
  return {
    drain: async (ms) => {
      await acceptWaiting(() => accepted);
      stopAccepting();
      for (const connection of connections) connection.retire();
      if (connections.size > 0) await completesWithin(new Promise<void>((resolve) => void (whenEmpty = resolve)), ms, clock);
      await close();
    },
    close,
  };
}

/** The listener of one container, and its open connections. */
class TcpListener {
  readonly #deps: TcpListenersDeps;
  readonly #id: string;
  readonly #port: number;
  readonly #track: (connection: TcpConnection) => void;
  readonly #backoff = createBackoff(LISTEN_RETRY.firstMs, LISTEN_RETRY.longestMs);
  #server: Server | undefined;
  #cancelRetry = () => {};
  #open = 0;
  #closed = false;
  readonly #mayLog: () => boolean;

  constructor(deps: TcpListenersDeps, { id, port, track }: { id: string; port: number; track(connection: TcpConnection): void }) {
    this.#deps = deps;
    this.#id = id;
    this.#port = port;
    this.#track = track;
    this.#mayLog = onceEvery(LOG_EVERY_MS, deps.clock);
    this.#listen();
  }

  /** Open connections stay. */
  close(): void {
    this.#closed = true;
    this.#cancelRetry();
    this.#server?.close();
  }

  #listen(): void {
    const { host, guard, limits, clock, log } = this.#deps;
    const server = createServer({
      allowHalfOpen: true,
      // A client that waits for its container is not read.
      pauseOnConnect: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: limits.probeAfterMs,
    });
    guard?.(server);
    server.on("connection", (socket: Socket) => this.#accept(socket));
    server.on("error", (error: NodeJS.ErrnoException) => {
      server.close();
      if (this.#closed) return;
      const retryInMs = this.#backoff.next();
      log.error({ container: this.#id, host, port: this.#port, code: error.code, retryInMs }, "TCP listener cannot be opened");
      this.#cancelRetry = clock.after(retryInMs, () => this.#listen());
    });
    server.listen({ host, port: this.#port, reusePort: true, exclusive: true });
    this.#server = server;
  }

  #accept(socket: Socket): void {
    const { directory, bounds, perContainer, counts } = this.#deps;
    const caller = { token: "", userId: "", login: "", admin: false };
    const view = socket.destroyed ? undefined : directory.cached(this.#id, caller);
    if (view === undefined) return void socket.destroy();
    if (this.#open >= perContainer) {
      counts.refusedConnections.at("container").add();
      this.#logSeldom({ container: view.name, open: this.#open }, "TCP connections refused; BERTH_TCP_CONNECTIONS is the limit");
      return void socket.resetAndDestroy();
    }
    // Counted in all, but not by their address: the clients of a database are few.
    const admission = bounds.admit(undefined);
    if (admission === undefined) return void socket.resetAndDestroy();
    this.#open++;
    const notForwarded = ({ code, message }: Fault) =>
      this.#logSeldom({ container: view.name, fault: code, reason: message }, "TCP connection not forwarded");
    const connection = openTcpConnection(this.#deps, { view, notForwarded }, socket);
    void connection.over.finally(() => {
      this.#open--;
      admission.release();
    });
    this.#track(connection);
  }

  /** A pool may try to connect hundreds of times a second; the access log has a line for each. */
  #logSeldom(fields: Record<string, unknown>, message: string): void {
    if (this.#mayLog()) this.#deps.log.warn(fields, message);
  }
}
