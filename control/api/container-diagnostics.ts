import { Type } from "typebox";
import { DRIVER_PHASES } from "../../lib/start-phases.ts";
import { requireManage } from "../identity/rights.ts";
import type { ContainerExplanation } from "../lifecycle/explain-container.ts";
import type { HistoryEntry, Wake } from "../model/records.ts";
import { CONTAINER_WIRE_STATES, IMAGE_WIRE_STATES } from "../model/states.ts";
import { LONGEST_TEXT_BYTES } from "../packages/publish/author-files.ts";
import { HISTORY_LENGTH, WAKES_KEPT } from "../store/history.ts";
import { clientAbortSignal } from "./api-error.ts";
import { isoDate, replicasToJson, requireContainer, requireImage } from "./entities.ts";
import type { GatewayOpenRequests } from "./feed-stream.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import {
  EXPLANATION,
  type ExplanationJson,
  HISTORY,
  type HistoryEntryJson,
  ID_PARAMS,
  OPEN_REQUESTS,
  type OpenRequestsJson,
  WAKE,
  type WakeJson,
  WRITTEN_DEFINITION,
} from "./schemas.ts";

type UserStore = Pick<RouteDeps["store"], "users">;
type WakePhase = WakeJson["phases"][number];

/** Why a container or an image is in its state. For callers who may read its logs. */
export function diagnosticsRoutes({ store, lifecycle, gateways, clock, authorization }: RouteDeps): Route[] {
  const tags = ["docker containers"];
  const schema = { tags, params: ID_PARAMS };

  return [
    route({
      method: "GET",
      path: "/docker/containers/:id/history",
      authorize: "session",
      schema: { ...schema, summary: `Lists the last ${HISTORY_LENGTH} events of a container, oldest first`, response: HISTORY },
      handle: async (request) => {
        const container = await requireContainer(store, authorization.caller(request), request.params.id);
        return historyToJson(store, await store.history.of(container.id), CONTAINER_WIRE_STATES);
      },
    }),
    route({
      method: "GET",
      path: "/docker/images/:id/history",
      authorize: "session",
      schema: {
        ...schema,
        tags: ["docker images"],
        summary: `Lists the last ${HISTORY_LENGTH} events of an image, oldest first`,
        response: HISTORY,
      },
      handle: async (request) => {
        const image = await requireImage(store, request.params.id);
        await requireManage(store, authorization.caller(request), image.packageId);
        return historyToJson(store, await store.history.of(image.id), IMAGE_WIRE_STATES);
      },
    }),
    route({
      method: "GET",
      path: "/docker/containers/:id/explain",
      authorize: "session",
      schema: { ...schema, summary: "Explains the status of a container", response: EXPLANATION },
      handle: async (request, reply) => {
        const container = await requireContainer(store, authorization.caller(request), request.params.id);
        const explanation = await lifecycle.explain(container.id, clientAbortSignal(reply));
        const { history, container: explained } = explanation;
        const json = explanationToJson(explanation, await store.users.logins([explained.requestedBy, ...history.map(({ byUser }) => byUser)]));
        return { ...json, package: (await store.packages.find(container.packageId))?.name ?? null };
      },
    }),
    route({
      method: "GET",
      path: "/docker/containers/:id/wakes",
      authorize: "session",
      schema: {
        ...schema,
        summary: `Lists the last ${WAKES_KEPT} starts of a container and their phases, the newest first`,
        response: Type.Array(WAKE),
      },
      handle: async (request) => {
        const container = await requireContainer(store, authorization.caller(request), request.params.id);
        const wakes = await store.wakes.of(container.id);
        const logins = await store.users.logins(wakes.map(({ byUser }) => byUser));
        const reached = lifecycle.startPhases(container.id);
        return wakes.map((wake) => {
          const current = wake.endedOn === undefined && wake.begunOn !== undefined && reached ? { ...wake, reached } : wake;
          return wakeToJson(current, logins.get(wake.byUser), clock.now());
        });
      },
    }),
    // Only for callers who see the values of variables: the author's text has them.
    route({
      method: "GET",
      path: "/docker/containers/:id/container-json",
      authorize: "session",
      schema: { ...schema, summary: "Shows the container.json of a container as its author wrote it", response: WRITTEN_DEFINITION },
      handle: async (request) => {
        const container = await requireContainer(store, authorization.caller(request), request.params.id);
        const image = await store.images.find(container.imageId);
        // One that was made by the API shares the image of another folder's container, and has no file.
        if (image === undefined || image.files === "" || image.folder !== container.folder) return { text: null };
        const bytes = await store.publishedFiles.read(image.files, "container.json", LONGEST_TEXT_BYTES);
        return { text: bytes === undefined ? null : new TextDecoder().decode(bytes) };
      },
    }),
    // Without paths: a query may contain data of the caller.
    route({
      method: "GET",
      path: "/docker/containers/:id/open",
      authorize: "session",
      schema: { ...schema, summary: "Lists the open requests and sockets of a container, by gateway", response: OPEN_REQUESTS },
      handle: async (request) => {
        const container = await requireContainer(store, authorization.caller(request), request.params.id);
        return (await gateways.openRequests(container.id)).map(openRequestsToJson);
      },
    }),
  ];
}

type Logins = ReadonlyMap<string | undefined, string>;

async function historyToJson({ users }: UserStore, history: readonly HistoryEntry[], words: Record<string, string>): Promise<HistoryEntryJson[]> {
  const logins = await users.logins(history.map(({ byUser }) => byUser));
  return history.map((entry) => historyEntryToJson(entry, words, logins));
}

function historyEntryToJson(
  { at, fromState, toState, event, byUser, cause }: HistoryEntry,
  words: Record<string, string>,
  logins: Logins,
): HistoryEntryJson {
  return {
    time: isoDate(at),
    from: words[fromState] ?? fromState,
    to: words[toState] ?? toState,
    event,
    by: byUser ?? "system",
    login: logins.get(byUser) ?? null,
    cause: cause ?? null,
  };
}

function explanationToJson(
  { container, why, history, timers, awake, failure, engine, listener, replicas }: ContainerExplanation,
  logins: Logins,
): Omit<ExplanationJson, "package"> {
  const { fact } = engine;
  return {
    id: container.id,
    name: container.name,
    status: CONTAINER_WIRE_STATES[container.state],
    since: isoDate(container.since),
    why,
    wish: {
      instances: container.desiredInstances,
      by: logins.get(container.requestedBy) ?? null,
      time: container.requestedOn === 0 ? null : isoDate(container.requestedOn),
    },
    next: timers.map(({ kind, at, says }) => ({ kind, time: isoDate(at), says })),
    awake,
    failure: failure ? { time: isoDate(failure.at), code: failure.code, message: failure.message, logs: failure.logs } : null,
    engine: {
      says: engine.says,
      running: fact?.running ?? null,
      address: fact?.addresses[0]?.host ?? null,
      port: fact?.addresses[0]?.port ?? null,
      exitCode: fact?.exit?.code ?? null,
      outOfMemory: fact?.exit?.outOfMemory ?? null,
    },
    ...(replicas === undefined ? {} : { replicas: replicasToJson(replicas, { each: true }) }),
    tcp: listener
      ? { says: `It accepts TCP connections at ${listener.host} port ${listener.port}.`, address: listener.host, port: listener.port }
      : null,
    history: history.map((entry) => historyEntryToJson(entry, CONTAINER_WIRE_STATES, logins)),
  };
}

function wakeToJson(wake: Wake, by: string | undefined, now: number): WakeJson {
  return {
    asked: isoDate(wake.requestedAt),
    for: wake.startReason ?? null,
    by: by ?? null,
    ended: wake.endedOn === undefined ? null : isoDate(wake.endedOn),
    outcome: wake.outcome ?? null,
    phases: wakePhases(wake, now),
    cause: wake.fault ?? null,
  };
}

type WakeTimes = Omit<Wake, "reached"> & Partial<Pick<Wake, "reached">>;

/**
 * The phases of a start in order, as far as they are known. A start whose phases are not known is one phase, `start`. `now` is epoch ms.
 */
export function wakePhases({ requestedAt, begunOn, endedOn, phases, reached, connectMs }: WakeTimes, now: number): WakePhase[] {
  const until = endedOn ?? Math.max(now, requestedAt);
  const waitedMs = Math.max(0, (begunOn ?? until) - requestedAt);
  const dependenciesMs = Math.min(waitedMs, phases?.dependencies ?? 0);
  const queue = { name: "queue", start: 0, duration: waitedMs - dependenciesMs } as const;
  if (begunOn === undefined) return [queue];
  const rest: (readonly [name: WakePhase["name"], ms: number | undefined])[] =
    (phases ?? reached) === undefined
      ? [["start", Math.max(0, until - begunOn)]]
      : [...DRIVER_PHASES.map((name) => [name, (phases ?? reached)?.[name]] as const), ["connect", connectMs]];
  const result: WakePhase[] = [queue];
  let start = queue.duration;
  for (const [name, duration] of [["dependencies", dependenciesMs || undefined] as const, ...rest]) {
    if (duration === undefined) continue;
    result.push({ name, start: toTenths(start), duration: toTenths(duration) });
    start += duration;
  }
  return result;
}

/** Clocks count finer than a reader needs. */
function toTenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}

function openRequestsToJson({ gateway, answer }: GatewayOpenRequests): OpenRequestsJson {
  const open = answer?.open.map((exchange) => ({ ...exchange, since: isoDate(exchange.since) })) ?? [];
  return { gateway, answered: answer !== undefined, count: answer?.count ?? 0, open };
}
