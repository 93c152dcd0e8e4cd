import type { FastifyInstance } from "fastify";
import { Fault } from "../../lib/fault.ts";
import { type Authorization, CONSOLE_COOKIE, isAtConsole } from "../api/authorization.ts";
import type { ApiDeps } from "../api/api-deps.ts";
import { isHttps, consoleOrigin, edgeOrigin } from "../api/origins.ts";
import { consolePages } from "./console-pages.ts";
import { sessionTransferRoutes } from "./session-transfer.ts";
import { signInRoutes } from "./sign-in-routes.ts";

/**
 * The console of a whole berth: all of its rooms, and its sign-in. All of it is at the console's own origin alone, since containers' pages share the edge's; the edge
 * sends browsers there.
 */
export function consoleRoutes(app: FastifyInstance, parts: Pick<ApiDeps, "identity" | "settings" | "clock">, admission: Authorization): void {
  const { identity, settings } = parts;
  app.register(async (console) => {
    console.addHook("onRequest", async (request, reply) => {
      if (isAtConsole(request)) return;
      const origin = consoleOrigin(settings, request);
      const path = request.url.split("?", 1)[0];
      if (origin !== undefined && (path === "/" || path === "/console")) return reply.redirect(`${origin}/`, 302);
      throw new Fault("ROUTE_NOT_FOUND", `The console is not at the edge${origin === undefined ? "" : ` but at ${origin}`}.`);
    });
    consolePages(console, { rooms: ["containers", "images", "registry", "stand"], formAction: (request) => edgeOrigin(settings, request) });
    signInRoutes(console, {
      cookie: CONSOLE_COOKIE,
      sessionMs: settings.sessionMs,
      isSecure: (request) => isHttps({ webRoot: settings.console?.url }, request),
      signIn: (request, key) => admission.withDevKey(request, key, (shown) => identity.signIn(shown, "console")),
      signOut: (request) => {
        const { token } = admission.caller(request);
        if (token !== undefined) identity.endSession(token);
      },
    });
  });
  sessionTransferRoutes(app, parts, admission);
}
