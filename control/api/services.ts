import type { FastifyInstance } from "fastify";
import { Fault } from "../../lib/fault.ts";
import type { Authorization } from "./authorization.ts";
import type { ApiDeps } from "./api-deps.ts";
import { clientAbortSignal } from "./api-error.ts";
import { containerLogs, LOG_LINES, MOST_LOG_LINES } from "./container-logs.ts";
import { mayManagePackage, requireManage } from "../identity/rights.ts";
import { responses } from "./schemas.ts";

const NAME_PARAMS = { type: "object", properties: { name: { type: "string", description: "a container's `serviceName`" } }, required: ["name"] };
/** A client that was given no limit sends the word `null`. */
const LOGS_QUERY = { type: "object", properties: { limit: { type: "string", description: `lines; ${LOG_LINES} where it is no number` } } };

/** Containers under the names that the orchestrator knows them by. */
export function serviceRoutes(app: FastifyInstance, { store, driverLogs }: ApiDeps, admission: Authorization): void {
  const tags = ["docker services"];

  app.get(
    "/docker/services",
    {
      schema: {
        tags,
        summary: "Names of services",
        description: "Of the containers that the caller may manage.",
        response: responses({ type: "array", items: { type: "string" } }),
      },
    },
    (request) => {
      const caller = admission.caller(request);
      const may = new Map<string, boolean>();
      return store.containers.services().flatMap(({ service, packageId }) => {
        const allowed = may.get(packageId) ?? mayManagePackage(store, caller, packageId);
        may.set(packageId, allowed);
        return allowed ? [service] : [];
      });
    },
  );

  app.get<{ Params: { name: string }; Querystring: { limit?: string } }>(
    "/docker/services/:name/logs",
    {
      schema: {
        tags,
        summary: "The last lines that a service wrote",
        params: NAME_PARAMS,
        querystring: LOGS_QUERY,
        response: responses({ type: "string" }),
      },
    },
    async (request, reply) => {
      const container = store.containers.byService(request.params.name);
      // Not 404, which clients take for logs that are empty.
      if (!container) throw new Fault("REQUEST_INVALID", `There is no service ${JSON.stringify(request.params.name.slice(0, 100))}.`);
      requireManage(store, admission.caller(request), container.packageId);
      const text = await containerLogs(driverLogs, container, readLimit(request.query.limit), clientAbortSignal(reply));
      return reply.type("application/json; charset=utf-8").serializer(String).send(JSON.stringify(text));
    },
  );
}

function readLimit(word: string | undefined): number {
  const lines = Number(word);
  return Number.isInteger(lines) && lines > 0 ? Math.min(lines, MOST_LOG_LINES) : LOG_LINES;
}
