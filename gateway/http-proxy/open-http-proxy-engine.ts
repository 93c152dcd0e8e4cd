import { dialCounts } from "../connections/dial.ts";
import { createServer, type IncomingMessage, type ServerOptions, type ServerResponse } from "node:http";
import { createServer as createSecureServer, type Server as SecureServer } from "node:https";
import { Server as NetServer, type Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { limitConnections } from "../../lib/connection-limits.ts";
import { acceptWebSocket, refuseWebSocket } from "../websockets/accept-websocket.ts";
import { apiErrorResponse, internalFault, sendResponse, sendRawResponse } from "../direct-responses.ts";
import { createQueueBudget } from "../websockets/waiting-client.ts";
import type { DirectResponse, Decision } from "../decision.ts";
import { AccessRecord } from "../access-record.ts";
import type { Count } from "../../lib/metrics/open-metrics.ts";
import { MAX_HEAD_BYTES } from "../limits.ts";
import { keepKeys } from "../tls-keys.ts";
import { tlsServerOptions, watchHandshakes, type ForwardingEngine, type ForwardingEngineDeps } from "../connections/engine.ts";
import { Draining, lingeringClose } from "../connections/closing.ts";
import { readEarly, createUpgradeContainer, transparentUpgrade } from "./upgrade.ts";
import { openForwardRequest } from "./forward-request.ts";
import { upgradeHeadOf, dropUnderscores, headOf, isWebSocket } from "./node-heads.ts";
import { Fault } from "../../lib/fault.ts";

/** While the gateway drains, an idle connection stays open for this long: its next request may already have been sent. */
const DRAIN_IDLE_MS = 1_000;

/** Bytes after the head of an upgrade that are kept until it is accepted; beyond it, the client is not read. */
const EARLY_BYTES = 65_536;

/** Interval of Node's check for late heads. */
const CHECK_EVERY_MS = 1_000;

/** The engine on Node's own HTTP server and parser, and on `http-proxy` (http-proxy-3 under that name). */
export function openHttpProxyEngine({ decide, limits, connections, tls, bounds, watch, counts, clock, log }: ForwardingEngineDeps): ForwardingEngine {
  const dials = dialCounts(counts, { clock, log });
  const proxy = openForwardRequest({ clock, limits, dials });
  const upgrade = createUpgradeContainer({ clock, limits, dials, connections });
  const draining = new Draining();
  const queues = createQueueBudget({ ofUser: limits.prebufferUserBytes, ofAll: limits.prebufferTotalBytes });
  const open = new Set<Promise<void>>();
  const answering = new Set<ServerResponse>();
  const upgraded = new Set<Socket>();
  counts.connections.look((family) => family.at().set(answering.size));

  const options: ServerOptions = {
    // The time limit is for the head only.
    requestTimeout: 0,
    headersTimeout: limits.headersTimeoutMs,
    // Node's default is 30 s.
    connectionsCheckingInterval: Math.min(limits.headersTimeoutMs, CHECK_EVERY_MS),
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    maxHeaderSize: MAX_HEAD_BYTES,
    insecureHTTPParser: false,
    noDelay: true,
    // The system's default of two hours would keep a container awake for a client that vanished.
    keepAlive: true,
    keepAliveInitialDelay: limits.probeAfterMs,
    shouldUpgradeCallback: isWebSocket,
  };
  const server = tls === undefined ? createServer(options) : createSecureServer({ ...options, ...tlsServerOptions(tls, limits.headersTimeoutMs) });
  if (tls !== undefined) keepKeys(server as SecureServer, tls);
  limitConnections(server, bounds);
  const handshakes = watchHandshakes(server, tls, () => undefined);
  server.maxHeadersCount = 0;
  server.on("request", (request, response) => track(serve(request, response, () => undefined)));
  server.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => track(serve(request, response, () => response.writeContinue())));
  server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
    upgraded.add(socket);
    socket.once("close", () => upgraded.delete(socket));
    socket.on("error", () => undefined);
    track(serveUpgrade(request, socket, head));
  });

  const close = async () => {
    draining.begin();
    const closed = new Promise<void>((resolve) => void server.close(() => resolve()));
    server.closeAllConnections();
    handshakes.destroy();
    for (const socket of upgraded) socket.destroy();
    proxy.close();
    await Promise.allSettled(open);
    await closed;
  };

  return {
    server,
    drain: async (ms) => {
      // Closes the listener only: the server's own method would also close idle connections, which may be sending a request.
      if (server.listening) NetServer.prototype.close.call(server);
      draining.begin();
      for (const response of answering) response.shouldKeepAlive = false;
      const enough = new AbortController();
      const over = lastRequests(Math.min(ms, DRAIN_IDLE_MS), enough.signal).then(() => enough.abort());
      await Promise.race([over, clock.sleep(ms, enough.signal)]).catch(() => undefined);
      enough.abort();
      await close();
    },
    close,
  };

  async function lastRequests(idleMs: number, signal: AbortSignal): Promise<void> {
    const connections = await new Promise<number>((resolve) => server.getConnections((_error, count) => resolve(count)));
    if (connections > 0) await clock.sleep(idleMs, signal).catch(() => undefined);
    server.closeIdleConnections();
    await allOver();
  }

  /** A response without `Connection: close` may already have been sent: its connection may still bring a request. */
  async function allOver(): Promise<void> {
    while (open.size > 0) await Promise.allSettled(open);
  }

  function track(exchange: Promise<void>): void {
    const done = exchange.catch((error: unknown) => log.error({ err: error }, "request failed: internal error")).finally(() => open.delete(done));
    open.add(done);
  }

  async function serve(request: IncomingMessage, response: ServerResponse, onBodyWanted: () => void): Promise<void> {
    const { signal, forget } = watchClient(request.socket);
    const record = recordOf(request, false);
    const { bytesRead, bytesWritten } = request.socket;
    answering.add(response);
    response.once("close", () => {
      forget();
      answering.delete(response);
      // Node has read the head before this count begins, and bytes of the next request that it reads early count for this one.
      record.bytesIn = request.socket.bytesRead - bytesRead;
      record.bytesOut = request.socket.bytesWritten - bytesWritten;
      record.status = response.headersSent ? response.statusCode : 0;
      record.finish(response.writableFinished ? "answered" : signal.aborted ? "left" : "cut");
    });
    response.once("finish", () => dropRest(request));
    if (draining.begun) response.shouldKeepAlive = false;
    try {
      const decision = await decided(request, signal, false, record);
      if (decision.kind === "answer") sendResponse(response, decision.answer);
      else if (decision.kind === "forward")
        await proxy.forward({ request, response, forward: decision.forward, lease: decision.lease, signal, onBodyWanted, record });
    } catch (error) {
      if (signal.aborted) return;
      log.error({ err: error }, "request not forwarded: internal error");
      if (response.headersSent) response.destroy();
      else sendResponse(response, apiErrorResponse(internalFault(error)));
    }
  }

  async function serveUpgrade(request: IncomingMessage, socket: Socket, head: Buffer): Promise<void> {
    const { signal } = watchClient(socket);
    const record = recordOf(request, true);
    let webSockets: Count | undefined;
    const client = connections.adoptStream(socket);
    const early = readEarly(client, head, EARLY_BYTES);
    try {
      const decision = await decided(request, signal, true, record);
      if (decision.kind !== "answer") record.becameWebSocket();
      webSockets = counts.webSockets.at(record.labels.route);
      webSockets.add();
      if (decision.kind === "answer") sendRawResponse(client, decision.answer);
      else if (decision.kind === "refuseWebSocket")
        await refuseWebSocket({ clock, limits }, { request: upgradeHeadOf(request), client, ...decision });
      else if (decision.kind === "acceptWebSocket") {
        const { forward, lease, user } = decision;
        await acceptWebSocket(
          { upgrade, queues, clock, log, limits },
          { request: upgradeHeadOf(request), client, early: early.take(), forward, lease, user, draining, record },
        );
      } else {
        const { forward, lease } = decision;
        await transparentUpgrade({ clock, limits, dials, connections }, { request, client, early, forward, lease, signal, draining, record });
      }
    } catch (error) {
      if (signal.aborted) return;
      log.error({ err: error }, "upgrade not forwarded: internal error");
      client.destroy();
    } finally {
      lingeringClose(client, clock, limits.lingeringCloseMs);
      webSockets?.add(-1);
      record.finish(signal.aborted && record.status === 0 ? "left" : "answered");
    }
  }

  function recordOf(request: IncomingMessage, upgrade: boolean): AccessRecord {
    return new AccessRecord(watch, clock, headOf(request, upgrade), addressOf(request));
  }

  async function decided(request: IncomingMessage, signal: AbortSignal, upgrade: boolean, record: AccessRecord): Promise<Decision> {
    if (limits.underscoreHeaders === "drop") dropUnderscores(request);
    const fault = admissionFault(request);
    if (fault !== undefined) {
      record.fault = fault.code;
      return { kind: "answer", answer: upgrade ? apiErrorResponse(fault) : closing(apiErrorResponse(fault)) };
    }
    const peer = { address: addressOf(request) };
    const decision = await decide({ head: headOf(request, upgrade), peer, tls: request.socket instanceof TLSSocket, signal });
    if (decision.labels !== undefined) record.labels = decision.labels;
    record.identityMs = clock.monotonic() - record.startedAt;
    return decision;
  }

  /** Reads and discards the rest of a body for a while, so that the client reads the response. */
  function dropRest(request: IncomingMessage): void {
    if (request.complete) return;
    const cancel = clock.after(limits.lingeringCloseMs, () => request.socket.destroy());
    request.once("close", cancel);
    request.resume();
  }
}

function addressOf({ socket }: IncomingMessage): string {
  return (socket.remoteAddress ?? "").replace(/^::ffff:/, "");
}

/** After an ambiguous message, the framing of the connection is not certain. */
function closing(answer: DirectResponse): DirectResponse {
  return { ...answer, close: true };
}

/** Node's parser also accepts 0.9 and 2.0, and responds as with 1.1. */
const VERSIONS = new Set(["1.0", "1.1"]);

/** Refuses what Node's parser accepts, and the next hop might read differently. */
function admissionFault(request: IncomingMessage): Fault | undefined {
  if (!VERSIONS.has(request.httpVersion)) return new Fault("REQUEST_INVALID", "Only HTTP/1.1 and HTTP/1.0 are supported");
  if (countOf(request.rawHeaders, "host") > 1) return new Fault("REQUEST_INVALID", "A request has exactly one Host header");
  // Servers differ in how they read other bytes than printable ASCII.
  if (!/^[\x21-\x7e]+$/.test(request.url ?? "")) return new Fault("REQUEST_INVALID", "The request target has bytes that must be percent-encoded");
  const coding = request.headers["transfer-encoding"];
  if (coding === undefined) return undefined;
  if (coding.toLowerCase() !== "chunked") return new Fault("REQUEST_INVALID", "The only supported transfer coding is chunked");
  return request.httpVersion === "1.1" ? undefined : new Fault("REQUEST_INVALID", "HTTP/1.0 has no transfer codings");
}

function countOf(rawHeaders: readonly string[], name: string): number {
  return rawHeaders.filter((text, at) => at % 2 === 0 && text.toLowerCase() === name).length;
}

const CLIENT_LEFT = new Error("the client left");

/** Aborts `signal` when the connection closes before `forget` is called. */
function watchClient(socket: Socket): { signal: AbortSignal; forget(): void } {
  const left = new AbortController();
  const onClose = () => left.abort(CLIENT_LEFT);
  socket.once("close", onClose);
  if (socket.destroyed) onClose();
  return {
    signal: left.signal,
    forget: () => {
      socket.off("close", onClose);
    },
  };
}
