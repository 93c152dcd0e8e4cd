import { hash, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import type { IncomingHttpHeaders } from "node:http";
import swagger from "@fastify/swagger";
import { fastify, type FastifyInstance } from "fastify";
import type { Clock } from "../../../lib/clock.ts";
import { type ConnectionLimitOptions, createConnectionLimits, limitConnections } from "../../../lib/connection-limits.ts";
import { Fault } from "../../../lib/fault.ts";
import { LONGEST_TOKEN, type Signers, verifyToken } from "../../../lib/jwks/signers.ts";
import type { Log } from "../../../lib/log.ts";
import { maskedPath } from "../../../lib/masked-path.ts";
import { parseBody } from "../../../lib/parse-json.ts";
import type { PrivateListeners } from "../../../lib/refused-addresses.ts";
import type { Driver } from "../../driver.ts";
import { answerFault, sendFault, toFault } from "./answer-fault.ts";
import { type DeployRouteDeps, deployRoutes } from "./deploy-routes.ts";
import { DEPLOY_LIMITS, type DeployLimits, openDeploys } from "./deploys.ts";
import { createServiceNames } from "./parse-spec.ts";
import { serviceRoutes } from "./service-routes.ts";
import { eventRoutes, openStreams } from "./streams.ts";
import { answers, INFO } from "./wire-schemas.ts";
import { createBulkhead } from "./work.ts";

/** How long a client may take to send a request. */
const REQUEST_TIMEOUT_MS = 60_000;
const PROBE_AFTER_MS = 30_000;
/** A spec's variables hold credentials and other short texts. */
const LARGEST_BODY = 1_048_576;
const LONGEST_PATH_PART = 512;
const MOST_CONNECTIONS = 2_048;
/** So that one client cannot use all connections. */
const MOST_OF_ONE_ADDRESS = MOST_CONNECTIONS / 2;
const MOST_STREAMS = 512;
const MOST_VALIDATIONS = 64;
const BACKLOG = 1_024;

declare module "fastify" {
  interface FastifyContextConfig {
    /** Without authentication. */
    open?: boolean;
  }
}

/** As `server.listen` takes it. */
type SpawnerListenOptions = { host: string; port: number } | object;

/**
 * The spawner's REST API over one driver. It has no state: the driver's orchestrator has it. `close` ends connections without waiting: a running deploy is
 * neither undone nor finished, and the next request for it adopts it.
 */
export async function openSpawner(parts: {
  driver: Driver;
  callers: Callers;
  environment: string;
  /** The address of the API for containers whose deploy has none. */
  apiUrl?: string | undefined;
  version: string;
  /** The life of a connection without a request. */
  keepAliveTimeoutMs: number;
  at: SpawnerListenOptions;
  /** Refuses connections from containers. */
  listeners?: PrivateListeners | undefined;
  limits?: Partial<DeployLimits & { streams: number; connections: number; connectionsPerAddress: number }>;
  /** Counts refused connections. */
  refused?: ConnectionLimitOptions["refused"];
  clock: Clock;
  log: Log;
}): Promise<{ address(): ReturnType<FastifyInstance["server"]["address"]>; close(): Promise<void> }> {
  const { driver, environment, version, clock, log } = parts;
  const deploys = openDeploys({ driver, limits: { ...DEPLOY_LIMITS, ...parts.limits }, clock, log });
  const app = await buildApp(parts, {
    driver,
    environment,
    apiUrl: parts.apiUrl,
    version,
    deploys,
    names: createServiceNames({ driver, environment, isDeploying: deploys.isDeploying }),
    validations: createBulkhead(MOST_VALIDATIONS, "validations"),
    streams: openStreams({ most: parts.limits?.streams ?? MOST_STREAMS, clock, log }),
    clock,
    log,
  });
  const { server } = app;
  const { connections: total = MOST_CONNECTIONS, connectionsPerAddress: perAddress = MOST_OF_ONE_ADDRESS } = parts.limits ?? {};
  limitConnections(server, createConnectionLimits({ perAddress, total, ...(parts.refused && { refused: parts.refused }), clock, log }));
  parts.listeners?.guard(server);
  // Not by Fastify: it may be a socket that another process has bound.
  if ("port" in parts.at) server.listen({ ...parts.at, backlog: BACKLOG });
  else server.listen(parts.at, BACKLOG);
  await once(server, "listening");
  return {
    address: () => server.address(),
    close: async () => {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
      await app.close();
    },
  };
}

async function buildApp(
  { callers, keepAliveTimeoutMs }: { callers: Callers; keepAliveTimeoutMs: number },
  parts: DeployRouteDeps & { version: string },
): Promise<FastifyInstance> {
  const { driver, environment, version, log } = parts;
  const app = fastify({
    bodyLimit: LARGEST_BODY,
    exposeHeadRoutes: false,
    // Detects a vanished client of a silent log, whose response would last as long as the service.
    http: { keepAlive: true, keepAliveInitialDelay: PROBE_AFTER_MS },
    keepAliveTimeout: keepAliveTimeoutMs,
    requestTimeout: REQUEST_TIMEOUT_MS,
    routerOptions: { maxParamLength: LONGEST_PATH_PART },
    // A malformed path reaches neither a route nor a hook.
    frameworkErrors: (error, _request, reply) => sendFault(reply, toFault(error, log, {})),
  });
  app.setErrorHandler(answerFault(log));
  app.setNotFoundHandler((request) => {
    throw new Fault("ROUTE_NOT_FOUND", `There is no ${request.method} ${maskedPath(request.url.split("?", 1)[0] ?? "").slice(0, 200)}.`);
  });
  app.addHook("onRequest", async (request, reply) => {
    reply.header("cache-control", "no-store");
    if (request.routeOptions.config.open !== true) await callers.admit(request.headers);
  });
  // The routes parse requests themselves, for readable faults. A body is JSON, whatever its content type.
  app.setValidatorCompiler(() => () => true);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "string" }, (_request, body, done) => {
    try {
      done(null, body === "" ? undefined : parseBody(String(body)));
    } catch (error) {
      done(error as Fault);
    }
  });
  await app.register(swagger, {
    openapi: {
      info: { title: "berth spawner", version },
      components: {
        securitySchemes: {
          key: { type: "apiKey", in: "header", name: "X-Api-Key" },
          token: { type: "http", scheme: "bearer", bearerFormat: "JWT" },
        },
      },
      security: [{ key: [] }, { token: [] }],
    },
  });
  await app.register(async (api) => {
    const config = { open: true };
    api.get(
      "/info",
      {
        config,
        exposeHeadRoute: true,
        schema: { tags: ["server"], summary: "Name, version and driver; for health checks", security: [], response: answers(INFO) },
      },
      () => ({ name: "berth", version, driver: driver.name, environment }),
    );
    deployRoutes(api, parts);
    serviceRoutes(api, parts);
    eventRoutes(api, parts);
    api.get("/openapi.json", { config, schema: { hide: true } }, () => app.swagger());
  });
  await app.ready();
  return app;
}

/** Authenticates callers: by the key, or by a token that a Datagrok server has made for spawners. Faults: TOKEN_MISSING, TOKEN_INVALID, TOKEN_KEYS_UNKNOWN. */
export type Callers = { admit(headers: IncomingHttpHeaders): Promise<void> };

/** Marks a token as one for spawners. A token for registries has another mark: any user gets one and chooses its audience. */
const LIMIT = "spawner";

type CallerDeps = { key: string; audience: string; signers: Signers | undefined; clock: Clock };

/** `signers` is undefined if no server is configured whose tokens could be verified. */
export function openCallers({ key, audience, signers, clock }: CallerDeps): Callers {
  const expected = hash("sha256", key, "buffer");
  return {
    admit: async (headers) => {
      const shown = headers["x-api-key"];
      // Hashes have one length, so that the comparison takes the same time for any key.
      if (typeof shown === "string" && timingSafeEqual(hash("sha256", shown, "buffer"), expected)) return;
      const token = /^bearer\s+(\S+)\s*$/i.exec(headers.authorization ?? "")?.[1];
      if (token !== undefined) return admitToken(token);
      if (shown !== undefined) throw new Fault("TOKEN_INVALID", "The X-Api-Key is not this spawner's; see X_API_KEY.");
      throw new Fault("TOKEN_MISSING", "X-Api-Key is missing, or Authorization: Bearer with a token for this spawner.");
    },
  };

  async function admitToken(token: string): Promise<void> {
    if (!signers) throw new Fault("TOKEN_INVALID", "This spawner has no server whose tokens it could verify: set DATAGROK_URL, or send X-Api-Key.");
    if (token.length > LONGEST_TOKEN) throw new Fault("TOKEN_INVALID", "The token is longer than any token is.");
    const { lim = LIMIT } = await verifyToken(token, { ...signers, audience, clock });
    if (lim !== LIMIT) throw new Fault("TOKEN_INVALID", "The token is not for a spawner.");
  }
}
