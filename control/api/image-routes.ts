import type { FastifyInstance } from "fastify";
import { Fault } from "../../fault.ts";
import { IMAGE_WIRE_STATES } from "../lifecycle/image-states.ts";
import type { Image } from "../store/entities.ts";
import type { Admission } from "./admission.ts";
import type { ApiParts } from "./api-parts.ts";
import { type Fields, listed, type ListQuery } from "./list-query.ts";
import { requireManage } from "./rights.ts";
import { readUuid } from "./uuid.ts";
import { imageOnWire } from "./wire-entities.ts";
import { answers, ID_PARAMS, IMAGE, LIST_QUERY } from "./wire-schemas.ts";

type ById = { Params: { id: string } };

const FIELDS: Fields<Image> = {
  id: ({ id }) => id,
  name: ({ name }) => name,
  friendlyName: ({ friendlyName }) => friendlyName,
  dockerName: ({ name }) => name,
  version: ({ version }) => version,
  status: ({ state }) => IMAGE_WIRE_STATES[state],
  createdOn: ({ createdOn }) => createdOn,
  updatedOn: ({ updatedOn }) => updatedOn,
};

export function imageRoutes(app: FastifyInstance, { store, lifecycle }: ApiParts, admission: Admission): void {
  const tags = ["docker images"];
  const find = (id: string): Image => {
    const image = store.images.find(readUuid(id));
    if (!image) throw new Fault("IMAGE_ENTITY_NOT_FOUND", `There is no image ${id}.`);
    return image;
  };

  app.get<{ Querystring: ListQuery }>(
    "/docker/images",
    { schema: { tags, summary: "Lists images", querystring: LIST_QUERY, response: answers({ type: "array", items: IMAGE }) } },
    (request) => listed(store.images.all(), request.query, FIELDS).map(imageOnWire),
  );

  app.get<ById>("/docker/images/:id", { schema: { tags, summary: "Finds an image", params: ID_PARAMS, response: answers(IMAGE) } }, (request) =>
    imageOnWire(find(request.params.id)),
  );

  app.get<ById>(
    "/docker/images/:id/revalidate",
    { config: { mutates: true }, schema: { tags, summary: "Has an image validated again", params: ID_PARAMS, response: answers(IMAGE) } },
    (request) => {
      const image = find(request.params.id);
      requireManage(store, admission.caller(request), image.packageId);
      if (image.state === "DELETED") throw new Fault("REQUEST_INVALID", "The image was deleted: its package no longer has the folder.");
      lifecycle.wishValidation(image.id);
      return imageOnWire(find(image.id));
    },
  );
}
