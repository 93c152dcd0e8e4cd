import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { IncomingMessage, RequestListener } from "node:http";
import { extname, join } from "node:path";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Type } from "typebox";
import { CLIENT_ADDRESS_HEADER, CONSOLE_HEADER, FAILS_OVER_HEADER, GATEWAY_TOKEN_HEADER, UNTRUSTED_PROXY_HEADER } from "../../gateway/contract.ts";
import { Fault } from "../../lib/fault.ts";
import { ownFile } from "../../lib/own-files.ts";
import { clientAddress, CONSOLE_COOKIE, isAtConsole } from "../api/authorization.ts";
import { type ControlListenerOptions, openControlListener } from "../api/control-listener.ts";
import { consoleOrigin, edgeOrigin, isHttps } from "../api/origins.ts";
import { addRoutes, route, type Route, type RouteDeps } from "../api/route.ts";
import { type ConsoleSection, text } from "../api/schemas.ts";
import type { OidcSignIn } from "../identity/oidc-sign-in.ts";
import { addBackChannelLogout, addSessionTransfer, consoleOidcRoutes, consoleSignInRoutes, oidcCallback, signOutOfConsole } from "./sign-in.ts";

/**
 * The console of a server with a control plane: all sections, and its sign-in. It is served at the console's own origin only, since pages of containers share the
 * edge's. The edge redirects browsers there.
 */
export function addConsole(app: FastifyInstance, deps: RouteDeps): void {
  const { identity, settings, authorization } = deps;
  app.register(async (console) => {
    console.addHook("onRequest", async (request, reply) => {
      if (isAtConsole(request)) return;
      const origin = consoleOrigin(settings, request);
      const [path, query] = request.url.split("?", 2);
      const opened = path === "/console" ? OPENED.exec(query ?? "")?.[1] : undefined;
      if (origin !== undefined && (path === "/" || path === "/console"))
        return reply.redirect(opened === undefined ? `${origin}/` : `${origin}/#/open/${opened}`, 302);
      throw new Fault("ROUTE_NOT_FOUND", `The console is not at the edge${origin === undefined ? "" : ` but at ${origin}`}.`);
    });
    addRoutes(console, [
      ...consolePageRoutes({
        sections: ["containers", "images", "registry", "stand"],
        formAction: (request) => edgeOrigin(settings, request),
        providers: deps.oidc,
      }),
      ...consoleOidcRoutes(deps),
      ...consoleSignInRoutes({
        cookie: CONSOLE_COOKIE,
        sessionMs: settings.sessionMs,
        isSecure: (request) => isHttps({ webRoot: settings.console?.url }, request),
        signIn: (request, key) => authorization.withDevKey(request, key, (valid) => identity.signIn(valid, "console", clientAddress(request))),
        signOut: async (request) => {
          const { token } = authorization.caller(request);
          return token === undefined ? undefined : signOutOfConsole(deps, request, token);
        },
      }),
    ]);
    addBackChannelLogout(console, deps);
  });
  addSessionTransfer(app, deps);
}

/** The gateway names the container that a signed-out user wanted to open. */
const OPENED = /^open=([\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})$/;

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
      delete headers[FAILS_OVER_HEADER];
      answer(request, response);
    },
  });
}

/** Only resources of berth itself, no frames, and forms to `formAction` only. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";
const SAFE = {
  "content-security-policy": POLICY,
  "x-content-type-options": "nosniff",
  // In a GET over plain http, only `Referer` proves that the console's own page sent it.
  "referrer-policy": "strict-origin-when-cross-origin",
  "cross-origin-opener-policy": "same-origin",
};
const TYPES: Record<string, string> = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};
const UNBUILT = "<!doctype html><title>berth</title><p>The console has not been built. Run <code>npm run build:console</code>.";

export type ConsolePageDeps = {
  /** The sections that this server has an API for. */
  sections: readonly ConsoleSection[];
  /** Another origin that the console's forms may post to. */
  formAction?: (request: FastifyRequest) => string | undefined;
  /** The sign-in providers, in the order of their buttons. */
  providers?: readonly Pick<OidcSignIn, "id" | "name">[] | undefined;
};

/** The console's page, its files, and its sections. */
export function consolePageRoutes({ sections, formAction = () => undefined, providers = [] }: ConsolePageDeps): Route[] {
  const common = { method: "GET", authorize: "anyone", schema: { hide: true } } as const;
  const files = readConsole();

  const sendPage = (request: FastifyRequest, reply: FastifyReply) =>
    reply
      .headers({ ...SAFE, "content-security-policy": [POLICY, formAction(request) ?? ""].join(" ").trim(), "cache-control": "no-cache" })
      .type(TYPES[".html"] ?? "")
      .send(files.get("index.html") ?? UNBUILT);

  return [
    route({ ...common, path: "/", exposeHead: true, handle: sendPage }),
    route({ ...common, path: "/console", handle: sendPage }),
    ...providers.map((provider) => route({ ...common, path: oidcCallback(provider), handle: sendPage })),
    route({
      ...common,
      path: "/console/rooms",
      handle: async (request) => ({ rooms: sections, edge: formAction(request), providers: providers.map(({ id, name }) => ({ id, name })) }),
    }),
    route({
      ...common,
      path: "/console/:file",
      schema: { hide: true, params: Type.Object({ file: text }) },
      handle: (request, reply) => {
        const { file } = request.params;
        const bytes = files.get(file);
        if (bytes === undefined) throw new Fault("ROUTE_NOT_FOUND", `The console has no file ${file.slice(0, 100)}.`);
        // Vite puts a digest of the contents into the name.
        const age = /-[\w-]{8}\.\w+$/.test(file) ? "public, max-age=31536000, immutable" : "no-cache";
        return reply
          .headers({ ...SAFE, "cache-control": age })
          .type(TYPES[extname(file)] ?? "application/octet-stream")
          .send(bytes);
      },
    }),
  ];
}

/** All files, in memory: some hundred KiB. Empty if the console has not been built. */
function readConsole(): ReadonlyMap<string, Buffer> {
  const folder = ownFile("control/console/dist");
  if (!existsSync(folder)) return new Map();
  return new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))]));
}
