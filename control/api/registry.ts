import { Type } from "typebox";
import { Fault } from "../../lib/fault.ts";
import type { RegistryBrowser, StoredManifest } from "../../gateway/contract.ts";
import { assignImage, imageOfRepository, repositoryOwner } from "../identity/rights.ts";
import { clientAbortSignal } from "./api-error.ts";
import { isoDate } from "./entities.ts";
import { namedTarget, IMAGE_ACTIONS } from "./record-audit.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import { DONE, nullable, REPOSITORY, TAGGED_IMAGE, type TaggedImageJson, text } from "./schemas.ts";
import type { Store } from "../store/open-store.ts";
import { splitReference } from "../model/names.ts";
import { DIGEST_PATTERN } from "../../lib/registry-client/digest.ts";

/** Names by the OCI Distribution Specification: words between slashes, never `..`. */
const WORD = "[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*";
const name = Type.String({ pattern: `^${WORD}(/${WORD})*$`, maxLength: 255 });
const OF_REPOSITORY = Type.Object({ repository: name });
const DELETED = Type.Object({
  repository: name,
  digest: Type.String({ pattern: `^${DIGEST_PATTERN}$` }),
  force: Type.Optional(Type.Boolean({ default: false, description: "delete it although containers use it" })),
});

/** The list shows the last tags by name, and reads so many at a time. */
const MOST_TAGS = 200;
const AT_ONCE = 8;

export type RegistryRouteDeps = {
  /** Undefined: there is no registry. */
  registry: RegistryBrowser | undefined;
  /** The usage at this moment. */
  usage(): Promise<ImageUsage>;
  /** The last pushes of the tags of a repository, as far as they are known. */
  pushes(repository: string): Promise<(tag: string) => TagPush | undefined | Promise<TagPush>>;
};

/** The images in the registry, and their usage. Only administrators delete. */
export function registryRoutes({ registry, usage: currentUsage, pushes }: RegistryRouteDeps): Route[] {
  const tags = ["registry"];
  const browser = () => {
    if (!registry)
      throw new Fault("REGISTRY_NOT_FOUND", "This berth has no registry: set REGISTRY_URL, or BERTH_REGISTRY=embedded for one of its own.");
    return registry;
  };

  /** Checks the digest, and every tag that points at it or at an index with it: a start may request the tag, and fails on an index with a missing part. */
  const requireUnused = async (repository: string, digest: string, signal: AbortSignal): Promise<void> => {
    const usage = await currentUsage();
    const users = usage.of(repository, undefined, digest);
    const includes = async (reference: string) => {
      const image = await browser().image(repository, reference, signal);
      return image !== undefined && (image.digest === digest || image.images.some((part) => part.digest === digest));
    };
    for (const tag of (await browser().tags(repository, signal)) ?? []) {
      const containers = usage.of(repository, tag, undefined);
      if (containers.length > 0 && (await includes(tag))) users.push(...containers);
    }
    for (const running of usage.digests(repository)) if (await includes(running)) users.push(...usage.of(repository, undefined, running));
    if (users.length === 0) return;
    throw new Fault(
      "STORED_IMAGE_IN_USE",
      `Containers use ${repository}@${digest}: ${[...new Set(users)].join(", ")}. With force=true it is deleted all the same.`,
    );
  };

  return [
    route({
      method: "GET",
      path: "/docker/registry/repositories",
      authorize: "session",
      schema: { tags, summary: "Lists repositories", response: Type.Array(REPOSITORY) },
      handle: async (_request, reply) => {
        const usage = await currentUsage();
        return (await browser().repositories(clientAbortSignal(reply))).map((repository) => ({
          name: repository,
          containers: usage.count(repository),
        }));
      },
    }),
    route({
      method: "GET",
      path: "/docker/registry/images",
      authorize: "session",
      schema: {
        tags,
        summary: `Lists the images of the tags of a repository, the last ${MOST_TAGS} by name`,
        querystring: OF_REPOSITORY,
        response: Type.Array(TAGGED_IMAGE),
      },
      handle: async (request, reply) => {
        const { repository } = request.query;
        const signal = clientAbortSignal(reply);
        const listed = await browser().tags(repository, signal);
        if (!listed) throw new Fault("STORED_IMAGE_NOT_FOUND", `There is no repository ${repository} in the registry.`);
        const usage = await currentUsage();
        const pushOf = await pushes(repository);
        const last = listed.toSorted().slice(-MOST_TAGS).toReversed();
        const images: TaggedImageJson[] = [];
        for (let at = 0; at < last.length; at += AT_ONCE) {
          const stored = await Promise.all(
            last.slice(at, at + AT_ONCE).map(async (tag) => {
              const image = await browser().image(repository, tag, signal);
              return image && taggedImageToJson(image, { tag, push: await pushOf(tag), usedBy: usage.of(repository, tag, image.digest) });
            }),
          );
          images.push(...stored.filter((image) => image !== undefined));
        }
        return images;
      },
    }),
    route({
      method: "DELETE",
      path: "/docker/registry/images",
      authorize: "admin",
      audit: { action: "imageDeleted", target: ({ query: { repository, digest } }) => `${repository}@${digest}` },
      schema: {
        tags,
        summary: "Deletes an image with all its tags; garbage collection deletes its layers",
        querystring: DELETED,
        response: DONE,
      },
      handle: async (request, reply) => {
        const { repository, digest, force } = request.query;
        const signal = clientAbortSignal(reply);
        const image = await browser().image(repository, digest, signal);
        if (!image) throw new Fault("STORED_IMAGE_NOT_FOUND", `There is no image ${repository}@${digest} in the registry.`);
        if (!force) await requireUnused(repository, digest, signal);
        await browser().remove(repository, digest, signal);
        return { isSuccess: true };
      },
    }),
  ];
}

type TagDetails = { tag: string; push: TagPush | undefined; usedBy: string[] };

function taggedImageToJson(image: StoredManifest, { tag, push, usedBy }: TagDetails): TaggedImageJson {
  return {
    ...image,
    tag,
    createdOn: image.createdOn ?? null,
    platform: image.platform ?? null,
    pushedBy: push?.by ?? null,
    pushedOn: push?.at === undefined ? null : isoDate(push.at),
    usedBy,
  };
}

const REPOSITORY_NAME = Type.String({ maxLength: 255, description: "`datagrok/<image>`" });
const OWNER = Type.Object({
  repository: text,
  login: nullable(text, { description: "its owner: the package's author, or the first user who pushed to it; null: no owner" }),
  package: nullable(text, { description: "the package that owns it, if one does" }),
});
const ASSIGNMENT = Type.Object({ repository: REPOSITORY_NAME, login: text }, { additionalProperties: false });

/** The owners of the registry's repositories, for administrators. Assigning a repository decides which of two users may use its name. */
export function repositoryOwnerRoutes({ store, clock }: Pick<RouteDeps, "store" | "clock">): Route[] {
  const tags = ["registry"];
  const imageOf = (repository: string): string => {
    const image = imageOfRepository(repository);
    if (image !== undefined) return image;
    throw new Fault("REQUEST_INVALID", `${JSON.stringify(repository)} has no owner: only repositories datagrok/<image> have one.`);
  };
  const ownerToJson = async (repository: string) => {
    const owner = await repositoryOwner(store, imageOf(repository));
    return { repository, login: (owner && (await store.users.find(owner.userId))?.login) ?? null, package: owner?.packageName ?? null };
  };

  return [
    route({
      method: "GET",
      path: "/docker/registry/owner",
      authorize: "admin",
      schema: { tags, summary: "Finds the owner of a repository", querystring: Type.Object({ repository: REPOSITORY_NAME }), response: OWNER },
      handle: async ({ query }) => ownerToJson(query.repository),
    }),
    route({
      method: "PUT",
      path: "/docker/registry/owner",
      authorize: "admin",
      audit: { action: "repositoryAssigned", target: ({ body }) => namedTarget(body.repository, body.login) },
      schema: {
        tags,
        summary: "Assigns a repository to a user: only that user's packages may use the image from now on",
        body: ASSIGNMENT,
        response: OWNER,
      },
      handle: async ({ body: { repository, login } }) => {
        const user = await store.users.byLogin(login);
        if (!user) throw new Fault("USER_NOT_FOUND", `There is no user ${login}.`);
        await assignImage(store, imageOf(repository), user.id, clock.now());
        return ownerToJson(repository);
      },
    }),
  ];
}

/** The last push of a tag: epoch ms, and a login. */
export type TagPush = { at: number | undefined; by: string | undefined };

export type ImageUsage = {
  /** Sorted names of the containers that run an image or will run it; by its digest too, since a tag may have moved. */
  of(repository: string, tag: string | undefined, digest: string | undefined): string[];
  /** Digests of a repository that containers run or will run. */
  digests(repository: string): string[];
  /** How many containers use an image of a repository. */
  count(repository: string): number;
};

/** For a registry without a control plane. */
export const NO_USAGE: ImageUsage = { of: () => [], digests: () => [], count: () => 0 };

type ContainerImage = { container: string; tag: string; digest: string | undefined };

/** Containers of one turn of the event loop. */
const CONTAINERS_AT_ONCE = 500;

/** Which containers use which images of the registry. Create one per response: it reads a little of every container once. */
export async function imageUsage(store: Pick<Store, "containers">): Promise<ImageUsage> {
  const uses = new Map<string, ContainerImage[]>();
  /** Many containers have the same reference. */
  const references = new Map<string, ReturnType<typeof splitReference>>();
  const add = (container: string, { ref, digest }: { ref: string; digest: string | undefined }) => {
    const reference = references.get(ref) ?? splitReference(ref);
    references.set(ref, reference);
    const use = { container, tag: reference.tag, digest };
    const segments = reference.name.split("/");
    // The host in a reference may be any name of this registry, and may have a path.
    for (const at of segments.keys()) {
      const repository = segments.slice(at).join("/");
      const of = uses.get(repository);
      if (of) of.push(use);
      else uses.set(repository, [use]);
    }
  };
  for (let after: string | undefined = ""; after !== undefined;) {
    const rows = await store.containers.imagesOfEach(after, CONTAINERS_AT_ONCE);
    for (const { name: container, image, deployed } of rows) {
      add(container, image);
      if (deployed) add(container, deployed);
    }
    after = rows.length < CONTAINERS_AT_ONCE ? undefined : rows.at(-1)?.id;
    await new Promise(setImmediate);
  }
  const usesOf = (repository: string) => uses.get(repository) ?? [];
  const sorted = (names: readonly string[]) => [...new Set(names)].toSorted();
  return {
    of: (repository, tag, digest) =>
      sorted(
        usesOf(repository)
          .filter((use) => (tag !== undefined && use.tag === tag) || (digest !== undefined && use.digest === digest))
          .map(({ container }) => container),
      ),
    digests: (repository) => sorted(usesOf(repository).flatMap(({ digest }) => digest ?? [])),
    count: (repository) => new Set(usesOf(repository).map(({ container }) => container)).size,
  };
}

/** Older pushes of one repository are not read. */
const MOST_PUSHES = 1_000;

/** The last push of each tag of a repository, as far as the audit log goes back; by tag. */
export async function lastPushes(store: Pick<Store, "audit">, repository: string): Promise<Map<string, TagPush>> {
  const pushes = new Map<string, TagPush>();
  for (const { target, login, at } of await store.audit.list({ action: IMAGE_ACTIONS.pushed, target: `${repository}:`, limit: MOST_PUSHES })) {
    if (target?.startsWith(`${repository}:`) !== true) continue;
    const tag = target.slice(repository.length + 1);
    if (!pushes.has(tag)) pushes.set(tag, { by: login, at });
  }
  return pushes;
}
