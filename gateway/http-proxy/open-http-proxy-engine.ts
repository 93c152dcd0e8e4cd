import { createServer, type IncomingMessage, ServerResponse, type ServerOptions } from "node:http";
import { createServer as createSecureServer, type Server as SecureServer } from "node:https";
import { Server as NetServer, type Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { limitConnections, plainAddress } from "../../lib/connection-limits.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { AccessRecord } from "../access-record.ts";
import { Draining, lingeringClose, probeHalfOpen } from "../connections/closing.ts";
import type { NetConnection } from "../connections/connection.ts";
import { dialCounts } from "../connections/dial.ts";
import { breakOff, isBrokenStream } from "../connections/node-socket.ts";
import { tlsServerOptions, type ForwardingEngine, type ForwardingEngineDeps } from "../connections/engine.ts";
import type { Decision, Head } from "../decision.ts";
import { apiErrorResponse, internalFault, sendResponse } from "../direct-responses.ts";
import { MAX_HEAD_BYTES, SHORT_IDLE_MS } from "../limits.ts";
import { keepKeys } from "../tls-keys.ts";
import { acceptWebSocket, refuseWebSocket } from "../websockets/accept-websocket.ts";
import type { UpgradeRequestHead } from "../websockets/handshake.ts";
import { createQueueBudget } from "../websockets/waiting-client.ts";
import { CLIENT_LEFT, forwardedLines, hasBody, headerOf, namesOf, openForwarder } from "./open-forwarder.ts";

/** Bytes after the head of an upgrade that are kept until it is accepted; beyond it, the client is not read. */
const EARLY_BYTES = 65_536;

/** Interval of Node's check for late heads. */
const CHECK_EVERY_MS = 1_000;

/** The engine on Node's own HTTP server and parser, and on `http-proxy` (http-proxy-3 under that name). */
export function openHttpProxyEngine({ decide, limits, connections, tls, bounds, watch, counts, clock, log }: ForwardingEngineDeps): ForwardingEngine {
  const draining = new Draining();
  const forwarder = openForwarder({ clock, limits, dials: dialCounts(counts, { clock, log }), connections, draining });
  const queues = createQueueBudget({ ofUser: limits.prebufferUserBytes, ofAll: limits.prebufferTotalBytes });
  const open = new Set<Promise<void>>();
  const sockets = new Set<Socket>();
  counts.connections.look((family) => family.at().set(sockets.size));

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
  if (tls !== undefined) {
    keepKeys(server as SecureServer, tls);
    (server as SecureServer).on("secureConnection", (socket) => void (socket.allowHalfOpen = true));
  }
  limitConnections(server, bounds);
  server.maxHeadersCount = 0;
  // A client that ends its direction may await its response. Node's types do not have the property.
  Object.assign(server, { httpAllowHalfOpen: true });
  // With TLS, from the first byte of the handshake on.
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.on("request", (request, response) => track(serve(request, response)));
  server.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => track(serve(request, response, () => response.writeContinue())));
  server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
    const response = responseOver(request, socket);
    response.once("finish", () => {
      socket.end();
      socket.once(
        "close",
        clock.after(limits.lingeringCloseMs, () => socket.destroy()),
      );
    });
    track(serve(request, response, () => undefined, readEarly(socket, head)));
  });

  const close = async () => {
    draining.end();
    const closed = new Promise<void>((resolve) => void server.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    forwarder.close();
    await Promise.allSettled(open);
    await closed;
  };

  return {
    server,
    drain: async (ms) => {
      // Closes the listener only: the server's own method would also close idle connections, which may be sending a request.
      if (server.listening) NetServer.prototype.close.call(server);
      draining.begin();
      const enough = new AbortController();
      await Promise.race([lastRequests(Math.min(ms, SHORT_IDLE_MS), enough.signal), clock.sleep(ms, enough.signal)]).catch(() => undefined);
      enough.abort();
      await close();
    },
    close,
  };

  async function lastRequests(idleMs: number, signal: AbortSignal): Promise<void> {
    if (sockets.size > 0) await clock.sleep(idleMs, signal).catch(() => undefined);
    server.closeIdleConnections();
    // A response without `Connection: close` may already have been sent: its connection may still bring a request.
    while (open.size > 0) await Promise.allSettled(open);
  }

  function track(exchange: Promise<void>): void {
    const done = exchange.catch((error: unknown) => log.error({ err: error }, "request failed: internal error")).finally(() => open.delete(done));
    open.add(done);
  }

  /** `takeEarly`: of an upgrade request. */
  async function serve(request: IncomingMessage, response: ServerResponse, onBodyWanted = () => {}, takeEarly?: () => Buffer): Promise<void> {
    const { socket } = request;
    if (limits.underscoreHeaders === "drop") dropUnderscores(request);
    const head = headOf(request, takeEarly !== undefined);
    const record = new AccessRecord(watch, clock, head, plainAddress(socket.remoteAddress));
    const over = new AbortController();
    const onLeave = () => over.abort(CLIENT_LEFT);
    socket.once("close", onLeave);
    if (socket.destroyed) onLeave();
    // Before Node's own listener, which closes the connection of an incomplete request.
    const onEnd = () => (request.complete ? probe(response, clock) : breakOffUnframed(response));
    if (takeEarly === undefined) socket.prependOnceListener("end", onEnd);
    const closeAfter = () => void (response.shouldKeepAlive = false);
    if (draining.begun) closeAfter();
    else draining.add(closeAfter);
    const { bytesRead, bytesWritten } = socket;
    response.once("close", () => {
      socket.off("close", onLeave).off("end", onEnd);
      draining.delete(closeAfter);
      // Node has read the head before this count begins, and bytes of the next request that it reads early count for this one.
      record.countBytes(socket.bytesRead - bytesRead, "client");
      record.countBytes(socket.bytesWritten - bytesWritten, "container");
      record.answered(response.headersSent ? response.statusCode : 0);
      record.finish(response.writableFinished ? "answered" : over.signal.reason instanceof Fault ? "cut" : "left");
    });
    response.once("finish", () => dropRest(request));

    let client: NetConnection | undefined;
    const take = () => {
      const early = takeEarly?.() ?? Buffer.alloc(0);
      draining.delete(closeAfter);
      response.detachSocket(socket);
      record.becameWebSocket();
      counts.webSockets.at(record.labels.route).add();
      return { client: (client = connections.adoptStream(socket)), early };
    };
    try {
      const decision = await decided(request, head, over.signal, record);
      if (decision.kind === "answer") sendResponse(response, decision.answer);
      else if (decision.kind === "forward")
        await forwarder.forward({ request, response, ...decision, over, record, onBodyWanted, take: takeEarly && take });
      else if (decision.kind === "refuseWebSocket") await refuseWebSocket({ clock, limits }, { request: head, ...take(), ...decision });
      else {
        const { upgrade } = forwarder;
        await acceptWebSocket({ upgrade, queues, clock, log, limits }, { request: head, ...take(), ...decision, draining, record });
      }
    } catch (error) {
      if (over.signal.reason === CLIENT_LEFT) return;
      log.error({ err: error }, "request not forwarded: internal error");
      const fault = internalFault(error);
      over.abort(fault);
      if (client !== undefined) client.destroy();
      else if (response.headersSent) response.destroy();
      else sendResponse(response, apiErrorResponse(fault));
    } finally {
      if (client !== undefined) {
        lingeringClose(client, clock, limits.lingeringCloseMs);
        counts.webSockets.at(record.labels.route).add(-1);
        record.finish("answered");
      }
    }
  }

  async function decided(request: IncomingMessage, head: Head, signal: AbortSignal, record: AccessRecord): Promise<Decision> {
    const fault = admissionFault(request);
    if (fault !== undefined) {
      record.failed(fault.code);
      // After an ambiguous message, the framing of the connection is not certain.
      return { kind: "answer", answer: { ...apiErrorResponse(fault), close: true } };
    }
    const decision = await decide({ head, peer: { address: record.peer }, tls: request.socket instanceof TLSSocket, signal });
    if (decision.labels !== undefined) record.decided(decision.labels);
    record.identified(clock.monotonic() - record.startedAt);
    return decision;
  }

  /** Reads and discards the rest of a body for a while, so that the client reads the response. */
  function dropRest(request: IncomingMessage): void {
    if (request.complete) return;
    request.once(
      "close",
      clock.after(limits.lingeringCloseMs, () => request.socket.destroy()),
    );
    request.resume();
  }
}

/** Finds out whether a client that has ended its direction still awaits this response. */
function probe(response: ServerResponse, clock: Clock): void {
  const { socket } = response.req;
  // The responses to pipelined requests get the connection one after the other.
  const current = () =>
    response.socket === socket
      ? {
          responding: response.headersSent,
          isBetweenChunks: response.headersSent && response.chunkedEncoding && !response.writableEnded,
          head: { minorVersion: response.req.httpVersionMinor },
        }
      : undefined;
  const connection = {
    get writable() {
      return socket.writable && !response.writableFinished;
    },
    get bytesSent() {
      return socket.bytesWritten;
    },
    isBroken: () => isBrokenStream(socket),
    sendText: (text: string) => socket.write(text, "latin1"),
    destroy: () => void socket.destroy(),
    onceClosed: (act: () => void) => void response.once("close", act),
  };
  probeHalfOpen(connection, current, clock);
}

/** A client that ends within its request wants no response; of one without a framing it must not take a part for the whole. */
function breakOffUnframed(response: ServerResponse): void {
  if (response.headersSent && response.req.httpVersion === "1.0") breakOff(response.req.socket);
}

/** Node gives an upgrade request no response. The connection ends after this one. */
function responseOver(request: IncomingMessage, socket: Socket): ServerResponse {
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket);
  socket.on("error", () => undefined).on("drain", () => response.emit("drain"));
  return response;
}

/** Reads a socket that is not read otherwise, because only reading detects that the client has left. Pauses it at the limit, and when the bytes are taken. */
function readEarly(socket: Socket, head: Buffer): () => Buffer {
  const kept = [head];
  let size = head.length;
  const onData = (bytes: Buffer) => {
    kept.push(bytes);
    size += bytes.length;
    if (size >= EARLY_BYTES) socket.pause();
  };
  const onEnd = () => socket.destroy();
  socket.on("data", onData).once("end", onEnd);
  return () => {
    socket.off("data", onData).off("end", onEnd).pause();
    return Buffer.concat(kept);
  };
}

function headOf(request: IncomingMessage, upgrade: boolean): Head & UpgradeRequestHead {
  const { method = "GET", url = "/" } = request;
  return { method, target: url, upgrade, header: (name) => headerOf(request, name), lines: (edits) => forwardedLines(request.rawHeaders, edits) };
}

/**
 * The request is an upgrade to WebSocket. An upgrade to any other protocol is ignored (RFC 9110 §7.8). So is one with a body, because the upgrade would
 * begin after unread bytes.
 */
function isWebSocket(request: IncomingMessage): boolean {
  return request.method === "GET" && request.httpVersion === "1.1" && request.headers.upgrade?.toLowerCase() === "websocket" && !hasBody(request);
}

/** Removes lines with an underscore in their name: many servers treat `x_user` and `x-user` as one name. */
function dropUnderscores(request: IncomingMessage): void {
  const { rawHeaders, headers } = request;
  if (!namesOf(rawHeaders).some((name) => name.includes("_"))) return;
  request.rawHeaders = rawHeaders.filter((_, at) => !rawHeaders[at - (at % 2)]?.includes("_"));
  for (const name of Object.keys(headers)) if (name.includes("_")) delete headers[name];
}

/** Refuses what Node's parser accepts, and the next hop might read differently. */
function admissionFault({ httpVersion, rawHeaders, url = "", headers }: IncomingMessage): Fault | undefined {
  const invalid = (message: string) => new Fault("REQUEST_INVALID", message);
  // Node's parser also accepts 0.9 and 2.0, and responds as with 1.1.
  if (httpVersion !== "1.0" && httpVersion !== "1.1") return invalid("Only HTTP/1.1 and HTTP/1.0 are supported");
  if (namesOf(rawHeaders).filter((name) => name === "host").length > 1) return invalid("A request has exactly one Host header");
  // Servers differ in how they read other bytes than printable ASCII.
  if (!/^[\x21-\x7e]+$/.test(url)) return invalid("The request target has bytes that must be percent-encoded");
  const coding = headers["transfer-encoding"];
  if (coding === undefined) return undefined;
  if (coding.toLowerCase() !== "chunked") return invalid("The only supported transfer coding is chunked");
  return httpVersion === "1.1" ? undefined : invalid("HTTP/1.0 has no transfer codings");
}
