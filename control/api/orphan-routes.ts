import type { FastifyInstance } from "fastify";
import type { Orphan } from "../lifecycle/sweep.ts";
import type { ApiDeps } from "./api-deps.ts";
import { clientAbortSignal } from "./api-error.ts";
import { responses } from "./schemas.ts";

const text = { type: "string" } as const;
const ORPHAN = {
  type: "object",
  properties: {
    service: { type: "string", description: "its name at the container engine" },
    why: { type: "string", enum: ["another store", "another name", "unknown id"] },
    running: { type: "boolean" },
    store: { type: "string", description: "the store that wished it; this one has another id, or does not know the container" },
    environment: text,
    container: text,
    generation: { type: "integer" },
  },
} as const;
const ASKED = { type: "object", properties: { service: { type: "string", minLength: 1, maxLength: 63 } }, required: ["service"] } as const;
const DONE = { type: "object", properties: { isSuccess: { type: "boolean" } } } as const;

/**
 * What runs with berth's labels and belongs to nothing in this store. It is never removed by itself, since an empty or restored store
 * proves nothing; `berth orphans` is the same at a command line.
 */
export function orphanRoutes(app: FastifyInstance, { orphans }: Pick<ApiDeps, "orphans">): void {
  const tags = ["server"];
  const config = { admits: "admin" } as const;

  app.get(
    "/admin/orphans",
    { config, schema: { tags, summary: "Lists services that belong to no container", response: responses({ type: "array", items: ORPHAN }) } },
    async (_request, reply) => (await orphans.findOrphans(clientAbortSignal(reply))).map(onWire),
  );

  app.delete<{ Querystring: { service: string } }>(
    "/admin/orphans",
    { config, schema: { tags, summary: "Stops and removes one of them", querystring: ASKED, response: responses(DONE) } },
    async (request, reply) => {
      await orphans.removeOrphan(request.query.service, clientAbortSignal(reply));
      return { isSuccess: true };
    },
  );
}

function onWire({ observed: { service, running, labels }, why }: Orphan) {
  return { service, why, running, ...labels };
}
