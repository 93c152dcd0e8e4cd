import type { FastifyInstance } from "fastify";
import { Fault } from "../../lib/fault.ts";
import { CONTAINER_WIRE_STATES, IMAGE_WIRE_STATES } from "../model/states.ts";
import { HISTORY_LENGTH, type HistoryEntry } from "../store/history.ts";
import type { Authorization } from "./authorization.ts";
import type { ApiDeps } from "./api-deps.ts";
import { requireManage } from "../identity/rights.ts";
import { parseUuid } from "./find-entities.ts";
import { responses, ID_PARAMS } from "./schemas.ts";

const text = { type: "string" } as const;
export const HISTORY = {
  type: "array",
  items: {
    type: "object",
    properties: {
      time: { type: "string", format: "date-time" },
      from: { type: "string", description: "a status, as everywhere" },
      to: text,
      event: { type: "string", description: "what moved it, e.g. `startWished`, `answered`, `lost`" },
      by: { type: "string", description: "the id of the user who wished it, else `system`" },
      login: { type: ["string", "null"], description: "of that user, while there is one" },
      cause: { type: ["object", "null"], description: "of a failure", properties: { code: text, message: text } },
    },
  },
} as const;

type ById = { Params: { id: string } };

/** What became of a container or an image: its last moves, oldest first. For whoever may see its logs. */
export function historyRoutes(app: FastifyInstance, { store }: ApiDeps, admission: Authorization): void {
  const summary = (of: string) => `The last ${HISTORY_LENGTH} moves of ${of}, oldest first`;
  const schema = { params: ID_PARAMS, response: responses(HISTORY) };

  app.get<ById>(
    "/docker/containers/:id/history",
    { schema: { ...schema, tags: ["docker containers"], summary: summary("a container") } },
    (request) => {
      const container = store.containers.find(parseUuid(request.params.id));
      if (!container) throw new Fault("CONTAINER_NOT_FOUND", `There is no container ${request.params.id}.`);
      requireManage(store, admission.caller(request), container.packageId);
      return store.history.of(container.id).map((entry) => historyEntryToJson(entry, CONTAINER_WIRE_STATES, store));
    },
  );

  app.get<ById>("/docker/images/:id/history", { schema: { ...schema, tags: ["docker images"], summary: summary("an image") } }, (request) => {
    const image = store.images.find(parseUuid(request.params.id));
    if (!image) throw new Fault("IMAGE_ENTITY_NOT_FOUND", `There is no image ${request.params.id}.`);
    requireManage(store, admission.caller(request), image.packageId);
    return store.history.of(image.id).map((entry) => historyEntryToJson(entry, IMAGE_WIRE_STATES, store));
  });
}

/** A move in the words of the API; `words` are the states'. */
export function historyEntryToJson(
  { at, fromState, toState, event, byUser, cause }: HistoryEntry,
  words: Record<string, string>,
  { users }: Pick<ApiDeps["store"], "users">,
) {
  return {
    time: new Date(at).toISOString(),
    from: words[fromState] ?? fromState,
    to: words[toState] ?? toState,
    event,
    by: byUser ?? "system",
    login: (byUser === undefined ? undefined : users.find(byUser)?.login) ?? null,
    cause: cause ?? null,
  };
}
