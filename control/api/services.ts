import { Type } from "typebox";
import { Fault } from "../../lib/fault.ts";
import { createManageCheck, requireManage } from "../identity/rights.ts";
import type { Orphan } from "../lifecycle/observe-engine.ts";
import { clientAbortSignal } from "./api-error.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import { DONE, ORPHAN, text } from "./schemas.ts";
import type { LogOptions } from "../../drivers/driver.ts";
import type { Container } from "../model/entities.ts";
import type { ContainerState } from "../model/states.ts";
import type { ApiDeps } from "./api-deps.ts";

/** The default and the maximum. */
export const LOG_LINES = 10_000;
export const MOST_LOG_LINES = 100_000;

/** Longer logs lose their beginning: the end is more useful. */
const MOST_CHARACTERS = 8 * 1024 * 1024;

const NAME_PARAMS = Type.Object({ name: Type.String({ description: "a container's `serviceName`" }) });
/** A client without a limit sends the word `null`. */
const LOGS_QUERY = Type.Object({ limit: Type.Optional(Type.String({ description: `lines; ${LOG_LINES} if it is not a number` })) });

/** Containers by their names at the container engine. */
export function serviceRoutes({ store, driverLogs, authorization }: RouteDeps): Route[] {
  const tags = ["docker services"];

  return [
    route({
      method: "GET",
      path: "/docker/services",
      authorize: "session",
      schema: {
        tags,
        summary: "Lists names of services",
        description: "Of the containers that the caller may manage.",
        response: Type.Array(text),
      },
      handle: async (request) => {
        const mayManage = createManageCheck(store, authorization.caller(request));
        const services: string[] = [];
        for (const { service, packageId } of await store.containers.services()) if (await mayManage(packageId)) services.push(service);
        return services;
      },
    }),
    route({
      method: "GET",
      path: "/docker/services/:name/logs",
      authorize: "session",
      schema: { tags, summary: "Returns the last log lines of a service", params: NAME_PARAMS, querystring: LOGS_QUERY, response: text },
      handle: async (request, reply) => {
        const container = await store.containers.byService(request.params.name);
        // Clients treat a 404 as an empty log.
        if (!container) throw new Fault("REQUEST_INVALID", `There is no service ${JSON.stringify(request.params.name.slice(0, 100))}.`);
        await requireManage(store, authorization.caller(request), container.packageId);
        const logs = await containerLogs(driverLogs, container, { tail: parseLimit(request.query.limit) }, clientAbortSignal(reply));
        return reply.type("application/json; charset=utf-8").serializer(String).send(JSON.stringify(logs));
      },
    }),
  ];
}

function parseLimit(word: string | undefined): number {
  const lines = Number(word);
  return Number.isInteger(lines) && lines > 0 ? Math.min(lines, MOST_LOG_LINES) : LOG_LINES;
}

/**
 * Services with berth's labels that belong to no container of this store. berth never removes them by itself, since an empty or restored store proves
 * nothing; `berth orphans` does the same at a command line.
 */
export function orphanRoutes({ orphans }: Pick<RouteDeps, "orphans">): Route[] {
  const tags = ["server"];

  return [
    route({
      method: "GET",
      path: "/admin/orphans",
      authorize: "admin",
      schema: { tags, summary: "Lists services that belong to no container", response: Type.Array(ORPHAN) },
      handle: async (_request, reply) => (await orphans.findOrphans(clientAbortSignal(reply))).flatMap(orphanToJson),
    }),
    route({
      method: "DELETE",
      path: "/admin/orphans",
      authorize: "admin",
      audit: { action: "orphanRemoved", target: ({ query }) => query.service },
      schema: {
        tags,
        summary: "Stops and removes a service that belongs to no container",
        querystring: Type.Object({ service: Type.String({ minLength: 1, maxLength: 63 }) }),
        response: DONE,
      },
      handle: async (request, reply) => {
        await orphans.removeOrphan(request.query.service, clientAbortSignal(reply));
        return { isSuccess: true };
      },
    }),
  ];
}

/** Removed services are never listed. */
function orphanToJson({ observed: { service, running, labels }, why }: Orphan) {
  return why === "removed" ? [] : [{ service, why, running, ...labels }];
}

/** Of one that runs in these states, no line of an earlier run is shown. */
const RUNS: readonly ContainerState[] = ["STARTING", "STARTED", "CHECKING"];

/** The last lines of a container. If it is not running, or its orchestrator is unreachable, the log tail of its last run. */
export async function containerLogs(
  driverLogs: ApiDeps["driverLogs"],
  container: Container,
  options: LogOptions,
  signal: AbortSignal,
): Promise<string> {
  try {
    let text = "";
    for await (const piece of driverLogs(container, options, signal)) {
      text += piece;
      if (text.length > 2 * MOST_CHARACTERS) text = text.slice(-MOST_CHARACTERS);
    }
    if (text !== "" || RUNS.includes(container.state)) return text.slice(-MOST_CHARACTERS);
  } catch (error) {
    if (!(error instanceof Fault) || container.lastLogs === "") throw error;
  }
  return previousLogs(container, options);
}

/** The log tail that was kept of the last run that ended. Its lines have no times. */
export function previousLogs({ lastLogs }: Container, { tail }: LogOptions): string {
  return lastLines(lastLogs, tail);
}

/** The same, and later lines, until the container ends. Of a container that is not running: only its log tail. */
export async function* followedLogs(
  driverLogs: ApiDeps["driverLogs"],
  container: Container,
  options: LogOptions,
  signal: AbortSignal,
): AsyncGenerator<string> {
  let empty = true;
  try {
    for await (const piece of driverLogs(container, { ...options, follow: true }, signal)) {
      empty = false;
      yield piece;
    }
  } catch (error) {
    if (signal.aborted) return;
    if (!empty || !(error instanceof Fault) || container.lastLogs === "") throw error;
  }
  if (empty && !RUNS.includes(container.state)) yield previousLogs(container, options);
}

function lastLines(text: string, count: number): string {
  const lines = text.split("\n");
  const ended = lines.at(-1) === "" ? 1 : 0;
  return lines.slice(-(count + ended)).join("\n");
}
