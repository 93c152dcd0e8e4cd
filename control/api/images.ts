import { type Static, Type } from "typebox";
import { Fault } from "../../lib/fault.ts";
import { createManageCheck, mayManagePackage, mayUseImage, requireManage } from "../identity/rights.ts";
import type { DeployedImage, Image } from "../model/entities.ts";
import { imageRepository, isOfRepository } from "../model/names.ts";
import { IMAGE_WIRE_STATES } from "../model/states.ts";
import type { Store } from "../store/open-store.ts";
import type { ApiCaller } from "./authorization.ts";
import { imageToJson, requireImage } from "./entities.ts";
import { detailOf, type ListFields, momentOf, parseListing, stateOf } from "./lists.ts";
import { namedTarget } from "./record-audit.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import { count, ID_PARAMS, IMAGE, LIST_QUERY, text } from "./schemas.ts";

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

const COMPATIBLE_PARAMS = Type.Object({ name: Type.String({ description: "without `datagrok/`" }) });
const COMPATIBLE_QUERY = Type.Object({
  version: Type.Optional(Type.String({ description: "of the package; for a debug publish, the developer's login" })),
  contentHash: Type.Optional(Type.String({ description: "of the folder, 64 hexadecimal digits" })),
});
const COMPATIBLE_IMAGE = Type.Object({
  image: text,
  hashMatch: Type.Boolean({ description: "it was built from exactly this content" }),
});
const REFERENCES = Type.Object({ references: Type.Array(text) });

type CompatibleImage = Static<typeof COMPATIBLE_IMAGE>;

export function imageRoutes({ store, lifecycle, authorization, sendList }: RouteDeps): Route[] {
  const tags = ["docker images"];
  const note = lifecycle.disabled?.message;

  return [
    route({
      method: "GET",
      path: "/docker/images",
      authorize: "session",
      schema: { tags, summary: "Lists images", querystring: LIST_QUERY, response: Type.Array(IMAGE) },
      handle: async (request, reply) => {
        const listing = parseListing(request.query, FIELDS);
        const detail = detailOf(request.query);
        const caller = authorization.caller(request);
        const mayManage = createManageCheck(store, caller);
        return sendList(reply, {
          userId: caller.userId,
          limit: listing.limit,
          ids: () => store.images.ids(listing),
          rows: async (ids) =>
            Promise.all((await store.images.some(ids)).map(async (image) => imageToJson(image, await mayManage(image.packageId), detail, note))),
        });
      },
    }),
    route({
      method: "GET",
      path: "/docker/images/count",
      authorize: "session",
      schema: { tags, summary: "Counts images", querystring: LIST_QUERY, response: count },
      handle: async ({ query }) => store.images.count(parseListing(query, FIELDS)),
    }),
    route({
      method: "GET",
      path: "/docker/images/:name/latest-compatible",
      authorize: "publisher",
      schema: {
        tags,
        summary: "Finds a published image that can run instead of a new build",
        description:
          "The image that was built from the same content, in any version. Otherwise the image of the same version, otherwise the newest earlier one of " +
          "the same major and minor version. A release never receives the mutable tag of a developer. 404: there is no such image in " +
          "`datagrok/{name}` of a package that the caller may manage.",
        params: COMPATIBLE_PARAMS,
        querystring: COMPATIBLE_QUERY,
        response: COMPATIBLE_IMAGE,
      },
      handle: async (request) => {
        const caller = authorization.caller(request);
        const images = await offeredImages(store, caller, request.params.name);
        const image = latestCompatible(images, request.query);
        if (!image) throw new Fault("IMAGE_ENTITY_NOT_FOUND", "No published image can run instead of a new build.");
        return image;
      },
    }),
    route({
      method: "GET",
      path: "/docker/images/:id",
      authorize: "publisher",
      schema: { tags, summary: "Finds an image", params: ID_PARAMS, response: IMAGE },
      handle: async (request) => {
        const image = await requireImage(store, request.params.id);
        const caller = authorization.caller(request);
        if (!(await isForCaller(store, caller, image)))
          throw new Fault("NOT_PERMITTED", "The image is of another package than those of this CI job.");
        return imageToJson(image, await mayManagePackage(store, caller, image.packageId), "whole", note);
      },
    }),
    route({
      method: "GET",
      path: "/docker/images/:id/revalidate",
      authorize: "session",
      audit: { action: "imageRevalidated", target: async ({ params: { id } }) => namedTarget((await store.images.find(id))?.name, id) },
      schema: { tags, summary: "Validates an image again", params: ID_PARAMS, response: IMAGE },
      handle: async (request) => {
        const image = await requireImage(store, request.params.id);
        const caller = authorization.caller(request);
        await requireManage(store, caller, image.packageId);
        if (image.state === "DELETED") throw new Fault("REQUEST_INVALID", "The image was deleted: its package no longer has the folder.");
        await lifecycle.requestValidation(image.id, caller.userId);
        return imageToJson(await requireImage(store, image.id), true, "whole", note);
      },
    }),
    // For `berth registry retain`: a registry must not delete these.
    route({
      method: "GET",
      path: "/admin/images-in-use",
      authorize: "admin",
      schema: { tags: ["server"], summary: "Lists references of the images that containers use or will use", response: REFERENCES },
      handle: async () => ({ references: await imagesInUse(store) }),
    }),
  ];
}

/** References of the images that containers, or kept versions of packages, use or will use: a registry must not delete these. */
export async function imagesInUse(store: Store): Promise<string[]> {
  const images = await store.images.inUse();
  const earlier = await store.packageVersions.images();
  const named = [...images.map(({ name, version }) => `${name}:${version}`), ...[...images, ...earlier].map(({ resolvedId }) => resolvedId ?? "")];
  const references = [...named, ...[...images, ...(await store.containers.deployed()), ...earlier].flatMap(referencesOf)];
  return [...new Set(references)].filter((one) => one !== "");
}

/**
 * The images of this name that a caller can use: in the image's own repository, of packages that the caller may manage and whose author owns that
 * repository. Any other image would run another user's program in the caller's container.
 */
async function offeredImages(store: Store, caller: ImageCaller, name: string): Promise<Image[]> {
  const where = [{ columns: ["name"], holds: "is", value: name }] as const;
  const offered: Image[] = [];
  for (const image of await store.images.some(await store.images.ids({ where }))) {
    if (!(await isForCaller(store, caller, image))) continue;
    const authorId = (await store.packages.find(image.packageId))?.authorId;
    const isOwners = authorId !== undefined && (await mayUseImage(store, { id: authorId, admin: false }, image.name));
    if (isOwners && (await mayManagePackage(store, caller, image.packageId)) && isOfRepository(image.ref, imageRepository(image.name)))
      offered.push(image);
  }
  return offered;
}

type ImageCaller = Pick<ApiCaller, "userId" | "admin" | "job">;

/** False for a CI job and an image of a package that its publisher does not name. */
async function isForCaller(store: Store, { job }: ImageCaller, { packageId }: Image): Promise<boolean> {
  if (job === undefined) return true;
  const name = (await store.packages.find(packageId))?.name;
  return name !== undefined && job.publisher.packages.includes(name);
}

/**
 * The published version of an image that a package can run instead of a new build: clients then skip unchanged folders, and publish without Docker. An image
 * of the same content fits any version; otherwise the same version, otherwise the newest earlier one of the same major and minor. A debug publish has the
 * developer's login as its version and may use any image. A release never receives a developer's tag, which may move. `images` are those of one name.
 */
function latestCompatible(images: readonly Image[], { version, contentHash }: Static<typeof COMPATIBLE_QUERY>): CompatibleImage | undefined {
  const wanted = parsePackageVersion(version);
  const ready = images.filter(({ state, mutable }) => state === "READY" && !(mutable && wanted));
  const newest = ready.toSorted((a, b) => Number(a.mutable) - Number(b.mutable) || b.updatedOn - a.updatedOn);
  const same = newest.find((image) => contentHash !== undefined && isBuiltFrom(image, contentHash));
  if (same) return { image: same.ref, hashMatch: true };
  const near = wanted ? newestEarlier(newest, wanted) : (newest.find(({ ref }) => ref.endsWith(`:${version}`)) ?? newest[0]);
  return near && { image: near.ref, hashMatch: false };
}

/** A release's tag ends with the start of the content hash as its client computed it, perhaps with files that it did not send. */
function isBuiltFrom({ contentHash, ref, mutable }: Image, hash: string): boolean {
  return contentHash === hash || (!mutable && hash.length >= 8 && ref.endsWith(`.${hash.slice(0, 8)}`));
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

/** By its digest too: its tag may have moved. */
function referencesOf({ ref, digest }: DeployedImage): string[] {
  return digest === undefined ? [ref] : [ref, `${ref.split("@", 1)[0]}@${digest}`];
}
