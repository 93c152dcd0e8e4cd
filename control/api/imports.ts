import type { FastifyInstance } from "fastify";
import type { Import } from "../packages/import/open-importer.ts";
import type { Plan } from "../packages/import/plan-import.ts";
import { ownerOf } from "../packages/import/record-import.ts";
import type { Store } from "../store/open-store.ts";
import type { Authorization } from "./authorization.ts";
import type { ApiDeps } from "./api-deps.ts";
import { clientAbortSignal } from "./api-error.ts";
import { responses } from "./schemas.ts";

const text = { type: "string" } as const;
const LIST = { type: "array", maxItems: 100_000, items: {} } as const;
const BODY = {
  type: "object",
  required: ["images", "containers"],
  properties: {
    images: { ...LIST, description: "as `GET /api/docker/images` of that server answers" },
    containers: { ...LIST, description: "as `GET /api/docker/containers` does" },
    adopt: { type: "boolean", default: false, description: "take over what runs, as it is" },
    dryRun: { type: "boolean", default: false, description: "only say what would be done" },
  },
} as const;
const ROW = {
  type: "object",
  properties: {
    kind: { type: "string", enum: ["image", "container"] },
    id: text,
    name: text,
    status: { type: "string", description: "what that server says" },
    fate: { type: "string", enum: ["import", "adopt", "here", "left"], description: "`here`: the id is known already; `left`: not taken" },
    why: text,
    author: { type: "string", description: "whose it is here" },
  },
} as const;
/** An entity may hold a whole Dockerfile and the last lines of a log. */
const MOST_BYTES = 256 * 1_048_576;

/** Takes over images and containers of a Datagrok server; `berth import` is the same at a command line. */
export function importRoutes(app: FastifyInstance, { importer, store }: Pick<ApiDeps, "importer" | "store">, admission: Authorization): void {
  app.post<{ Body: Import }>(
    "/admin/import",
    {
      config: { admits: "admin" },
      bodyLimit: MOST_BYTES,
      schema: {
        tags: ["server"],
        summary: "Takes over images and containers of another server",
        body: BODY,
        response: responses({ type: "array", items: ROW }),
      },
    },
    async (request, reply) => {
      const { userId: id, login } = admission.caller(request);
      return rowsOf(await importer.take(request.body, { id, login }, clientAbortSignal(reply)), { store, importer: { id, login } });
    },
  );
}

function rowsOf({ images, containers }: Plan, rooms: { store: Store; importer: { id: string; login: string } }) {
  const authorOf = (author: string | undefined) => ownerOf(rooms, author).login;
  return [
    ...images.map(({ image: { id, name, status, author }, fate, why }) => ({ kind: "image", id, name, status, fate, why, author: authorOf(author) })),
    ...containers.map(({ container: { id, name, status, author }, fate, why }) => ({
      kind: "container",
      id,
      name,
      status,
      fate,
      why,
      author: authorOf(author),
    })),
  ];
}
