import type { FastifyReply, FastifyRequest } from "fastify";
import { Type } from "typebox";
import type { CallerReply } from "../../gateway/contract.ts";
import { Fault } from "../../lib/fault.ts";
import { mayManagePackage, requireManage } from "../identity/rights.ts";
import type { Container } from "../model/entities.ts";
import { clientAbortSignal } from "./api-error.ts";
import type { ApiCaller } from "./authorization.ts";
import { createContainerToJson, findLiveContainer, type LiveContainer, parseUuid } from "./entities.ts";
import { namedTarget } from "./record-audit.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import { CONTAINER, ID_PARAMS, nullable } from "./schemas.ts";

type CallerRights = Pick<CallerReply, "userId" | "admin">;

/** Finds the container of a path for its caller. */
export function createContainerAccess({ store, lifecycle }: Pick<RouteDeps, "store" | "lifecycle">) {
  const containerToJson = createContainerToJson(lifecycle);
  const toJson = async (live: LiveContainer, caller: CallerRights) =>
    containerToJson(live, await mayManagePackage(store, caller, live.container.packageId));
  const find = async (id: string): Promise<LiveContainer> => {
    const live = await findLiveContainer(store, parseUuid(id));
    if (!live) throw new Fault("CONTAINER_NOT_FOUND", `There is no container ${id}.`);
    return live;
  };
  /** For routes at which clients treat a 404 as success: an unknown id is a bad request there. */
  const findManaged = async (id: string, caller: CallerRights): Promise<LiveContainer> => {
    const live = await findLiveContainer(store, parseUuid(id));
    if (!live) throw new Fault("REQUEST_INVALID", `There is no container ${id}.`);
    await requireManage(store, caller, live.container.packageId);
    return live;
  };
  const target = async ({ params: { id } }: { params: { id: string } }) => namedTarget((await store.containers.find(id))?.name, id);
  return { containerToJson, toJson, find, findManaged, target };
}

const WAIT = Type.Optional(Type.Boolean({ default: false, description: "respond when it is done" }));

const LEASE_OF_SELF = "self";
const LEASE_PARAMS = Type.Object({
  id: Type.String({ description: `a UUID, or \`${LEASE_OF_SELF}\`: the container whose token (\`USER_API_KEY\`) the call shows` }),
});
const LEASE = Type.Object({
  seconds: Type.Number({ minimum: 0, description: "from now on; 0 ends it. At most BERTH_BUSY_MINUTES" }),
});
const LEASED = Type.Object({ until: nullable(Type.String({ format: "date-time" }), { description: "null: it is no longer busy" }) });

/** Routes that change what a container does. */
export function containerActionRoutes(deps: RouteDeps): Route[] {
  const { store, lifecycle, identity, authorization, auditRecorder } = deps;
  const tags = ["docker containers"];
  const { toJson, find, findManaged, target } = createContainerAccess(deps);

  /** A container that is deleted while the client waits has neither started nor stopped: no 404 for that either. */
  const settled = (id: string, reply: FastifyReply): Promise<Container> =>
    lifecycle.settled(id, clientAbortSignal(reply)).catch((error: unknown) => {
      if (!(error instanceof Fault) || error.code !== "CONTAINER_NOT_FOUND") throw error;
      throw new Fault("REQUEST_INVALID", `The container ${id} was removed meanwhile.`, { cause: error });
    });

  /** Changes what a container does, and responds when that is stored, or with `whenDone` when it has settled, which that may refuse. */
  const change = async (
    request: FastifyRequest & { params: { id: string } },
    reply: FastifyReply,
    act: (container: Container, caller: ApiCaller) => Promise<unknown>,
    whenDone: ((container: Container) => void) | false | undefined,
  ) => {
    const caller = authorization.caller(request);
    const { container } = await findManaged(request.params.id, caller);
    await act(container, caller);
    auditRecorder.accepted(request);
    if (whenDone) whenDone(await settled(container.id, reply));
    return toJson(await find(container.id), caller);
  };
  /** One that was started again meanwhile is not waited for. */
  const requireStopped = (container: Container) => {
    requireNoError(container);
    const left = lifecycle.replicasOf(container.id)?.each.find(({ state, desiredInstances }) => state === "ERROR" && desiredInstances === 0);
    if (left !== undefined)
      throw new Fault("ENGINE_FAILED", `Replica ${left.replica} of ${container.name} has not stopped: ${left.fault ?? ""} berth tries again.`);
  };
  const start = ({ id }: Container, caller: ApiCaller) => lifecycle.requestStart(id, caller.userId, "run", caller.ref);
  const stop = ({ id }: Container, caller: ApiCaller) => lifecycle.requestStop(id, caller.userId);

  return [
    route({
      method: "GET",
      path: "/docker/containers/:id/run",
      authorize: "session",
      audit: { action: "containerStarted", target },
      schema: { tags, summary: "Starts a container", params: ID_PARAMS, querystring: Type.Object({ awaitStart: WAIT }), response: CONTAINER },
      handle: (request, reply) => change(request, reply, start, request.query.awaitStart && requireStarted),
    }),
    route({
      method: "GET",
      path: "/docker/containers/:id/stop",
      authorize: "session",
      audit: { action: "containerStopped", target },
      schema: { tags, summary: "Stops a container", params: ID_PARAMS, querystring: Type.Object({ awaitStop: WAIT }), response: CONTAINER },
      handle: (request, reply) => change(request, reply, stop, request.query.awaitStop && requireStopped),
    }),
    route({
      method: "POST",
      path: "/docker/containers/:id/restart",
      authorize: "session",
      audit: { action: "containerRestarted", target },
      schema: {
        tags,
        summary: "Stops a container and starts it again",
        description: "Open requests may end first, as with a stop. A container that is not running is only started.",
        params: ID_PARAMS,
        querystring: Type.Object({ awaitStart: WAIT }),
        response: CONTAINER,
      },
      handle: (request, reply) => {
        const restart = ({ id }: Container, caller: ApiCaller) => lifecycle.requestRestart(id, caller.userId, caller.ref);
        return change(request, reply, restart, request.query.awaitStart && requireStarted);
      },
    }),
    // A busy container is not stopped for idleness. A user's stop and a newer definition stop it all the same.
    route({
      method: "POST",
      path: "/docker/containers/:id/lease",
      authorize: "session",
      // A busy container reports it again and again.
      audit: "none",
      schema: { tags, summary: "Reports that a container is busy", params: LEASE_PARAMS, body: LEASE, response: LEASED },
      handle: async (request) => {
        const caller = authorization.caller(request);
        const own = caller.token === undefined ? undefined : await identity.containerOf(caller.token);
        const { id } = request.params;
        if (id === LEASE_OF_SELF && own === undefined)
          throw new Fault("REQUEST_INVALID", "Only a container that shows its own token can use `self`.");
        const container = await store.containers.find(id === LEASE_OF_SELF ? (own ?? "") : parseUuid(id));
        if (!container) throw new Fault("CONTAINER_NOT_FOUND", `There is no container ${id}.`);
        if (container.id !== own) await requireManage(store, caller, container.packageId);
        const { busyUntil } = await lifecycle.setBusy(container.id, request.body.seconds * 1_000);
        return { until: busyUntil === 0 ? null : new Date(busyUntil).toISOString() };
      },
    }),
  ];
}

function requireNoError(container: Container): void {
  if (container.state !== "ERROR") return;
  throw container.fault ? Fault.from(container.fault) : new Fault("ENGINE_FAILED", "The container failed for an unknown reason.");
}

function requireStarted(container: Container): void {
  requireNoError(container);
  if (container.state !== "STARTED") throw new Fault("CONTAINER_STOPPED", "The container was stopped before it had started.");
}
