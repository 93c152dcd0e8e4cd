import type { FastifyInstance } from "fastify";
import { Fault } from "../../lib/fault.ts";
import { CONSOLE_COOKIE, isAtConsole } from "../api/authorization.ts";
import { consoleOrigin, edgeOrigin, isHttps } from "../api/origins.ts";
import { addRoutes } from "../api/route.ts";
import { consolePageRoutes } from "./console-pages.ts";
import { addSessionTransfer, type SessionTransferDeps } from "./session-transfer.ts";
import { consoleSignInRoutes } from "./sign-in-routes.ts";
import type { IncomingMessage, RequestListener } from "node:http";
import { CLIENT_ADDRESS_HEADER, CONSOLE_HEADER, GATEWAY_TOKEN_HEADER, UNTRUSTED_PROXY_HEADER } from "../../gateway/contract.ts";
import { type ControlListenerOptions, openControlListener } from "../api/control-listener.ts";

/**
 * The console of a server with a control plane: all sections, and its sign-in. It is served at the console's own origin only, since pages of containers share the
 * edge's. The edge redirects browsers there.
 */
export function addConsole(app: FastifyInstance, deps: SessionTransferDeps): void {
  const { identity, settings, authorization } = deps;
  app.register(async (console) => {
    console.addHook("onRequest", async (request, reply) => {
      if (isAtConsole(request)) return;
      const origin = consoleOrigin(settings, request);
      const path = request.url.split("?", 1)[0];
      if (origin !== undefined && (path === "/" || path === "/console")) return reply.redirect(`${origin}/`, 302);
      throw new Fault("ROUTE_NOT_FOUND", `The console is not at the edge${origin === undefined ? "" : ` but at ${origin}`}.`);
    });
    addRoutes(console, [
      ...consolePageRoutes({
        sections: ["containers", "images", "registry", "stand"],
        formAction: (request) => edgeOrigin(settings, request),
      }),
      ...consoleSignInRoutes({
        cookie: CONSOLE_COOKIE,
        sessionMs: settings.sessionMs,
        isSecure: (request) => isHttps({ webRoot: settings.console?.url }, request),
        signIn: (request, key) => authorization.withDevKey(request, key, (valid) => identity.signIn(valid, "console")),
        signOut: async (request) => {
          const { token } = authorization.caller(request);
          if (token !== undefined) await identity.endSession(token);
        },
      }),
    ]);
  });
  addSessionTransfer(app, deps);
}

export type ConsoleListenerDeps = Pick<ControlListenerOptions, "handle" | "tls" | "clock" | "log"> & {
  /** The API, which serves the console to what comes in here. */
  answer: RequestListener;
  /** The client's own address, where a load balancer in front may say it. */
  addressOf(request: IncomingMessage): string;
  /** Whether this peer is trusted to describe the browser's connection. */
  trusts(peer: string): boolean;
};

/** Packages may be published here too. */
const REQUEST_MS = 15 * 60_000;
const HEADERS_MS = 30_000;
const IDLE_MS = 75_000;
/** While control restarts, new connections wait in the queue of the socket; requests in progress may finish. */
const GRACE_MS = 2_000;
/** Enough for some dozens of users. */
const MOST_CONNECTIONS = 1_000;

/** The console's own listener: an origin that no container's page shares. It replaces headers that only gateways may set. */
export function openConsoleListener({
  handle,
  tls,
  answer,
  addressOf,
  trusts,
  clock,
  log,
}: ConsoleListenerDeps): Promise<{ close(): Promise<void> }> {
  return openControlListener({
    handle,
    tls,
    clock,
    log,
    graceMs: GRACE_MS,
    limits: { requestTimeout: REQUEST_MS, headersTimeout: HEADERS_MS, keepAliveTimeout: IDLE_MS, connections: MOST_CONNECTIONS },
    answer: (request, response) => {
      const { headers } = request;
      const peer = request.socket.remoteAddress ?? "";
      if (!trusts(peer) || headers["x-forwarded-proto"] === undefined) headers["x-forwarded-proto"] = tls === undefined ? "http" : "https";
      headers[CLIENT_ADDRESS_HEADER] = addressOf(request);
      headers[CONSOLE_HEADER] = "1";
      delete headers[GATEWAY_TOKEN_HEADER];
      delete headers[UNTRUSTED_PROXY_HEADER];
      answer(request, response);
    },
  });
}
