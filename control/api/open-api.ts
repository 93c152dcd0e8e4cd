import swagger from "@fastify/swagger";
import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { chmod, rm } from "node:fs/promises";
import type { RequestListener } from "node:http";
import { permissionLines, permittedOrigin, preflightLines } from "../../lib/browser-requests.ts";
import { Fault } from "../../lib/fault.ts";
import { maskedPath } from "../../lib/masked-path.ts";
import { refuseManyValues } from "../../lib/parse-json.ts";
import type { ApiDeps } from "./api-deps.ts";
import { sendErrors } from "./api-error.ts";
import { accountRoutes, ownAccountRoutes } from "./accounts.ts";
import { auditRoutes, openApiRoute, overviewRoutes, serverRoutes, settingsRoutes, watchUntrustedProxies } from "./server.ts";
import { clientAddress, createAuthorization, headerOf } from "./authorization.ts";
import { diagnosticsRoutes } from "./container-diagnostics.ts";
import { containerActionRoutes } from "./container-actions.ts";
import { containerRowRoutes } from "./container-rows.ts";
import { containerRoutes } from "./containers.ts";
import { addCredentialRoutes } from "./credentials.ts";
import { addDockerTokenRoutes, signingKeyRoutes } from "./docker-tokens.ts";
import { electionRoutes } from "./election.ts";
import { addEventRoutes } from "./events.ts";
import { imageRoutes } from "./images.ts";
import { lazyCompilers } from "./lazy-compilers.ts";
import { addImportRoutes, addPackageRoutes } from "./packages.ts";
import { oidcRoutes } from "./oidc.ts";
import { packageVersionRoutes } from "./package-versions.ts";
import { createSendList } from "./lists.ts";
import { openLiveStreams } from "./live-streams.ts";
import { recordAudit } from "./record-audit.ts";
import { registryGarbageRoutes } from "./registry-garbage.ts";
import { imageUsage, lastPushes, registryRoutes, repositoryOwnerRoutes } from "./registry.ts";
import { addRoutes, type RouteDeps } from "./route.ts";
import { seriesRoutes } from "./series.ts";
import { warmUpRoutes } from "./warm-up.ts";
import { orphanRoutes, serviceRoutes } from "./services.ts";
import { refuseServerPaths, serverListRoutes } from "./server-lists.ts";
import { openShells } from "./shells.ts";
import { trustedPublisherRoutes } from "./trusted-publishers.ts";
import { answerUpgrades, isApiUpgrade } from "./upgrades.ts";
import { signInRoutes, userRoutes } from "./users.ts";
import { webhookRoutes } from "./webhooks.ts";
import { Readable } from "node:stream";
import { promisify } from "node:util";
import { constants, createGzip, gzip } from "node:zlib";
import { clientOf } from "../identity/attempts.ts";

/** How long a client may take to send a request with its package. */
export const REQUEST_TIMEOUT_MS = 15 * 60_000;
/** Paths contain keys and names that are longer than the router's default limit. */
const LONGEST_PATH_PART = 512;

/** Adds the console's pages and sign-in to the same server. */
export type AddConsole = (app: FastifyInstance, deps: RouteDeps) => void;

/** Statuses of refused callers. */
const REFUSED = new Set([401, 403, 429]);

/**
 * The Datagrok-compatible REST API, on a Unix socket that only this user can open. It authenticates every request itself. It replaces what an earlier process
 * left at `socketPath`; undefined: no socket of its own. `answer` is for requests of other listeners; `closeShells` comes before they close; `close` also ends requests that wait.
 */
export async function openApi(
  deps: ApiDeps & { socketPath: string | undefined },
  addConsole: AddConsole,
): Promise<{ answer: RequestListener; closeShells(): Promise<void>; close(): Promise<void> }> {
  const { app, closeShells } = await createApi(deps, addConsole);
  if (deps.socketPath === undefined) await app.ready();
  else {
    await rm(deps.socketPath, { force: true });
    await app.listen({ path: deps.socketPath });
    await chmod(deps.socketPath, 0o600);
  }
  return { answer: app.routing, closeShells, close: () => app.close() };
}

/** Without a listener. */
export async function createApi(deps: ApiDeps, addConsole: AddConsole): Promise<{ app: FastifyInstance; closeShells(): Promise<void> }> {
  const app = fastify({
    exposeHeadRoutes: false,
    forceCloseConnections: true,
    requestTimeout: REQUEST_TIMEOUT_MS,
    http: { shouldUpgradeCallback: isApiUpgrade },
    return503OnClosing: true,
    routerOptions: { maxParamLength: LONGEST_PATH_PART },
    schemaController: { compilersFactory: lazyCompilers() },
  });
  answerUpgrades(app.server, app.routing);
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
  // Before the credentials are verified, the client's address stands for the user.
  app.addHook("preHandler", (request, { raw }, done) =>
    store.queueAs(() => (raw.writableEnded ? undefined : (authorization.actor(request)?.userId ?? clientOf(clientAddress(request) ?? ""))), done),
  );
  refuseServerPaths(app);
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
  const shells = openShells(routeDeps);
  app.addHook("preClose", () => shells.close());
  // A body that no route reads is ignored, whatever its Content-Type.
  app.addContentTypeParser("*", (_request, _payload, done) => done(null));
  // The publishing tools' client names this type with every request, also with one that has no body.
  const parseJson = app.getDefaultJsonParser("error", "error");
  app.addContentTypeParser<string>("application/json", { parseAs: "string" }, (request, body, done) => {
    try {
      refuseManyValues(body);
    } catch (error) {
      return done(error as Fault);
    }
    return body === "" ? done(null, undefined) : void parseJson(request, body, done);
  });

  await app.register(swagger, { openapi: { info: { title: "berth", version: settings.version } } });
  await app.register(
    async (api) => {
      const pushes = async (repository: string) => {
        const last = await lastPushes(store, repository);
        return (tag: string) => last.get(tag);
      };
      const groups = [
        () => serverRoutes(deps),
        () => signInRoutes(routeDeps),
        () => oidcRoutes(routeDeps),
        () => ownAccountRoutes(routeDeps),
        () => userRoutes(routeDeps),
        () => accountRoutes(routeDeps),
        () => serverListRoutes(routeDeps),
        // Before those with an id in the same place.
        () => containerRowRoutes(routeDeps),
        () => containerRoutes(routeDeps),
        () => containerActionRoutes(routeDeps),
        () => diagnosticsRoutes(routeDeps),
        () => shells.routes,
        () => seriesRoutes(routeDeps),
        () => warmUpRoutes(routeDeps),
        () => imageRoutes(routeDeps),
        () => serviceRoutes(routeDeps),
        () => auditRoutes(deps),
        () => settingsRoutes(deps),
        () => webhookRoutes(routeDeps),
        () => electionRoutes(deps),
        () => orphanRoutes(deps),
        () => packageVersionRoutes(routeDeps),
        () => signingKeyRoutes(deps),
        () => trustedPublisherRoutes(routeDeps),
        () => registryRoutes({ registry: deps.registry, usage: () => imageUsage(store), pushes }),
        () => repositoryOwnerRoutes(deps),
        () => registryGarbageRoutes(deps),
        () => overviewRoutes({ ...deps, proxies }),
      ];
      for (const group of groups) {
        addRoutes(api, group());
        // A new leader answers gateways meanwhile.
        await new Promise(setImmediate);
      }
      addEventRoutes(api, routeDeps);
      await api.register(async (tokens) => addDockerTokenRoutes(tokens, routeDeps));
      await api.register(async (packages) => addPackageRoutes(packages, routeDeps));
      await api.register(async (imports) => addImportRoutes(imports, routeDeps));
      await api.register(async (credentials) => addCredentialRoutes(credentials, routeDeps));
      addRoutes(api, [openApiRoute(api)]);
    },
    { prefix: "/api" },
  );
  addConsole(app, routeDeps);
  return { app, closeShells: shells.close };
}

/** Allows pages of these origins to call the API and to read its responses. Their preflights have no credential, so they are answered before authorization. */
function permitPages(app: FastifyInstance, origins: readonly string[]): void {
  app.addHook("onRequest", async (request, reply) => {
    const lines = preflightLines(request.method, headerOf(request.headers), origins);
    return lines && reply.code(204).headers(Object.fromEntries(lines)).send();
  });
  app.addHook("onSend", async (request, reply) => {
    const names = Object.keys(reply.getHeaders()).map((name) => name.toLowerCase());
    const origin = permittedOrigin(request.headers.origin, origins);
    if (origin !== undefined) reply.headers(Object.fromEntries(permissionLines(origin, names)));
  });
}

/** Below this, gzip saves a few packets of the first ten, which no client waits for, and takes several times the processor time of the response itself. */
const SMALLEST_BYTES = 4_096;
/** Zlib uses Node's thread pool, which file access shares. Above this, responses are sent uncompressed. */
const MAX_AT_ONCE = 16;
/** JSON becomes a tenth at the lowest level already. */
const OPTIONS = { level: constants.Z_BEST_SPEED };
const COMPRESSIBLE = /^(?:application\/json|text\/(?:html|css|javascript)|image\/svg\+xml)(?:;|$)/;

const compress = promisify<Buffer | string, typeof OPTIONS, Buffer>(gzip);

/**
 * Compresses JSON and pages with gzip where the client accepts it, outside the event loop. Not for requests with a cookie that another page made:
 * with those, a page could guess secrets in an answer from its length, beside words of its own choice (BREACH). Event streams and logs are sent as they are.
 */
function compressResponses(app: FastifyInstance): void {
  let running = 0;
  /** Unchanged files and documents are compressed once. */
  const cache = new WeakMap<Buffer, Promise<Buffer>>();

  const compressed = async (payload: Buffer | string): Promise<Buffer | undefined> => {
    const cached = typeof payload === "string" ? undefined : cache.get(payload);
    if (cached) return cached;
    if (running >= MAX_AT_ONCE) return undefined;
    running++;
    const made = compress(payload, OPTIONS).finally(() => running--);
    if (typeof payload !== "string") cache.set(payload, made);
    return made;
  };

  app.addHook("onSend", async (request, reply, payload) => {
    if (!isCompressible(request, reply)) return payload;
    reply.header("vary", "Accept-Encoding");
    if (!acceptsGzip(request.headers["accept-encoding"]) || !isOfOwnPage(request)) return payload;
    if (payload instanceof Readable) {
      encoded(reply);
      const zipped = createGzip(OPTIONS);
      payload.once("error", (error) => zipped.destroy(error));
      zipped.once("close", () => payload.destroy());
      return payload.pipe(zipped);
    }
    if (!(typeof payload === "string" || Buffer.isBuffer(payload)) || Buffer.byteLength(payload) < SMALLEST_BYTES) return payload;
    const bytes = await compressed(payload);
    if (bytes === undefined) return payload;
    encoded(reply);
    return bytes;
  });
}

function encoded(reply: FastifyReply): void {
  reply.header("content-encoding", "gzip").removeHeader("content-length");
}

function isCompressible(request: FastifyRequest, reply: FastifyReply): boolean {
  if (request.method !== "GET" || request.routeOptions.config.uncompressed === true || reply.statusCode === 304) return false;
  return COMPRESSIBLE.test(String(reply.getHeader("content-type") ?? "")) && reply.getHeader("content-encoding") === undefined;
}

function isOfOwnPage({ headers }: FastifyRequest): boolean {
  return headers.cookie === undefined || headers["sec-fetch-site"] === "same-origin";
}

/** Source: RFC 9110, section 12.5.3. */
function acceptsGzip(header: string | string[] | undefined): boolean {
  const codings = String(header ?? "")
    .slice(0, 1_000)
    .toLowerCase()
    .split(",")
    .map((coding) => coding.split(";").map((part) => part.trim()));
  const [, quality = "q=1"] = codings.find(([name]) => name === "gzip") ?? codings.find(([name]) => name === "*") ?? ["", "q=0"];
  return !/^q=0(?:\.0*)?$/.test(quality);
}
