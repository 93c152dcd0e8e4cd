import swagger from "@fastify/swagger";
import { fastify, type FastifyInstance } from "fastify";
import { chmod, rm } from "node:fs/promises";
import type { RequestListener } from "node:http";
import { Fault } from "../../lib/fault.ts";
import { maskedPath } from "../../lib/masked-path.ts";
import { type Authorization, createAuthorization, headerOf } from "./authorization.ts";
import { sendErrors } from "./api-error.ts";
import type { ApiDeps } from "./api-deps.ts";
import { auditRoutes } from "./audit-routes.ts";
import { compressResponses } from "./compress-responses.ts";
import { containerRoutes } from "./containers.ts";
import { credentialRoutes } from "./credentials.ts";
import { dockerTokenRoutes } from "./docker-tokens.ts";
import { eventRoutes } from "./events.ts";
import { explainRoutes } from "./container-diagnostics.ts";
import { historyRoutes } from "./history-routes.ts";
import { imageRoutes } from "./images.ts";
import { imageUseRoutes } from "./image-use-routes.ts";
import { imageUsage, lastPushes } from "./registry-usage.ts";
import { importRoutes } from "./imports.ts";
import { recordAudit } from "./audit.ts";
import { leaseRoutes } from "./lease-routes.ts";
import { openLiveStreams } from "./live-streams.ts";
import { openapiRoute } from "./openapi-route.ts";
import { openRoutes } from "./open-routes.ts";
import { orphanRoutes } from "./orphan-routes.ts";
import { peopleRoutes } from "./users.ts";
import { packageRoutes } from "./packages.ts";
import { createSendList } from "./lists.ts";
import { standRoutes, watchUntrustedProxies } from "./server.ts";
import { registryRoutes } from "./registry.ts";
import { repositoryOwnerRoutes } from "./repository-owner-routes.ts";
import { serverRoutes } from "./server-routes.ts";
import { serviceRoutes } from "./services.ts";
import { signingKeyRoutes } from "./signing-keys.ts";
import { wakeRoutes } from "./wake-routes.ts";
import { userRoutes } from "./user-routes.ts";
import { permissionLines, preflightLines } from "../../lib/browser-requests.ts";

/** How long a client may take to send a request, its package included. */
const REQUEST_TIMEOUT_MS = 15 * 60_000;
/** Keys and names stand in paths, and are longer than the router's own limit. */
const LONGEST_PATH_PART = 512;

/** Adds the console's pages and sign-in to the same server. */
export type AddConsole = (app: FastifyInstance, parts: ApiDeps, admission: Authorization) => void;

/** Statuses that say that somebody may not. */
const REFUSES = new Set([401, 403, 429]);

/**
 * The Datagrok-compatible REST, on a Unix socket that only this user can open. It authenticates every request by itself. `socketPath`
 * is taken over: whatever an earlier process left there is gone. `answer` is for requests that came in by another door; `close` ends waiting calls too.
 */
export async function openApi(
  parts: ApiDeps & { socketPath: string },
  addConsole: AddConsole,
): Promise<{ answer: RequestListener; close(): Promise<void> }> {
  const app = await buildApi(parts, addConsole);
  await rm(parts.socketPath, { force: true });
  await app.listen({ path: parts.socketPath });
  await chmod(parts.socketPath, 0o600);
  return { answer: app.routing, close: () => app.close() };
}

async function buildApi(parts: ApiDeps, addConsole: AddConsole): Promise<FastifyInstance> {
  const app = fastify({
    exposeHeadRoutes: false,
    forceCloseConnections: true,
    requestTimeout: REQUEST_TIMEOUT_MS,
    return503OnClosing: true,
    routerOptions: { maxParamLength: LONGEST_PATH_PART },
  });
  const { identity, settings } = parts;
  const pages = settings.webRoot === undefined ? settings.origins : [new URL(settings.webRoot).origin, ...settings.origins];
  const admission = createAuthorization({ ...parts, attempts: identity.attempts, pages });

  const live = { admission, streams: openLiveStreams({ ...parts, admission }) };

  const sendList = createSendList();

  app.setErrorHandler(sendErrors(parts.log));
  app.setNotFoundHandler((request) => {
    throw new Fault("ROUTE_NOT_FOUND", `There is no ${request.method} ${maskedPath(request.url.split("?", 1)[0] ?? "").slice(0, 200)}.`);
  });
  const proxies = watchUntrustedProxies(app, parts.clock);
  permitPages(app, pages);
  app.addHook("onRequest", async (request, reply) => {
    reply.header("cache-control", "no-store");
    admission.authorize(request);
  });
  compressResponses(app);
  app.addHook("onError", async (_request, _reply, error: unknown) => {
    if (error instanceof Fault && REFUSES.has(error.status)) parts.metrics?.authFailures.at("control", error.code).add();
  });
  const audit = recordAudit(app, parts, admission);
  // A body that no route asked for is passed over, whatever it claims to be.
  app.addContentTypeParser("*", (_request, _payload, done) => done(null));

  await app.register(swagger, { openapi: { info: { title: "berth", version: parts.settings.version } } });
  await app.register(
    async (api) => {
      serverRoutes(api, parts);
      userRoutes(api, parts, admission);
      peopleRoutes(api, identity, admission);
      containerRoutes(api, parts, { ...live, audit, sendList });
      eventRoutes(api, parts, live);
      imageRoutes(api, parts, admission, sendList);
      serviceRoutes(api, parts, admission);
      historyRoutes(api, parts, admission);
      auditRoutes(api, parts);
      explainRoutes(api, parts, admission);
      wakeRoutes(api, parts, admission);
      leaseRoutes(api, parts, admission);
      openRoutes(api, parts, admission);
      orphanRoutes(api, parts);
      importRoutes(api, parts, admission);
      imageUseRoutes(api, parts);
      signingKeyRoutes(api, parts);
      registryRoutes(api, {
        registry: parts.registry,
        users: () => imageUsage(parts.store),
        pushes: (repository) => {
          const pushes = lastPushes(parts.store, repository);
          return (tag) => pushes.get(tag);
        },
      });
      repositoryOwnerRoutes(api, parts);
      standRoutes(api, parts, proxies);
      await api.register(async (registry) => dockerTokenRoutes(registry, parts, admission));
      await api.register(async (packages) => packageRoutes(packages, parts, admission));
      await api.register(async (credentials) => credentialRoutes(credentials, parts, admission));
      openapiRoute(api);
    },
    { prefix: "/api" },
  );
  addConsole(app, parts, admission);
  return app;
}

/** Lets pages of these origins call the API and read its answers; their preflights, which show no credential, are answered before anybody asks for one. */
export function permitPages(app: FastifyInstance, origins: readonly string[]): void {
  app.addHook("onRequest", async (request, reply) => {
    const lines = preflightLines(request.method, headerOf(request.headers), origins);
    return lines && reply.code(204).headers(Object.fromEntries(lines)).send();
  });
  app.addHook("onSend", async (request, reply) => {
    const names = Object.keys(reply.getHeaders()).map((name) => name.toLowerCase());
    reply.headers(Object.fromEntries(permissionLines(headerOf(request.headers), origins, names)));
  });
}
