import { createHash } from "node:crypto";
import type { FastifyInstance } from "fastify";

/** The description of the API, for anybody. It is made once: making it takes some milliseconds, and requests for it need no sign-in. */
export function openapiRoute(app: FastifyInstance): void {
  let made: { bytes: Buffer; etag: string } | undefined;
  app.get("/openapi.json", { config: { admits: "anyone" }, schema: { hide: true } }, (request, reply) => {
    if (made === undefined) {
      const bytes = Buffer.from(JSON.stringify(app.swagger()));
      made = { bytes, etag: `W/"${createHash("sha256").update(bytes).digest("base64url").slice(0, 22)}"` };
    }
    reply.header("etag", made.etag).header("cache-control", "no-cache").type("application/json; charset=utf-8");
    if (request.headers["if-none-match"] === made.etag) return reply.code(304).send();
    return reply.send(made.bytes);
  });
}
