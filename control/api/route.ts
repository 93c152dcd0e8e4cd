import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Static, TSchema } from "typebox";
import type { ApiDeps } from "./api-deps.ts";
import type { Authorization } from "./authorization.ts";
import type { SendList } from "./lists.ts";
import type { LiveStreams } from "./live-streams.ts";
import type { AuditRecorder, RouteAudit } from "./record-audit.ts";
import { responses } from "./schemas.ts";

/** What routes work with, beside the parts of control. */
export type RouteDeps = ApiDeps & { authorization: Authorization; auditRecorder: AuditRecorder; streams: LiveStreams; sendList: SendList };

/**
 * Who may call a route. `session`: a user with a session or a developer key. `account`: a user with a developer key, or with a session that containers and
 * pages at the edge cannot use: of the console, or with administration. `publisher`: as `session`, and CI jobs with their tokens. `admin`: an administrator with a developer key, or with a session
 * that has administration. `handler`: the handler authorizes the request.
 */
export type RouteAuthorization = "anyone" | "session" | "publisher" | "account" | "admin" | "handler";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Undefined: `session`. */
    authorize?: RouteAuthorization;
    /** The response contains a token or key: its length must reveal nothing about it. */
    uncompressed?: boolean;
  }
}

export type RouteSchema = {
  tags?: readonly string[];
  summary?: string;
  description?: string;
  deprecated?: boolean;
  /** Leaves the route out of the OpenAPI document. */
  hide?: boolean;
  consumes?: string[];
  produces?: string[];
  params?: TSchema;
  querystring?: TSchema;
  headers?: TSchema;
  body?: TSchema;
  /** Of status 200. */
  response?: TSchema;
  /** Of status 4xx and 5xx; undefined: `ApiError`. */
  error?: TSchema;
};

type StaticPart<S, Part extends keyof RouteSchema> = S extends Record<Part, infer T extends TSchema> ? Static<T> : unknown;

export type RouteRequest<S extends RouteSchema> = FastifyRequest<{
  Params: StaticPart<S, "params">;
  Querystring: StaticPart<S, "querystring">;
  Headers: StaticPart<S, "headers">;
  Body: StaticPart<S, "body">;
}>;

/** A GET changes something if it has an `audit`; every other method needs one. */
export type RouteDefinition<S extends RouteSchema> = {
  path: string;
  schema: S;
  authorize: RouteAuthorization;
  uncompressed?: boolean;
  /** Answers HEAD too. */
  exposeHead?: boolean;
  /** In bytes. */
  bodyLimit?: number;
  /** Returns the body of the response, or undefined or the reply after it has sent the response itself. */
  handle(request: RouteRequest<S>, reply: FastifyReply): Promise<StaticPart<S, "response"> | undefined> | FastifyReply;
} & (
  | { method: "GET"; audit?: RouteAudit<RouteRequest<S>> | "none" }
  | { method: "POST" | "PUT" | "PATCH" | "DELETE"; audit: RouteAudit<RouteRequest<S>> | "none" }
);

/** A definition that is ready to be added to a server. */
export type Route = (app: FastifyInstance) => void;

/** One route: its address, its schemas, who may call it, what the audit log records, and what it does. The schemas are the types of `handle`. */
export function route<const S extends RouteSchema>(definition: RouteDefinition<S>): Route {
  const { method, path, authorize, audit, uncompressed, exposeHead, bodyLimit, handle } = definition;
  const { response, error, ...schema }: RouteSchema = definition.schema;
  return (app) =>
    void app.route({
      method,
      url: path,
      config: { authorize, ...(audit ? { audit, mutates: true } : {}), ...(uncompressed ? { uncompressed } : {}) },
      schema: { ...schema, ...(response ? { response: responses(response, error) } : {}) },
      ...(exposeHead ? { exposeHeadRoute: true } : {}),
      ...(bodyLimit === undefined ? {} : { bodyLimit }),
      // Fastify has validated the request by the schemas that these types come from.
      handler: (request, reply) => handle(request as RouteRequest<S>, reply),
    });
}

export function addRoutes(app: FastifyInstance, routes: readonly Route[]): void {
  for (const add of routes) add(app);
}
