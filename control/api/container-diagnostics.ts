import type { FastifyInstance } from "fastify";
import { Fault } from "../../lib/fault.ts";
import { CONTAINER_WIRE_STATES } from "../model/states.ts";
import { KEEPS_AWAKE, TIMERS } from "../lifecycle/explain/timers.ts";
import type { Explanation } from "../lifecycle/explain/explain-container.ts";
import type { Authorization } from "./authorization.ts";
import type { ApiDeps } from "./api-deps.ts";
import { clientAbortSignal } from "./api-error.ts";
import { HISTORY, historyEntryToJson } from "./history-routes.ts";
import { requireManage } from "../identity/rights.ts";
import { parseUuid } from "./find-entities.ts";
import { isoDate } from "./entity-json.ts";
import { responses, ID_PARAMS } from "./schemas.ts";

const text = { type: "string" } as const;
const date = { type: "string", format: "date-time" } as const;
const sentence = { type: "string", description: "a sentence for people, which may change; programs go by the fields beside it" } as const;

const EXPLANATION = {
  type: "object",
  properties: {
    id: text,
    name: text,
    status: { type: "string", description: "a status, as everywhere" },
    since: date,
    why: sentence,
    wish: {
      type: "object",
      properties: {
        instances: { type: "integer" },
        by: { type: ["string", "null"], description: "the login of who asked last" },
        time: { type: ["string", "null"], format: "date-time", description: "when its last start was asked for" },
      },
    },
    next: {
      type: "array",
      description: "what happens by itself, the next first",
      items: { type: "object", properties: { kind: { type: "string", enum: TIMERS }, time: date, says: sentence } },
    },
    awake: {
      type: "array",
      description: "what keeps it from its idle stop",
      items: { type: "object", properties: { kind: { type: "string", enum: KEEPS_AWAKE }, says: sentence } },
    },
    failure: {
      type: ["object", "null"],
      description: "the last one that is remembered",
      properties: { time: date, code: text, message: text, logs: { type: "array", items: text, description: "its last lines, oldest first" } },
    },
    engine: {
      type: "object",
      description: "what the orchestrator says now",
      properties: {
        says: sentence,
        running: { type: ["boolean", "null"], description: "null: it has no such service, or cannot be asked" },
        address: { type: ["string", "null"] },
        port: { type: ["integer", "null"] },
        exitCode: { type: ["integer", "null"] },
        outOfMemory: { type: ["boolean", "null"] },
      },
    },
    history: HISTORY,
  },
} as const;

/** Why a container is as it is, in one answer. For whoever may see its logs. */
export function explainRoutes(app: FastifyInstance, { store, lifecycle }: ApiDeps, admission: Authorization): void {
  app.get<{ Params: { id: string } }>(
    "/docker/containers/:id/explain",
    { schema: { tags: ["docker containers"], summary: "Why a container is as it is", params: ID_PARAMS, response: responses(EXPLANATION) } },
    async (request, reply) => {
      const container = store.containers.find(parseUuid(request.params.id));
      if (!container) throw new Fault("CONTAINER_NOT_FOUND", `There is no container ${request.params.id}.`);
      requireManage(store, admission.caller(request), container.packageId);
      const explained = await lifecycle.explain(container.id, clientAbortSignal(reply));
      const { wishedBy } = explained.container;
      return onWire(store, explained, wishedBy === undefined ? undefined : store.users.find(wishedBy)?.login);
    },
  );
}

function onWire(
  store: Pick<ApiDeps["store"], "users">,
  { container, why, history, timers, awake, failure, engine }: Explanation,
  by: string | undefined,
) {
  const { fact } = engine;
  return {
    id: container.id,
    name: container.name,
    status: CONTAINER_WIRE_STATES[container.state],
    since: isoDate(container.since),
    why,
    wish: { instances: container.desiredInstances, by: by ?? null, time: container.wishedOn === 0 ? null : isoDate(container.wishedOn) },
    next: timers.map(({ kind, at, says }) => ({ kind, time: isoDate(at), says })),
    awake,
    failure: failure ? { time: isoDate(failure.at), code: failure.code, message: failure.message, logs: failure.logs } : null,
    engine: {
      says: engine.says,
      running: fact?.running ?? null,
      address: fact?.address?.host ?? null,
      port: fact?.address?.port ?? null,
      exitCode: fact?.exit?.code ?? null,
      outOfMemory: fact?.exit?.outOfMemory ?? null,
    },
    history: history.map((entry) => historyEntryToJson(entry, CONTAINER_WIRE_STATES, store)),
  };
}
