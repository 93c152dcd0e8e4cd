import type { FastifyInstance } from "fastify";
import { Fault } from "../../../lib/fault.ts";
import type { Driver, OwnedCall } from "../../driver.ts";
import { observedOnWire } from "../wire.ts";
import type { Deploys } from "./deploys.ts";
import { parseCallId, parseGeneration, parseTail } from "./parse-request.ts";
import { readServiceName, type ServiceNames } from "./parse-spec.ts";
import { clientGone, type Streams } from "./streams.ts";
import { answers, CALL, DESTROYED, NAME_PARAMS, SERVICE, USAGE } from "./wire-schemas.ts";

const LOG_LINES = 10_000;

const text = { type: "string" } as const;
const LOGS_QUERY = {
  type: "object",
  properties: {
    tail: { type: "integer", description: `lines; ${LOG_LINES} where left out` },
    timestamps: { ...text, description: "`true`: each line begins with its time and a space, where it is known" },
    follow: { ...text, description: "`true`: continues with new lines until the service ends" },
    store: { ...text, description: "with `container`: empty if the service's labels name others" },
    container: text,
  },
} as const;
const DESTROY_QUERY = {
  type: "object",
  properties: {
    generation: { type: "integer", description: "destroys only this generation, so that a late call destroys nothing newer" },
    store: { ...text, description: "with `container`: refused (SPEC_REFUSED) if the service's labels name others" },
    container: text,
    call: CALL,
  },
} as const;

function ownerOf({ store, container }: { store?: string; container?: string }): OwnedCall["owner"] {
  return store === undefined || container === undefined ? undefined : { store, container };
}

type Named = { Params: { service: string } };

type ServiceRouteDeps = { driver: Driver; deploys: Deploys; names: ServiceNames; streams: Streams };

/** Services by their names at the orchestrator, or by the short names of a foreign server. */
export function serviceRoutes(app: FastifyInstance, { driver, deploys, names, streams }: ServiceRouteDeps): void {
  const tags = ["services"];

  app.get(
    "/services",
    { schema: { tags, summary: "All services with berth's labels", response: answers({ type: "array", items: SERVICE }) } },
    async (_request, reply) => (await driver.list({ signal: clientGone(reply) })).map(observedOnWire),
  );

  app.get<Named>(
    "/services/:service",
    { schema: { tags, summary: "The observed state of a service", params: NAME_PARAMS, response: answers(SERVICE) } },
    async ({ params }, reply) => {
      const observed = await names.find(params.service, clientGone(reply));
      if (!observed) throw new Fault("CONTAINER_NOT_FOUND", `There is no service ${params.service.slice(0, 100)}.`);
      return observedOnWire(observed);
    },
  );

  app.get<Named>(
    "/services/:service/usage",
    { schema: { tags, summary: "What a running service has used", params: NAME_PARAMS, response: answers(USAGE) } },
    async ({ params }, reply) => {
      const signal = clientGone(reply);
      const observed = driver.usage && (await names.find(params.service, signal));
      const usage = observed && (await driver.usage?.(observed.service, { signal }));
      if (!usage) throw new Fault("CONTAINER_NOT_FOUND", `The use of ${params.service.slice(0, 100)} is not known.`);
      return usage;
    },
  );

  app.delete<Named & { Querystring: { generation?: string; call?: string; store?: string; container?: string } }>(
    "/services/:service",
    {
      schema: {
        tags,
        summary: "Destroys a service and aborts its deploy. Succeeds if the service does not exist",
        params: NAME_PARAMS,
        querystring: DESTROY_QUERY,
        response: answers(DESTROYED),
      },
    },
    async ({ params, query }, reply) => {
      const { generation, call } = query;
      const owner = ownerOf(query);
      const filter = { generation: parseGeneration(generation), call: parseCallId(call), owner };
      // Only berth's own control has these, and it sends whole names.
      const isOwn = Object.values(filter).some((one) => one !== undefined);
      const serviceName = isOwn ? readServiceName(params.service) : await names.ofDestroyed(params.service, clientGone(reply));
      await deploys.destroy(serviceName, filter);
      return { serviceName, isSuccess: true };
    },
  );

  app.get<Named & { Querystring: { tail?: string; follow?: string; timestamps?: string; store?: string; container?: string } }>(
    "/services/:service/logs",
    {
      schema: {
        tags,
        summary: "The log of a service, oldest first; empty if the service does not exist",
        params: NAME_PARAMS,
        querystring: LOGS_QUERY,
        response: answers({ description: "Text", content: { "text/plain": { schema: text } } }),
      },
    },
    async ({ params, query }, reply) => {
      const options = { tail: parseTail(query.tail, LOG_LINES), follow: query.follow === "true", timestamps: query.timestamps === "true" };
      const owner = ownerOf(query);
      // Under its own name even if it does not exist: it may be created while its log is followed.
      const service = (await names.find(params.service, clientGone(reply)))?.service ?? params.service;
      return streams.text(reply, (signal) => driver.logs(service, options, { signal, owner }));
    },
  );
}
