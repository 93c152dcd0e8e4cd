import type { FastifyInstance } from "fastify";
import { observedOnWire } from "../wire.ts";
import { Fault } from "../../../lib/fault.ts";
import { clientGone, type Streams } from "./streams.ts";
import { parseCallId, parseGeneration, parseTail } from "./parse-request.ts";
import { readServiceName } from "./parse-spec.ts";
import type { Driver } from "../../driver.ts";
import type { Deploys } from "./deploys.ts";
import { answers, CALL, DESTROYED, NAME_PARAMS, SERVICE } from "./wire-schemas.ts";

const LOG_LINES = 10_000;

const text = { type: "string" } as const;
const LOGS_QUERY = {
  type: "object",
  properties: {
    tail: { type: "integer", description: `lines; ${LOG_LINES} where left out` },
    follow: { ...text, description: "`true`: goes on with what is written from now on, until the service ends" },
  },
} as const;
const DESTROY_QUERY = {
  type: "object",
  properties: {
    generation: { type: "integer", description: "destroys only what has this one, so that a call that was late destroys nothing newer" },
    call: CALL,
  },
} as const;

type Named = { Params: { service: string } };

type ServiceRouteDeps = { driver: Driver; deploys: Deploys; streams: Streams };

/** Services under the names that the orchestrator knows them by. */
export function serviceRoutes(app: FastifyInstance, { driver, deploys, streams }: ServiceRouteDeps): void {
  const tags = ["services"];

  app.get(
    "/services",
    { schema: { tags, summary: "All services with berth's labels, whoever deployed them", response: answers({ type: "array", items: SERVICE }) } },
    async (_request, reply) => (await driver.list({ signal: clientGone(reply) })).map(observedOnWire),
  );

  app.get<Named>(
    "/services/:service",
    { schema: { tags, summary: "What is known of a service now", params: NAME_PARAMS, response: answers(SERVICE) } },
    async ({ params }, reply) => {
      const service = readServiceName(params.service);
      const found = await driver.inspect(service, { signal: clientGone(reply) });
      if (!found) throw new Fault("CONTAINER_NOT_FOUND", `There is no service ${service}.`);
      return observedOnWire(found);
    },
  );

  app.delete<Named & { Querystring: { generation?: string; call?: string } }>(
    "/services/:service",
    {
      schema: {
        tags,
        summary: "Destroys a service, and ends its deploy where one is under way; one that does not exist is fine",
        params: NAME_PARAMS,
        querystring: DESTROY_QUERY,
        response: answers(DESTROYED),
      },
    },
    async ({ params, query }) => {
      const serviceName = readServiceName(params.service);
      await deploys.destroy(serviceName, { generation: parseGeneration(query.generation), call: parseCallId(query.call) });
      return { serviceName, isSuccess: true };
    },
  );

  app.get<Named & { Querystring: { tail?: string; follow?: string } }>(
    "/services/:service/logs",
    {
      schema: {
        tags,
        summary: "What a service wrote, oldest first; nothing for one that does not exist",
        params: NAME_PARAMS,
        querystring: LOGS_QUERY,
        response: answers({ description: "Text", content: { "text/plain": { schema: text } } }),
      },
    },
    ({ params, query }, reply) => {
      const service = readServiceName(params.service);
      const which = { tail: parseTail(query.tail, LOG_LINES), follow: query.follow === "true" };
      return streams.text(reply, (signal) => driver.logs(service, which, { signal }));
    },
  );
}
