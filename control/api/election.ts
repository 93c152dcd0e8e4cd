import { Type } from "typebox";
import { Fault } from "../../lib/fault.ts";
import type { ControlElection } from "../leadership/open-leadership.ts";
import type { ApiDeps } from "./api-deps.ts";
import { route, type Route } from "./route.ts";
import { CONTROL_PROCESSES } from "./schemas.ts";

type ElectionRouteDeps = { election?: ControlElection | undefined; gateways: Pick<ApiDeps["gateways"], "count" | "loads"> };

export function electionRoutes({ election, gateways }: ElectionRouteDeps): Route[] {
  return [
    route({
      method: "GET",
      path: "/admin/control",
      authorize: "admin",
      schema: { tags: ["server"], summary: "Returns the control processes, which of them leads, and their database", response: CONTROL_PROCESSES },
      handle: async () => {
        const connected = (await gateways.loads()).map(({ gateway, load }) => ({ gateway, load: load ?? null }));
        if (election === undefined) return { database: null, epoch: 0, processes: [], gateways: gateways.count(), connected };
        const { epoch, leader, processes, database } = await election.status();
        return {
          database,
          epoch,
          processes: processes.map(({ id, name, url, version, ageMs, upMs }) => ({ name, url, version, leads: id === leader, lagMs: ageMs, upMs })),
          gateways: gateways.count(),
          connected,
        };
      },
    }),
    route({
      method: "POST",
      path: "/admin/control/step-down",
      authorize: "admin",
      audit: { action: "steppedDown" },
      schema: { tags: ["server"], summary: "Lets another control process lead", response: Type.Object({ epoch: Type.Integer() }) },
      handle: async (_request, reply) => {
        if (election === undefined) throw new Fault("REQUEST_INVALID", "There is one control process: BERTH_DATABASE_URL is not set.");
        const { epoch, processes, leader } = await election.status();
        if (!processes.some(({ id, ageMs }) => id !== leader && ageMs < STANDBY_MS))
          throw new Fault("REQUEST_INVALID", "There is no standby that could lead: start another control process with the same BERTH_DATABASE_URL.");
        // The response first: the leader ends open requests. An error instead of it means that the entry in the audit log could not be written.
        reply.raw.once("close", () => {
          if (reply.statusCode < 400) election.stepDown();
        });
        return { epoch };
      },
    }),
  ];
}

/** A standby with an older sign of life may have ended. */
const STANDBY_MS = 5_000;
