import type { FastifyInstance } from "fastify";
import type { Admission } from "../api/admission.ts";
import type { ApiParts } from "../api/api-parts.ts";
import { cameByHttps } from "../api/web-root.ts";
import { consolePages } from "./console-pages.ts";
import { signInRoutes } from "./sign-in-routes.ts";

/** The console of a whole berth: all of its rooms, and its sign-in, whose session is one of the API's. */
export function consoleRoutes(app: FastifyInstance, { identity, settings }: Pick<ApiParts, "identity" | "settings">, admission: Admission): void {
  consolePages(app, { rooms: ["containers", "images", "registry", "stand"] });
  signInRoutes(app, {
    cookie: "auth",
    sessionMs: settings.sessionMs,
    isSecure: (request) => cameByHttps(settings, request),
    signIn: (request, key) => admission.withKey(request, key, (shown) => identity.signIn(shown, "administration")),
    signOut: (request) => {
      const { token } = admission.caller(request);
      if (token !== undefined) identity.endSession(token);
    },
  });
}
