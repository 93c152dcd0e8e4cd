import { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply } from "fastify";
import { Fault } from "../../lib/fault.ts";
import type { Container } from "../model/entities.ts";
import type { Authorization } from "./authorization.ts";
import type { ApiDeps } from "./api-deps.ts";
import { clientAbortSignal } from "./api-error.ts";
import { containerLogs, followedLogs, LOG_LINES, MOST_LOG_LINES } from "./container-logs.ts";
import { detailOf, type ListFields, type ListQuery, momentOf, parseListing, stateOf, type SendList } from "./lists.ts";
import { findLiveContainer, type LiveContainer, findLiveContainers, parseUuid } from "./find-entities.ts";
import type { AuditRecorder } from "./audit.ts";
import type { LiveStreams } from "./live-streams.ts";
import { mayManagePackage, mayStillManage, requireManage } from "../identity/rights.ts";
import { containerToJson, type EntityDetail } from "./entity-json.ts";
import { responses, CONTAINER, ID_PARAMS, LIST_QUERY, SAVED_CONTAINER } from "./schemas.ts";
import { CONTAINER_WIRE_STATES } from "../model/states.ts";

type ById = { Params: { id: string } };
type CallerRights = { userId: string; admin: boolean };

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

/** `awaitStart` and `awaitStop` differ in name alone. */
const awaits = (name: string) => ({
  type: "object",
  properties: { [name]: { type: "boolean", default: false, description: "answer when it is done" } },
});
const LOGS_QUERY = {
  type: "object",
  properties: {
    limit: { type: "integer", minimum: 1, maximum: MOST_LOG_LINES, default: LOG_LINES, description: "lines" },
    follow: { type: "boolean", default: false, description: "go on with what it writes, as it writes it, until it ends" },
  },
};

export function containerRoutes(
  app: FastifyInstance,
  parts: ApiDeps,
  { admission, streams, audit, sendList }: { admission: Authorization; streams: LiveStreams; audit: AuditRecorder; sendList: SendList },
): void {
  const { store, lifecycle } = parts;
  const tags = ["docker containers"];

  const shown = ({ container, image }: LiveContainer, caller: CallerRights) =>
    containerToJson(container, image, mayManagePackage(store, caller, container.packageId));
  const find = (id: string): LiveContainer => {
    const live = findLiveContainer(store, parseUuid(id));
    if (!live) throw new Fault("CONTAINER_NOT_FOUND", `There is no container ${id}.`);
    return live;
  };
  /** Clients take a 404 for success in what these routes do, so here an unknown id is a bad request. */
  const findManaged = (id: string, caller: CallerRights): LiveContainer => {
    const live = findLiveContainer(store, parseUuid(id));
    if (!live) throw new Fault("REQUEST_INVALID", `There is no container ${id}.`);
    requireManage(store, caller, live.container.packageId);
    return live;
  };

  /** One that is deleted meanwhile has neither started nor stopped: no 404 for that either. */
  const settled = (id: string, reply: FastifyReply): Promise<Container> =>
    lifecycle.settled(id, clientAbortSignal(reply)).catch((error: unknown) => {
      if (!(error instanceof Fault) || error.code !== "CONTAINER_NOT_FOUND") throw error;
      throw new Fault("REQUEST_INVALID", `The container ${id} was removed meanwhile.`, { cause: error });
    });

  /** Of one package there are often many. */
  const shownOnes = (ids: readonly string[], caller: CallerRights, detail: EntityDetail) => {
    const inside = new Map<string, boolean>();
    return findLiveContainers(store, ids).map(({ container, image }) => {
      const may = inside.get(container.packageId) ?? mayManagePackage(store, caller, container.packageId);
      inside.set(container.packageId, may);
      return containerToJson(container, image, may, detail);
    });
  };

  app.get<{ Querystring: ListQuery }>(
    "/docker/containers",
    { schema: { tags, summary: "Lists containers", querystring: LIST_QUERY, response: responses({ type: "array", items: CONTAINER }) } },
    (request, reply) => {
      const caller = admission.caller(request);
      const listing = parseListing(request.query, FIELDS);
      const detail = detailOf(request.query);
      return sendList(reply, {
        userId: caller.userId,
        limit: listing.limit,
        ids: () => store.containers.ids(listing),
        rows: (ids) => shownOnes(ids, caller, detail),
      });
    },
  );

  app.get<{ Querystring: ListQuery }>(
    "/docker/containers/count",
    { schema: { tags, summary: "Counts containers", querystring: LIST_QUERY, response: responses({ type: "integer" }) } },
    (request) => store.containers.count(parseListing(request.query, FIELDS)),
  );

  app.post<{ Body: SavedContainer }>(
    "/docker/containers",
    { schema: { tags, summary: "Saves a container", body: SAVED_CONTAINER, response: responses(CONTAINER) } },
    (request) => {
      const caller = admission.caller(request);
      const { container, image } = saveContainerFor(parts, caller, request.body);
      return containerToJson(container, image, true);
    },
  );

  app.delete<ById>(
    "/docker/containers/:id",
    {
      schema: {
        tags,
        summary: "Stops a container and forgets it",
        description: "A container that a package defines comes back, with its id, when the package is published again.",
        params: ID_PARAMS,
        response: responses(CONTAINER),
      },
    },
    (request) => {
      const caller = admission.caller(request);
      const live = find(request.params.id);
      requireManage(store, caller, live.container.packageId);
      lifecycle.remove(live.container.id);
      return shown(live, caller);
    },
  );

  app.get<ById>(
    "/docker/containers/:id",
    { schema: { tags, summary: "Finds a container", params: ID_PARAMS, response: responses(CONTAINER) } },
    (request) => shown(find(request.params.id), admission.caller(request)),
  );

  app.get<ById & { Querystring: { awaitStart: boolean } }>(
    "/docker/containers/:id/run",
    {
      config: { mutates: true },
      schema: { tags, summary: "Starts a container", params: ID_PARAMS, querystring: awaits("awaitStart"), response: responses(CONTAINER) },
    },
    async (request, reply) => {
      const caller = admission.caller(request);
      const { container } = findManaged(request.params.id, caller);
      lifecycle.requestStart(container.id, caller.userId, "run", caller.ref);
      audit.accepted(request);
      if (request.query.awaitStart) requireStarted(await settled(container.id, reply));
      return shown(find(container.id), caller);
    },
  );

  app.get<ById & { Querystring: { awaitStop: boolean } }>(
    "/docker/containers/:id/stop",
    {
      config: { mutates: true },
      schema: { tags, summary: "Stops a container", params: ID_PARAMS, querystring: awaits("awaitStop"), response: responses(CONTAINER) },
    },
    async (request, reply) => {
      const caller = admission.caller(request);
      const { container } = findManaged(request.params.id, caller);
      lifecycle.requestStop(container.id, caller.userId);
      audit.accepted(request);
      if (request.query.awaitStop) requireNoError(await settled(container.id, reply));
      return shown(find(container.id), caller);
    },
  );

  app.get<ById & { Querystring: { limit: number; follow: boolean } }>(
    "/docker/containers/:id/logs",
    {
      schema: {
        tags,
        summary: "The last lines that a container wrote",
        params: ID_PARAMS,
        querystring: LOGS_QUERY,
        produces: ["text/plain"],
        response: responses({ type: "string" }),
      },
    },
    async (request, reply) => {
      const caller = admission.caller(request);
      const { container } = findManaged(request.params.id, caller);
      const { limit, follow } = request.query;
      if (follow) {
        const look = () => void (mayStillManage(store, caller, container.packageId) || reply.raw.destroy());
        const lines = Readable.from(followedLogs(parts.driverLogs, container, limit, streams.open(request, reply, look)));
        return reply.type("text/plain; charset=utf-8").header("x-accel-buffering", "no").send(lines);
      }
      const text = await containerLogs(parts.driverLogs, container, limit, clientAbortSignal(reply));
      return reply.type("text/plain; charset=utf-8").serializer(String).send(text);
    },
  );
}

function requireNoError(container: Container): void {
  if (container.state !== "ERROR") return;
  throw container.fault ? Fault.from(container.fault) : new Fault("ENGINE_FAILED", "The container failed for an unknown reason.");
}

function requireStarted(container: Container): void {
  requireNoError(container);
  if (container.state !== "STARTED") throw new Fault("CONTAINER_STOPPED", "The container was stopped before it had started.");
}

export type SavedContainer = {
  id?: string | null;
  name?: string | null;
  friendlyName?: string | null;
  dockerfile?: { id?: string } | null;
  config?: Record<string, unknown> | null;
  environmentVars?: Record<string, unknown> | null;
};

/** Saves what a client sent for a caller who may. Faults: REQUEST_INVALID, ID_INVALID, IMAGE_ENTITY_NOT_FOUND, NOT_PERMITTED. */
export function saveContainerFor({ store, publisher }: ApiDeps, caller: { userId: string; admin: boolean }, body: SavedContainer): LiveContainer {
  const id = body.id ? parseUuid(body.id) : undefined;
  const known = id === undefined ? undefined : findLiveContainer(store, id);
  const said = {
    name: body.name || undefined,
    friendlyName: body.friendlyName || undefined,
    config: body.config ?? undefined,
    environmentVars: body.environmentVars ?? undefined,
  };
  if (known) {
    requireManage(store, caller, known.container.packageId);
    return { container: publisher.save({ ...said, known: known.container }), image: known.image };
  }
  if (!body.dockerfile?.id) {
    throw new Fault("REQUEST_INVALID", "A new container is made of an image that was published: its id is needed as dockerfile.id.");
  }
  const image = store.images.find(parseUuid(body.dockerfile.id));
  if (!image || image.state === "DELETED") throw new Fault("IMAGE_ENTITY_NOT_FOUND", `There is no image ${body.dockerfile.id}.`);
  requireManage(store, caller, image.packageId);
  // A row of that id that is not live is about to be removed.
  if (id !== undefined && store.containers.find(id)) throw new Fault("REQUEST_INVALID", "The container is being removed.");
  return { container: publisher.save({ ...said, image, id }), image };
}
