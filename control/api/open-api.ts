import swagger from "@fastify/swagger";
import { fastify, type FastifyInstance } from "fastify";
import { chmod, rm } from "node:fs/promises";
import type { RequestListener } from "node:http";
import { permissionLines, preflightLines } from "../../lib/browser-requests.ts";
import { Fault } from "../../lib/fault.ts";
import { maskedPath } from "../../lib/masked-path.ts";
import type { ApiDeps } from "./api-deps.ts";
import { sendErrors } from "./api-error.ts";
import { auditRoutes } from "./audit.ts";
import { createAuthorization, headerOf } from "./authorization.ts";
import { compressResponses } from "./compress-responses.ts";
import { diagnosticsRoutes } from "./container-diagnostics.ts";
import { containerRoutes } from "./containers.ts";
import { addCredentialRoutes } from "./credentials.ts";
import { addDockerTokenRoutes } from "./docker-tokens.ts";
import { addEventRoutes } from "./events.ts";
import { imageRoutes } from "./images.ts";
import { importRoutes } from "./imports.ts";
import { createSendList } from "./lists.ts";
import { openLiveStreams } from "./live-streams.ts";
import { addPackageRoutes } from "./packages.ts";
import { recordAudit } from "./record-audit.ts";
import { imageUsage, lastPushes } from "./registry-usage.ts";
import { registryRoutes, repositoryOwnerRoutes } from "./registry.ts";
import { addRoutes, type RouteDeps } from "./route.ts";
import { openApiRoute, overviewRoutes, serverRoutes, watchUntrustedProxies } from "./server.ts";
import { orphanRoutes, serviceRoutes } from "./services.ts";
import { signingKeyRoutes } from "./signing-keys.ts";
import { signInRoutes, userRoutes } from "./users.ts";

/** How long a client may take to send a request with its package. */
const REQUEST_TIMEOUT_MS = 15 * 60_000;
/** Paths contain keys and names that are longer than the router's default limit. */
const LONGEST_PATH_PART = 512;

/** Adds the console's pages and sign-in to the same server. */
export type AddConsole = (app: FastifyInstance, deps: RouteDeps) => void;

/** Statuses of refused callers. */
const REFUSED = new Set([401, 403, 429]);

/**
 * The Datagrok-compatible REST API, on a Unix socket that only this user can open. It authenticates every request itself. It replaces what an earlier process
 * left at `socketPath`. `answer` is for requests of other listeners; `close` also ends requests that wait.
 */
export async function openApi(
  deps: ApiDeps & { socketPath: string },
  addConsole: AddConsole,
): Promise<{ answer: RequestListener; close(): Promise<void> }> {
  const app = await createApi(deps, addConsole);
  await rm(deps.socketPath, { force: true });
  await app.listen({ path: deps.socketPath });
  await chmod(deps.socketPath, 0o600);
  return { answer: app.routing, close: () => app.close() };
}

/** Without a listener. */
export async function createApi(deps: ApiDeps, addConsole: AddConsole): Promise<FastifyInstance> {
  const app = fastify({
    exposeHeadRoutes: false,
    forceCloseConnections: true,
    requestTimeout: REQUEST_TIMEOUT_MS,
    return503OnClosing: true,
    routerOptions: { maxParamLength: LONGEST_PATH_PART },
  });
  const { identity, settings, store, clock } = deps;
  const pages = settings.webRoot === undefined ? settings.origins : [new URL(settings.webRoot).origin, ...settings.origins];
  const authorization = createAuthorization({ ...deps, attempts: identity.attempts, pages });

  app.setErrorHandler(sendErrors(deps.log));
  app.setNotFoundHandler((request) => {
    throw new Fault("ROUTE_NOT_FOUND", `There is no ${request.method} ${maskedPath(request.url.split("?", 1)[0] ?? "").slice(0, 200)}.`);
  });
  const proxies = watchUntrustedProxies(app, clock);
  permitPages(app, pages);
  app.addHook("onRequest", async (request, reply) => {
    reply.header("cache-control", "no-store");
    await authorization.authorize(request);
  });
  compressResponses(app);
  app.addHook("onError", async (_request, _reply, error: unknown) => {
    if (error instanceof Fault && REFUSED.has(error.status)) deps.metrics?.authFailures.at("control", error.code).add();
  });
  const routeDeps: RouteDeps = {
    ...deps,
    authorization,
    auditRecorder: recordAudit(app, deps, authorization),
    streams: openLiveStreams({ authorization, identity, clock }),
    sendList: createSendList(),
  };
  // A body that no route reads is ignored, whatever its Content-Type.
  app.addContentTypeParser("*", (_request, _payload, done) => done(null));

  await app.register(swagger, { openapi: { info: { title: "berth", version: settings.version } } });
  await app.register(
    async (api) => {
      const pushes = async (repository: string) => {
        const last = await lastPushes(store, repository);
        return (tag: string) => last.get(tag);
      };
      addRoutes(api, [
        ...serverRoutes(deps),
        ...signInRoutes(routeDeps),
        ...userRoutes(routeDeps),
        ...containerRoutes(routeDeps),
        ...diagnosticsRoutes(routeDeps),
        ...imageRoutes(routeDeps),
        ...serviceRoutes(routeDeps),
        ...auditRoutes(deps),
        ...orphanRoutes(deps),
        ...importRoutes(routeDeps),
        ...signingKeyRoutes(deps),
        ...registryRoutes({ registry: deps.registry, usage: () => imageUsage(store), pushes }),
        ...repositoryOwnerRoutes(deps),
        ...overviewRoutes({ ...deps, proxies }),
      ]);
      addEventRoutes(api, routeDeps);
      await api.register(async (tokens) => addDockerTokenRoutes(tokens, routeDeps));
      await api.register(async (packages) => addPackageRoutes(packages, routeDeps));
      await api.register(async (credentials) => addCredentialRoutes(credentials, routeDeps));
      addRoutes(api, [openApiRoute(api)]);
    },
    { prefix: "/api" },
  );
  addConsole(app, routeDeps);
  return app;
}

/** Allows pages of these origins to call the API and to read its responses. Their preflights have no credential, so they are answered before authorization. */
function permitPages(app: FastifyInstance, origins: readonly string[]): void {
  app.addHook("onRequest", async (request, reply) => {
    const lines = preflightLines(request.method, headerOf(request.headers), origins);
    return lines && reply.code(204).headers(Object.fromEntries(lines)).send();
  });
  app.addHook("onSend", async (request, reply) => {
    const names = Object.keys(reply.getHeaders()).map((name) => name.toLowerCase());
    reply.headers(Object.fromEntries(permissionLines(headerOf(request.headers), origins, names)));
  });
}
