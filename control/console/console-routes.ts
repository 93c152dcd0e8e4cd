import type { FastifyInstance } from "fastify";
import { Fault } from "../../lib/fault.ts";
import { CONSOLE_COOKIE, isAtConsole } from "../api/authorization.ts";
import { consoleOrigin, edgeOrigin, isHttps } from "../api/origins.ts";
import { addRoutes } from "../api/route.ts";
import { consolePageRoutes } from "./console-pages.ts";
import { addSessionTransfer, type SessionTransferDeps } from "./session-transfer.ts";
import { consoleSignInRoutes } from "./sign-in-routes.ts";

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
