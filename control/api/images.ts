import type { FastifyInstance } from "fastify";
import { Fault } from "../../lib/fault.ts";
import { IMAGE_WIRE_STATES } from "../model/states.ts";
import type { Image } from "../model/entities.ts";
import type { Authorization } from "./authorization.ts";
import type { ApiDeps } from "./api-deps.ts";
import { detailOf, type ListFields, type ListQuery, momentOf, parseListing, stateOf, type SendList } from "./lists.ts";
import { createManageCheck, mayManagePackage, requireManage, mayUseImage } from "../identity/rights.ts";
import { parseUuid } from "./find-entities.ts";
import { imageToJson } from "./entity-json.ts";
import { responses, ID_PARAMS, IMAGE, IMAGE_COMPATIBLE, LIST_QUERY } from "./schemas.ts";
import { imageRepository, isOfRepository } from "../model/names.ts";
import type { Store } from "../store/open-store.ts";

type ById = { Params: { id: string } };

const FIELDS: ListFields = {
  id: { column: "id" },
  name: { column: "name" },
  friendlyName: { column: "friendly_name" },
  dockerName: { column: "name" },
  version: { column: "version" },
  imageRef: { column: "ref" },
  status: { column: "state", stored: stateOf(IMAGE_WIRE_STATES) },
  createdOn: { column: "created_on", stored: momentOf },
  updatedOn: { column: "updated_on", stored: momentOf },
};

const COMPATIBLE_PARAMS = { type: "object", properties: { name: { type: "string", description: "without `datagrok/`" } }, required: ["name"] };
const COMPATIBLE_QUERY = {
  type: "object",
  properties: {
    version: { type: "string", description: "of the package; of a debug publish, the developer's login" },
    contentHash: { type: "string", description: "of the folder, 64 hexadecimal digits" },
  },
};

export function imageRoutes(app: FastifyInstance, { store, lifecycle }: ApiDeps, admission: Authorization, sendList: SendList): void {
  const tags = ["docker images"];
  const find = (id: string): Image => {
    const image = store.images.find(parseUuid(id));
    if (!image) throw new Fault("IMAGE_ENTITY_NOT_FOUND", `There is no image ${id}.`);
    return image;
  };

  app.get<{ Querystring: ListQuery }>(
    "/docker/images",
    { schema: { tags, summary: "Lists images", querystring: LIST_QUERY, response: responses({ type: "array", items: IMAGE }) } },
    (request, reply) => {
      const listing = parseListing(request.query, FIELDS);
      const detail = detailOf(request.query);
      const caller = admission.caller(request);
      const may = createManageCheck(store, caller);
      return sendList(reply, {
        userId: caller.userId,
        limit: listing.limit,
        ids: () => store.images.ids(listing),
        rows: (ids) => store.images.some(ids).map((image) => imageToJson(image, may(image.packageId), detail)),
      });
    },
  );

  app.get<{ Querystring: ListQuery }>(
    "/docker/images/count",
    { schema: { tags, summary: "Counts images", querystring: LIST_QUERY, response: responses({ type: "integer" }) } },
    (request) => store.images.count(parseListing(request.query, FIELDS)),
  );

  app.get<{ Params: { name: string }; Querystring: CompatibleImageQuery }>(
    "/docker/images/:name/latest-compatible",
    {
      schema: {
        tags,
        summary: "A published image that can be run instead of building one",
        description:
          "An image that was built from the same content, whichever its version; else one of the same version, else the newest earlier one of the " +
          "same major and minor version. A release is never answered with a developer's own, mutable tag. 404 where there is none, or none in " +
          "`datagrok/{name}` of a package that the caller may manage.",
        params: COMPATIBLE_PARAMS,
        querystring: COMPATIBLE_QUERY,
        response: responses(IMAGE_COMPATIBLE),
      },
    },
    (request) => {
      const images = offeredImages(store, admission.caller(request), request.params.name);
      const found = latestCompatible(images, request.query);
      if (!found) throw new Fault("IMAGE_ENTITY_NOT_FOUND", "There is no image that could be run instead.");
      return found;
    },
  );

  app.get<ById>("/docker/images/:id", { schema: { tags, summary: "Finds an image", params: ID_PARAMS, response: responses(IMAGE) } }, (request) => {
    const image = find(request.params.id);
    return imageToJson(image, mayManagePackage(store, admission.caller(request), image.packageId));
  });

  app.get<ById>(
    "/docker/images/:id/revalidate",
    { config: { mutates: true }, schema: { tags, summary: "Has an image validated again", params: ID_PARAMS, response: responses(IMAGE) } },
    (request) => {
      const image = find(request.params.id);
      const caller = admission.caller(request);
      requireManage(store, caller, image.packageId);
      if (image.state === "DELETED") throw new Fault("REQUEST_INVALID", "The image was deleted: its package no longer has the folder.");
      lifecycle.requestValidation(image.id, caller.userId);
      return imageToJson(find(image.id), true);
    },
  );
}

export type CompatibleImageQuery = { version?: string | undefined; contentHash?: string | undefined };
export type CompatibleImage = { image: string; hashMatch: boolean };

/**
 * The images of this name that a caller can be offered: in the image's own repository, of packages that the caller may manage and whose author owns that
 * repository. Any other one would run somebody else's program in the caller's container.
 */
export function offeredImages(store: Store, caller: { userId: string; admin: boolean }, name: string): Image[] {
  const where = [{ columns: ["name"], holds: "is", value: name }] as const;
  return store.images.some(store.images.ids({ where })).filter(({ packageId, name: image, ref }) => {
    const authorId = store.packages.find(packageId)?.authorId;
    const isOwners = authorId !== undefined && mayUseImage(store, { id: authorId, admin: false }, image);
    return isOwners && mayManagePackage(store, caller, packageId) && isOfRepository(ref, imageRepository(image));
  });
}

/**
 * Which of an image's published versions a package can run instead of building it, so that an unchanged folder is not built again and a
 * package without Docker at hand runs what there is. One that was built from the same content serves any version; else the same version, else
 * the newest earlier one of the same major and minor. A debug publish asks with its developer's login in place of a version, and may have
 * any; a release is never given a developer's own tag, which may change under it. `images` are those of one name.
 */
export function latestCompatible(images: readonly Image[], { version, contentHash }: CompatibleImageQuery): CompatibleImage | undefined {
  const asked = parsePackageVersion(version);
  const ready = images.filter(({ state, mutable }) => state === "READY" && !(mutable && asked));
  const newest = ready.toSorted((a, b) => Number(a.mutable) - Number(b.mutable) || b.updatedOn - a.updatedOn);
  const same = newest.find((image) => contentHash !== undefined && isBuiltFrom(image, contentHash));
  if (same) return { image: same.ref, hashMatch: true };
  const near = asked ? newestEarlier(newest, asked) : (newest.find(({ ref }) => ref.endsWith(`:${version}`)) ?? newest[0]);
  return near && { image: near.ref, hashMatch: false };
}

/** A release's tag ends with the start of its content's hash as its client saw it, which may hold files that were not sent. */
function isBuiltFrom({ contentHash, ref, mutable }: Image, asked: string): boolean {
  return contentHash === asked || (!mutable && asked.length >= 8 && ref.endsWith(`.${asked.slice(0, 8)}`));
}

type PackageVersion = { major: number; minor: number; patch: number };

function parsePackageVersion(text: string | undefined): PackageVersion | undefined {
  const [whole, major, minor, patch] = /^(\d+)\.(\d+)\.(\d+)(?![\d])/.exec(text ?? "") ?? [];
  return whole === undefined ? undefined : { major: Number(major), minor: Number(minor), patch: Number(patch) };
}

function newestEarlier(images: readonly Image[], { major, minor, patch }: PackageVersion): Image | undefined {
  const line = images.flatMap((image) => {
    const version = parsePackageVersion(image.version);
    return version && version.major === major && version.minor === minor && version.patch <= patch ? [{ image, patch: version.patch }] : [];
  });
  return line.toSorted((a, b) => b.patch - a.patch)[0]?.image;
}
