import type { FastifyInstance } from "fastify";
import { LINES } from "../wire.ts";
import type { SpawnerParts } from "./spawner-parts.ts";
import { answers, EVENT } from "./wire-schemas.ts";

/** Hints to look again, for as long as the client listens. */
export function eventRoutes(app: FastifyInstance, { driver, streams }: SpawnerParts): void {
  app.get(
    "/events",
    {
      schema: {
        tags: ["services"],
        summary: "A line whenever a service may have changed; `connected` where anything may have been missed",
        response: answers({ description: "Lines", content: { [LINES]: { schema: EVENT } } }),
      },
    },
    (_request, reply) => streams.lines(reply, (signal) => driver.events({ signal })),
  );
}
