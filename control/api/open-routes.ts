import type { FastifyInstance } from "fastify";
import { Fault } from "../../lib/fault.ts";
import { EXCHANGE_KINDS, EXCHANGE_STATES } from "../../gateway/contract.ts";
import type { Authorization } from "./authorization.ts";
import type { ApiDeps } from "./api-deps.ts";
import type { GatewayOpenRequests } from "./open-requests.ts";
import { requireManage } from "../identity/rights.ts";
import { parseUuid } from "./find-entities.ts";
import { responses, ID_PARAMS } from "./schemas.ts";

const OPEN = {
  type: "array",
  items: {
    type: "object",
    properties: {
      gateway: { type: "string", description: "its name for as long as it is connected to control" },
      answered: { type: "boolean", description: "false: it did not say in time what it has open" },
      count: { type: "integer", description: "all that it has open; `open` lists the oldest of them" },
      open: {
        type: "array",
        items: {
          type: "object",
          properties: {
            kind: { type: "string", enum: EXCHANGE_KINDS },
            login: { type: "string", description: "whose credential the caller showed" },
            since: { type: "string", format: "date-time" },
            bytesIn: { type: "integer", description: "towards the container: of a request its body" },
            bytesOut: { type: "integer", description: "from the container, heads included" },
            state: { type: "string", enum: EXCHANGE_STATES, description: "`held` while it waits for the container" },
          },
        },
      },
    },
  },
} as const;

/** Who holds a container awake right now. No path is told: queries hold what is nobody else's business. For whoever may see its logs. */
export function openRoutes(app: FastifyInstance, { store, gateways }: ApiDeps, admission: Authorization): void {
  app.get<{ Params: { id: string } }>(
    "/docker/containers/:id/open",
    {
      schema: {
        tags: ["docker containers"],
        summary: "Requests and sockets that a container has open, by gateway",
        params: ID_PARAMS,
        response: responses(OPEN),
      },
    },
    (request) => {
      const container = store.containers.find(parseUuid(request.params.id));
      if (!container) throw new Fault("CONTAINER_NOT_FOUND", `There is no container ${request.params.id}.`);
      requireManage(store, admission.caller(request), container.packageId);
      return gateways.openRequests(container.id).then((all) => all.map(onWire));
    },
  );
}

function onWire({ gateway, answer }: GatewayOpenRequests) {
  const open = answer?.open.map((exchange) => ({ ...exchange, since: new Date(exchange.since).toISOString() })) ?? [];
  return { gateway, answered: answer !== undefined, count: answer?.count ?? 0, open };
}
