import type { FastifyInstance } from "fastify";
import { Fault } from "../../lib/fault.ts";
import type { Authorization } from "./authorization.ts";
import type { ApiDeps } from "./api-deps.ts";
import { requireManage } from "../identity/rights.ts";
import { parseUuid } from "./find-entities.ts";
import { responses } from "./schemas.ts";

/** A container knows its token rather than its id. */
const SELF = "self";

const PARAMS = {
  type: "object",
  properties: { id: { type: "string", description: `a UUID, or \`${SELF}\`: the container whose token (\`USER_API_KEY\`) the call shows` } },
  required: ["id"],
} as const;
const LEASE = {
  type: "object",
  properties: { seconds: { type: "number", minimum: 0, description: "from now on; 0 takes an earlier word back. Cut to BERTH_BUSY_MINUTES" } },
  required: ["seconds"],
} as const;
const LEASED = {
  type: "object",
  properties: { until: { type: ["string", "null"], format: "date-time", description: "null: it is busy no more" } },
} as const;

/** A container says that it is busy, or somebody who may stop it does: until then it is not stopped for idleness. A user's stop, and a newer definition, go ahead. */
export function leaseRoutes(app: FastifyInstance, { store, lifecycle, identity }: ApiDeps, admission: Authorization): void {
  app.post<{ Params: { id: string }; Body: { seconds: number } }>(
    "/docker/containers/:id/lease",
    { schema: { tags: ["docker containers"], summary: "Says that a container is busy", params: PARAMS, body: LEASE, response: responses(LEASED) } },
    (request) => {
      const caller = admission.caller(request);
      const own = caller.token === undefined ? undefined : identity.containerOf(caller.token);
      const { id } = request.params;
      if (id === SELF && own === undefined) throw new Fault("REQUEST_INVALID", "Only a container that shows its own token is meant by `self`.");
      const container = store.containers.find(id === SELF ? (own ?? "") : parseUuid(id));
      if (!container) throw new Fault("CONTAINER_NOT_FOUND", `There is no container ${id}.`);
      if (container.id !== own) requireManage(store, caller, container.packageId);
      const { busyUntil } = lifecycle.setBusy(container.id, request.body.seconds * 1_000);
      return { until: busyUntil === 0 ? null : new Date(busyUntil).toISOString() };
    },
  );
}
