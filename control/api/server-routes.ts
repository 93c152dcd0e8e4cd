import type { FastifyInstance, FastifyRequest } from "fastify";
import type { ApiDeps } from "./api-deps.ts";
import { webRootOf } from "./origins.ts";
import { responses } from "./schemas.ts";

const text = { type: "string" } as const;
const SERVER_INFO = { type: "object", properties: { Version: text, webRoot: text } } as const;
const HEALTH = { type: "object", properties: { status: text } } as const;
const STARTUP_DATA = { type: "object", properties: { webRoot: text } } as const;

/** What anybody may ask, and clients and load balancers do ask before they sign in. */
export function serverRoutes(app: FastifyInstance, { store, settings }: ApiDeps): void {
  const tags = ["server"];
  const config = { admits: "anyone" } as const;
  const webRoot = (request: FastifyRequest) => webRootOf(settings, request);

  app.get("/info/server", { config, schema: { tags, summary: "Version and public address", response: responses(SERVER_INFO) } }, (request) => ({
    Version: settings.version,
    webRoot: webRoot(request),
  }));

  app.get(
    "/admin/health",
    { config, exposeHeadRoute: true, schema: { tags, summary: "200 while the server works", response: responses(HEALTH) } },
    () => {
      store.users.byLogin("");
      return { status: "ok" };
    },
  );

  app.get(
    "/admin/startup_data",
    { config, schema: { tags, summary: "What clients need to know first", response: responses(STARTUP_DATA) } },
    (request) => ({ webRoot: webRoot(request) }),
  );
}
