import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { createServer as createSecureServer, type Server as SecureServer, type ServerOptions } from "node:https";
import { Server as NetServer } from "node:net";
import { GATEWAY_TOKEN_HEADER } from "../../gateway/contract.ts";
import { type Clock, onceEvery } from "../../lib/clock.ts";
import { createConnectionLimits, limitConnections } from "../../lib/connection-limits.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { PrivateListeners } from "../../lib/refused-addresses.ts";
import type { GatewayTokens } from "../identity/gateway-tokens.ts";
import type { FeedHandler } from "./feed.ts";
import { answerUpgrades, isUpgraded } from "./upgrades.ts";
import { answerHealth, type LeaderWait } from "./standby.ts";

/** A certificate with its key, and how a server receives their replacements. */
export type ListenerTls = { current(): { cert: string; key: string }; keep(server: SecureServer): void };

export type ControlListenerOptions = {
  /** A bound socket. */
  handle: object;
  /** Undefined: no TLS. */
  tls: ListenerTls | undefined;
  /** Times in milliseconds. */
  limits: Pick<ServerOptions, "requestTimeout" | "headersTimeout" | "keepAliveTimeout"> & { connections: number };
  answer: RequestListener;
  /** How long requests in progress may take at the end; event streams end at once. In milliseconds. */
  graceMs?: number;
  /** Refuses connections of containers. */
  listeners?: PrivateListeners | undefined;
  clock: Clock;
  log: Log;
};

const HANDSHAKE_MS = 10_000;
/** How long the listener waits at its end for the first request of a new connection. */
const FIRST_REQUEST_MS = 300;

/** A listener of control beside its Unix sockets: bounded, HTTP/1.1 only, upgrades for shells alone. `close` also ends open requests. */
export async function openControlListener(parts: ControlListenerOptions): Promise<{ close(): Promise<void> }> {
  const { handle, tls, answer, graceMs, listeners, clock, log } = parts;
  const { connections, ...limits } = parts.limits;
  const open = new Set<ServerResponse>();
  let closing = false;
  const listener: RequestListener = (request, response) => {
    if (closing) response.shouldKeepAlive = false;
    open.add(response);
    response.once("close", () => open.delete(response));
    answer(request, response);
  };
  const server = tls ? openSecureServer({ ...limits, ...tls.current() }, tls, listener) : createServer(limits, listener);
  // One address has at most half of them: these listeners have few clients.
  limitConnections(server, createConnectionLimits({ perAddress: Math.ceil(connections / 2), total: connections, clock, log }));
  listeners?.guard(server);
  answerUpgrades(server, listener);
  server.listen(handle);
  await once(server, "listening");
  return {
    close: async () => {
      if (graceMs === undefined) {
        const closed = new Promise<void>((resolve) => server.close(() => resolve()));
        for (const response of open) if (isUpgraded(response)) response.destroy();
        server.closeAllConnections();
        return closed;
      }
      // Not http's own close: it also ends new connections whose first request has not arrived.
      const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()));
      closing = true;
      for (const response of open) {
        response.shouldKeepAlive = false;
        if (isEventStream(response) || isUpgraded(response)) response.destroy();
      }
      const cancels = [
        clock.after(Math.min(FIRST_REQUEST_MS, graceMs), () => server.closeIdleConnections()),
        clock.after(graceMs, () => server.closeAllConnections()),
      ];
      await closed;
      for (const cancel of cancels) cancel();
    },
  };
}

function isEventStream(response: ServerResponse): boolean {
  return String(response.getHeader("content-type") ?? "").startsWith("text/event-stream");
}

function openSecureServer(options: ServerOptions, tls: ListenerTls, answer: RequestListener): Server {
  const server = createSecureServer({ ...options, handshakeTimeout: HANDSHAKE_MS, ALPNProtocols: ["http/1.1"] }, answer);
  tls.keep(server);
  return server;
}

export type GatewayListenerDeps = Pick<ControlListenerOptions, "handle" | "tls" | "listeners"> & {
  tokens: Pick<GatewayTokens, "accepts">;
  /** Handle requests with a valid token. */
  feed: FeedHandler;
  api: RequestListener;
  /**
   * Answers everything while it is defined: this control process does not lead. `api` answers what gateways forward. A feed with the epoch of the last leader
   * waits for a later one first.
   */
  standby?: (() => (Pick<LeaderWait, "laterThan"> & { answer: RequestListener; api: RequestListener }) | undefined) | undefined;
  clock: Clock;
  log: Log;
};

/** Enough for a package of hundreds of megabytes. */
const REQUEST_MS = 15 * 60_000;
/** Longer than gateways keep an idle connection. */
const IDLE_MS = 10_000;
/** Gateways open a few connections each. A client without a token costs a handshake and a head. */
const MOST_CONNECTIONS = 10_000;
const LOG_MS = 5_000;

/**
 * The listener for gateways on other machines: for the feed, and for their clients' requests to the API. Every request shows a token and names its purpose.
 * A request without a token receives one error, and its body is not read. The API still requires the clients' own credentials.
 */
export function openGatewayListener({
  handle,
  tls,
  listeners,
  tokens,
  feed,
  api,
  standby,
  clock,
  log,
}: GatewayListenerDeps): Promise<{ close(): Promise<void> }> {
  const mayLog = onceEvery(LOG_MS, clock);
  const purposeOf = (request: IncomingMessage): string | undefined => {
    const [, purpose, token = ""] = /^(feed|api) (\S+)$/.exec(String(request.headers[GATEWAY_TOKEN_HEADER] ?? "")) ?? [];
    return tokens.accepts(token) ? purpose : undefined;
  };
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    const asStandby = standby?.();
    if (!asStandby) return answerAsLeader(request, response);
    const epoch = lastEpoch(request);
    const purpose = purposeOf(request);
    if (purpose === "api") return asStandby.api(request, response);
    if (epoch === undefined || purpose !== "feed") return asStandby.answer(request, response);
    void answerLater(asStandby.laterThan(epoch), request, response);
  };
  const answerLater = async (later: Promise<void>, request: IncomingMessage, response: ServerResponse) => {
    await later;
    if (!response.destroyed) (standby?.()?.answer ?? answerAsLeader)(request, response);
  };
  const answerAsLeader = (request: IncomingMessage, response: ServerResponse) => {
    if (answerHealth(request, response, "ready")) return;
    try {
      const purpose = purposeOf(request);
      // The token goes no further.
      delete request.headers[GATEWAY_TOKEN_HEADER];
      if (purpose === "feed") return feed(request, response, "elsewhere");
      if (purpose === "api") return api(request, response);
      logRefusal(request);
      refuse(
        response,
        new Fault("GATEWAY_REFUSED", "The control plane refuses this gateway's token: `berth gateways token`, where it runs, prints the valid one."),
      );
    } catch (error) {
      log.error({ err: error }, "unexpected error");
      refuse(response, new Fault("INTERNAL", "An internal error occurred."));
    }
  };
  /** Requests without a token have no limit, so their log lines have one. */
  const logRefusal = ({ socket }: IncomingMessage) => {
    if (mayLog()) log.warn({ from: socket.remoteAddress }, "gateway refused: no valid token");
  };
  return openControlListener({
    handle,
    tls,
    listeners,
    limits: { requestTimeout: REQUEST_MS, keepAliveTimeout: IDLE_MS, connections: MOST_CONNECTIONS },
    answer,
    clock,
    log,
  });
}

/** Of the leader that a gateway had, in the path of its feed. */
function lastEpoch({ url = "" }: IncomingMessage): number | undefined {
  const [path, query] = url.split("?", 2);
  const epoch = path === "/feed" ? Number(new URLSearchParams(query).get("epoch") ?? Number.NaN) : Number.NaN;
  return Number.isSafeInteger(epoch) ? epoch : undefined;
}

function refuse(response: ServerResponse, fault: Fault): void {
  // A fault for a gateway, and an API error for the client whose request it forwarded.
  const text = JSON.stringify({ "#type": "ApiError", ...fault.toJSON(), innerMessage: "" });
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text), connection: "close" };
  response.writeHead(fault.status, headers).end(text);
}
