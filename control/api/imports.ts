import { type Static, Type } from "typebox";
import type { Import } from "../packages/import/open-importer.ts";
import type { Plan } from "../packages/import/plan-import.ts";
import { ownerOf } from "../packages/import/record-import.ts";
import { clientAbortSignal } from "./api-error.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import { oneOf, text } from "./schemas.ts";

const entities = (from: string) => Type.Array(Type.Unknown(), { maxItems: 100_000, description: `the response of that server to \`${from}\`` });
const IMPORT = Type.Unsafe<Import>(
  Type.Object({
    images: entities("GET /api/docker/images"),
    containers: entities("GET /api/docker/containers"),
    adopt: Type.Optional(Type.Boolean({ default: false, description: "take over running services as they are" })),
    dryRun: Type.Optional(Type.Boolean({ default: false, description: "only return the plan" })),
  }),
);
const ROW = Type.Object({
  kind: oneOf(["image", "container"]),
  id: text,
  name: text,
  status: Type.String({ description: "at that server" }),
  fate: oneOf(["import", "adopt", "here", "left"], { description: "`here`: the id exists here already; `left`: not imported" }),
  why: text,
  author: Type.String({ description: "the owner here" }),
});
/** An entity may contain a whole Dockerfile and the end of a log. */
const MOST_BYTES = 256 * 1_048_576;

/** Imports images and containers of a Datagrok server; `berth import` does the same at a command line. */
export function importRoutes({ importer, store, authorization }: Pick<RouteDeps, "importer" | "store" | "authorization">): Route[] {
  const rowsOf = async ({ images, containers }: Plan, user: { id: string; login: string }): Promise<Static<typeof ROW>[]> => {
    const logins = new Map<string | undefined, string>();
    for (const author of new Set([...images.map(({ image }) => image.author), ...containers.map(({ container }) => container.author)]))
      logins.set(author, (await ownerOf({ store, importer: user }, author)).login);
    const authorOf = (author: string | undefined) => logins.get(author) ?? user.login;
    return [
      ...images.map(({ image: { id, name, status, author }, fate, why }) => {
        return { kind: "image" as const, id, name, status, fate, why, author: authorOf(author) };
      }),
      ...containers.map(({ container: { id, name, status, author }, fate, why }) => {
        return { kind: "container" as const, id, name, status, fate, why, author: authorOf(author) };
      }),
    ];
  };

  return [
    route({
      method: "POST",
      path: "/admin/import",
      authorize: "admin",
      audit: { action: "imported", target: ({ body }) => (body.dryRun ? "dry run" : undefined) },
      bodyLimit: MOST_BYTES,
      schema: { tags: ["server"], summary: "Imports images and containers of another server", body: IMPORT, response: Type.Array(ROW) },
      handle: async (request, reply) => {
        const { userId: id, login } = authorization.caller(request);
        return rowsOf(await importer.take(request.body, { id, login }, clientAbortSignal(reply)), { id, login });
      },
    }),
  ];
}
