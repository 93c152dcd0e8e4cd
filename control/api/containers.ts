import { Readable } from "node:stream";
import { type Static, Type } from "typebox";
import { Fault } from "../../lib/fault.ts";
import type { CallerReply } from "../../gateway/contract.ts";
import { createManageCheck, mayStillManage, requireManage } from "../identity/rights.ts";
import { CONTAINER_WIRE_STATES } from "../model/states.ts";
import { clientAbortSignal } from "./api-error.ts";
import { createContainerAccess } from "./container-actions.ts";
import { containerLogs, followedLogs, LOG_LINES, MOST_LOG_LINES, previousLogs } from "./services.ts";
import { findLiveContainer, findLiveContainers, findReplica, type LiveContainer, parseUuid } from "./entities.ts";
import { detailOf, type ListFields, momentOf, parseListing, stateOf } from "./lists.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import { CONTAINER, count, ID_PARAMS, LIST_QUERY, nullable, REPLICA_NUMBER, text } from "./schemas.ts";

type CallerRights = Pick<CallerReply, "userId" | "admin">;

/** A failure to follow a log within this time has its status. Then the head is sent, since the container may write nothing for hours. */
const HEAD_MS = 300;

const FIELDS: ListFields = {
  id: { column: "id" },
  name: { column: "name" },
  friendlyName: { column: "friendly_name" },
  serviceName: { column: "service" },
  status: { column: "state", stored: stateOf(CONTAINER_WIRE_STATES) },
  createdOn: { column: "created_on", stored: momentOf },
  updatedOn: { column: "updated_on", stored: momentOf },
  lastActive: { column: "last_active", stored: momentOf },
};

const anyObject = { type: ["object", "null"], additionalProperties: true };
/** Clients send back the entity that they received, nulls included. Other fields belong to the server and are ignored. */
const SAVED_CONTAINER = Type.Object(
  {
    id: Type.Optional(nullable(text, { description: "a UUID" })),
    name: Type.Optional(nullable(text, { description: "required for a new container, and unique" })),
    friendlyName: Type.Optional(nullable(text)),
    dockerfile: Type.Optional(
      Type.Unsafe<{ id?: string } | null>({
        type: ["object", "null"],
        properties: { id: text },
        description: "the image; only for a new container",
      }),
    ),
    config: Type.Optional(
      Type.Unsafe<Record<string, unknown> | null>({ ...anyObject, description: "as in container.json; a key that is left out keeps its value" }),
    ),
    environmentVars: Type.Optional(
      Type.Unsafe<Record<string, unknown> | null>({ ...anyObject, description: "all variables; `***` keeps the value of one" }),
    ),
  },
  {
    description:
      "Changes the container with this `id`. Without an `id`, or with an unknown one, it creates another container of the image `dockerfile.id`, " +
      "which follows that image when its package is published again. A changed `config` or `environmentVars` replaces the running service. " +
      "The next publish overwrites what the package defines.",
  },
);

const LOGS_QUERY = Type.Object({
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: MOST_LOG_LINES, default: LOG_LINES, description: "lines" })),
  follow: Type.Optional(Type.Boolean({ default: false, description: "continue with new lines until the container ends" })),
  timestamps: Type.Optional(
    Type.Boolean({
      default: false,
      description: "begin each line with its time, for example `2026-11-30T03:20:01.123Z `, where the orchestrator knows it",
    }),
  ),
  replica: REPLICA_NUMBER,
  previous: Type.Optional(
    Type.Boolean({ default: false, description: "the log tail that berth kept of the last run that ended, without times; `follow` has no effect" }),
  ),
});

export function containerRoutes(deps: RouteDeps): Route[] {
  const { store, lifecycle, authorization, streams, sendList } = deps;
  const tags = ["docker containers"];

  const { containerToJson, toJson, find, findManaged, target } = createContainerAccess(deps);

  return [
    route({
      method: "GET",
      path: "/docker/containers",
      authorize: "session",
      schema: { tags, summary: "Lists containers", querystring: LIST_QUERY, response: Type.Array(CONTAINER) },
      handle: async (request, reply) => {
        const caller = authorization.caller(request);
        const listing = parseListing(request.query, FIELDS);
        const detail = detailOf(request.query);
        const mayManage = createManageCheck(store, caller);
        return sendList(reply, {
          userId: caller.userId,
          limit: listing.limit,
          ids: () => store.containers.ids(listing),
          rows: async (ids) =>
            Promise.all(
              (await findLiveContainers(store, ids)).map(async (live) => containerToJson(live, await mayManage(live.container.packageId), detail)),
            ),
        });
      },
    }),
    route({
      method: "GET",
      path: "/docker/containers/count",
      authorize: "session",
      schema: { tags, summary: "Counts containers", querystring: LIST_QUERY, response: count },
      handle: async ({ query }) => store.containers.count(parseListing(query, FIELDS)),
    }),
    route({
      method: "POST",
      path: "/docker/containers",
      authorize: "session",
      audit: { action: "containerSaved", target: ({ body }) => body.name ?? body.id ?? undefined },
      schema: { tags, summary: "Saves a container", body: SAVED_CONTAINER, response: CONTAINER },
      handle: async (request) => {
        return containerToJson(await saveContainer(deps, authorization.caller(request), request.body), true);
      },
    }),
    route({
      method: "DELETE",
      path: "/docker/containers/:id",
      authorize: "session",
      audit: { action: "containerDeleted", target },
      schema: {
        tags,
        summary: "Stops and deletes a container",
        description: "A container that a package defines returns with the same id when the package is published again.",
        params: ID_PARAMS,
        response: CONTAINER,
      },
      handle: async (request) => {
        const caller = authorization.caller(request);
        // In one transaction: a publish or a change of groups in between would have changed the rights.
        const live = await store.transaction(async () => {
          const current = await find(request.params.id);
          await requireManage(store, caller, current.container.packageId);
          await lifecycle.remove(current.container.id);
          return current;
        });
        return toJson(live, caller);
      },
    }),
    route({
      method: "GET",
      path: "/docker/containers/:id",
      authorize: "session",
      schema: { tags, summary: "Finds a container", params: ID_PARAMS, response: CONTAINER },
      handle: async (request) => toJson(await find(request.params.id), authorization.caller(request)),
    }),
    route({
      method: "GET",
      path: "/docker/containers/:id/logs",
      authorize: "session",
      schema: {
        tags,
        summary: "Returns the last log lines of a container",
        params: ID_PARAMS,
        querystring: LOGS_QUERY,
        produces: ["text/plain"],
        response: text,
      },
      handle: async (request, reply) => {
        const caller = authorization.caller(request);
        const { container: whole } = await findManaged(request.params.id, caller);
        const container = await findReplica(store, whole, request.query.replica);
        const { limit: tail = LOG_LINES, follow, timestamps, previous } = request.query;
        const options = { tail, timestamps };
        if (follow && !previous) {
          // A store that cannot be read confirms no right.
          const verify = async () => {
            if (!(await mayStillManage(store, caller, container.packageId).catch(() => false))) reply.raw.destroy();
          };
          const lines = Readable.from(followedLogs(deps.driverLogs, container, options, streams.open(request, reply, verify)));
          const stopWaiting = deps.clock.after(HEAD_MS, () => reply.raw.flushHeaders());
          reply.raw.once("close", stopWaiting);
          lines.once("close", stopWaiting);
          return reply.type("text/plain; charset=utf-8").header("x-accel-buffering", "no").send(lines);
        }
        const logs = previous ? previousLogs(container, options) : await containerLogs(deps.driverLogs, container, options, clientAbortSignal(reply));
        return reply.type("text/plain; charset=utf-8").serializer(String).send(logs);
      },
    }),
  ];
}

/** Saves what a client sent, if the caller may. Faults: REQUEST_INVALID, ID_INVALID, IMAGE_ENTITY_NOT_FOUND, NOT_PERMITTED. */
async function saveContainer(
  { store, publisher }: Pick<RouteDeps, "store" | "publisher">,
  caller: CallerRights,
  body: Static<typeof SAVED_CONTAINER>,
): Promise<LiveContainer> {
  const id = body.id ? parseUuid(body.id) : undefined;
  const existing = id === undefined ? undefined : await findLiveContainer(store, id);
  const changes = {
    name: body.name || undefined,
    friendlyName: body.friendlyName || undefined,
    config: body.config ?? undefined,
    environmentVars: body.environmentVars ?? undefined,
    by: { userId: caller.userId, admin: caller.admin },
  };
  if (existing) {
    await requireManage(store, caller, existing.container.packageId);
    return { container: await publisher.save({ ...changes, container: existing.container }), image: existing.image };
  }
  if (!body.dockerfile?.id) throw new Fault("REQUEST_INVALID", "A new container needs the id of a published image as dockerfile.id.");
  const image = await store.images.find(parseUuid(body.dockerfile.id));
  if (!image || image.state === "DELETED") throw new Fault("IMAGE_ENTITY_NOT_FOUND", `There is no image ${body.dockerfile.id}.`);
  await requireManage(store, caller, image.packageId);
  // A row with that id that is not live is about to be removed.
  if (id !== undefined && (await store.containers.find(id))) throw new Fault("REQUEST_INVALID", "The container is being removed.");
  return { container: await publisher.save({ ...changes, image, id }), image };
}
