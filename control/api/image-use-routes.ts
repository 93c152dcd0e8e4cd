import type { FastifyInstance } from "fastify";
import type { Deployed } from "../model/entities.ts";
import type { ApiDeps } from "./api-deps.ts";
import { responses } from "./schemas.ts";

const REFERENCES = { type: "object", properties: { references: { type: "array", items: { type: "string" } } } } as const;

/** What may not be removed from a registry: `berth registry retain` asks for it. */
export function imageUseRoutes(app: FastifyInstance, { store }: Pick<ApiDeps, "store">): void {
  app.get(
    "/admin/images-in-use",
    {
      config: { admits: "admin" },
      schema: { tags: ["server"], summary: "References of the images that containers use, or are to use", response: responses(REFERENCES) },
    },
    () => {
      const images = store.images.some(store.images.ids({ where: [] })).filter(({ state }) => state !== "DELETED");
      const named = images.flatMap(({ name, version, resolvedId }) => [`${name}:${version}`, resolvedId ?? ""]);
      const references = [...named, ...[...images, ...store.containers.deployed()].flatMap(namesOf)];
      return { references: [...new Set(references)].filter((one) => one !== "") };
    },
  );
}

/** By its digest too: its tag may point at something else by now. */
function namesOf({ ref, digest }: Deployed): string[] {
  return digest === undefined ? [ref] : [ref, `${ref.split("@", 1)[0]}@${digest}`];
}
