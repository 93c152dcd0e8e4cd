import type { FastifyInstance } from "fastify";
import { Fault } from "../../lib/fault.ts";
import { WISHED_FOR } from "../model/entities.ts";
import { type Wake, WAKES_KEPT } from "../store/wakes.ts";
import type { Authorization } from "./authorization.ts";
import type { ApiDeps } from "./api-deps.ts";
import { requireManage } from "../identity/rights.ts";
import { parseUuid } from "./find-entities.ts";
import { responses, ID_PARAMS } from "./schemas.ts";

const text = { type: "string" } as const;
const date = { type: "string", format: "date-time" } as const;

export const PHASES = ["queue", "start", "pull", "create", "boot", "connect"] as const;

const WAKE = {
  type: "object",
  properties: {
    asked: date,
    for: { type: ["string", "null"], enum: [...WISHED_FOR, null], description: "what the start was for" },
    by: { type: ["string", "null"], description: "the login of the person who asked, where one did" },
    ended: { type: ["string", "null"], format: "date-time", description: "null: it is under way" },
    outcome: { type: ["string", "null"], description: "the event that ended it: `answered`, `startFailed`, `timedOut`, `stopWished`, …" },
    phases: {
      type: "array",
      description: "one after the other; `start` stands for all that is not told apart, of a wake that failed or is under way",
      items: {
        type: "object",
        properties: {
          name: { type: "string", enum: PHASES },
          start: { type: "number", description: "ms since it was asked for" },
          duration: { type: "number", description: "ms" },
        },
      },
    },
    cause: { type: ["object", "null"], description: "of a failure", properties: { code: text, message: text } },
  },
} as const;

/** How long each of a container's last starts took, and where that time went. For whoever may see its logs. */
export function wakeRoutes(app: FastifyInstance, { store, clock }: ApiDeps, admission: Authorization): void {
  app.get<{ Params: { id: string } }>(
    "/docker/containers/:id/wakes",
    {
      schema: {
        tags: ["docker containers"],
        summary: `The last ${WAKES_KEPT} starts of a container and their parts, the newest first`,
        params: ID_PARAMS,
        response: responses({ type: "array", items: WAKE }),
      },
    },
    (request) => {
      const container = store.containers.find(parseUuid(request.params.id));
      if (!container) throw new Fault("CONTAINER_NOT_FOUND", `There is no container ${request.params.id}.`);
      requireManage(store, admission.caller(request), container.packageId);
      const loginOf = (id: string | undefined) => (id === undefined ? undefined : store.users.find(id)?.login);
      return store.wakes.of(container.id).map((wake) => onWire(wake, loginOf(wake.byUser), clock.now()));
    },
  );
}

function onWire(wake: Wake, by: string | undefined, now: number) {
  return {
    asked: new Date(wake.askedOn).toISOString(),
    for: wake.askedFor ?? null,
    by: by ?? null,
    ended: wake.endedOn === undefined ? null : new Date(wake.endedOn).toISOString(),
    outcome: wake.outcome ?? null,
    phases: wakePhases(wake, now),
    cause: wake.fault ?? null,
  };
}

/** One bar: `start` counts from when the wake was asked for; both in milliseconds. */
export type WakePhase = { name: (typeof PHASES)[number]; start: number; duration: number };

/**
 * The parts of a wake one after the other, as far as they are known. Of a start that is under way, or failed, the driver has not said what took
 * how long: it is one bar, `start`. `now` is epoch ms.
 */
export function wakePhases({ askedOn, begunOn, endedOn, phases, connectMs }: Wake, now: number): WakePhase[] {
  const until = endedOn ?? Math.max(now, askedOn);
  const queue = { name: "queue", start: 0, duration: Math.max(0, (begunOn ?? until) - askedOn) } as const;
  if (begunOn === undefined) return [queue];
  const rest: [name: WakePhase["name"], ms: number | undefined][] =
    phases === undefined
      ? [["start", Math.max(0, until - begunOn)]]
      : [
          ["pull", phases.pull],
          ["create", phases.create],
          ["boot", phases.boot],
          ["connect", connectMs],
        ];
  const bars: WakePhase[] = [queue];
  let start = queue.duration;
  for (const [name, duration] of rest) {
    if (duration === undefined) continue;
    bars.push({ name, start: rounded(start), duration: rounded(duration) });
    start += duration;
  }
  return bars;
}

/** To tenths: clocks count finer than anybody reads. */
function rounded(ms: number): number {
  return Math.round(ms * 10) / 10;
}
