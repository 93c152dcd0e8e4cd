import type { FastifyInstance } from "fastify";
import { Fault } from "../../lib/fault.ts";
import type { RegistryBrowser, StoredImage } from "../../gateway/contract.ts";
import { clientAbortSignal } from "./api-error.ts";
import type { ImageUsage, TagPush } from "./registry-usage.ts";
import { responses } from "./schemas.ts";

const text = { type: "string" } as const;
const textOrNull = { type: ["string", "null"] } as const;
const bytes = { type: "integer", description: "bytes, as they are stored" } as const;
const names = { type: "array", items: text } as const;
const REPOSITORY = {
  type: "object",
  properties: { name: text, containers: { type: "integer", description: "how many use an image of it" } },
} as const;
const IMAGE = {
  type: "object",
  properties: {
    tag: textOrNull,
    digest: text,
    mediaType: text,
    size: bytes,
    createdOn: { ...textOrNull, description: "when it was built, as it says itself" },
    platform: textOrNull,
    layers: { type: "array", items: { type: "object", properties: { digest: text, size: bytes } } },
    images: { type: "array", items: { type: "object", properties: { digest: text, size: bytes, platform: text } }, description: "of an index" },
    pushedBy: { ...textOrNull, description: "the login of who pushed this tag last, through this berth" },
    pushedOn: { ...textOrNull, format: "date-time" },
    usedBy: { ...names, description: "names of containers" },
  },
} as const;
const DONE = { type: "object", properties: { isSuccess: { type: "boolean" } } } as const;
/** As the OCI Distribution Specification has them: words between slashes, none of which is `..`. */
const WORD = "[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*";
const NAMED = { type: "object", properties: { repository: { type: "string", pattern: `^${WORD}(/${WORD})*$`, maxLength: 255 } } } as const;
const OF_REPOSITORY = { ...NAMED, required: ["repository"] } as const;
const DELETED = {
  type: "object",
  properties: {
    ...NAMED.properties,
    digest: { type: "string", pattern: "^[a-z0-9+._-]+:[0-9a-f]{32,128}$" },
    force: { type: "boolean", default: false, description: "although containers use it" },
  },
  required: ["repository", "digest"],
} as const;

/** So many tags are asked about, the last ones by name; and so many at a time. */
const MOST_TAGS = 200;
const AT_ONCE = 8;

export type RegistryRouteDeps = {
  /** Undefined where there is none. */
  registry: RegistryBrowser | undefined;
  /** As it is at this moment. */
  users(): ImageUsage;
  /** Of the tags of a repository, as far as pushes are known. */
  pushes(repository: string): (tag: string) => TagPush | undefined | Promise<TagPush>;
};

/** What lies in the registry that images are pushed to, and who uses it; deleting is for administrators. */
export function registryRoutes(app: FastifyInstance, { registry, users: usersNow, pushes }: RegistryRouteDeps): void {
  const tags = ["registry"];
  const browser = () => {
    if (!registry)
      throw new Fault("REGISTRY_NOT_FOUND", "This berth has no registry: set REGISTRY_URL, or BERTH_REGISTRY=embedded for one of its own.");
    return registry;
  };

  app.get(
    "/docker/registry/repositories",
    { schema: { tags, summary: "Lists repositories", response: responses({ type: "array", items: REPOSITORY }) } },
    async (_request, reply) => {
      const users = usersNow();
      return (await browser().repositories(clientAbortSignal(reply))).map((name) => ({ name, containers: users.count(name) }));
    },
  );

  app.get<{ Querystring: { repository: string } }>(
    "/docker/registry/images",
    {
      schema: {
        tags,
        summary: `What the tags of a repository point at, the last ${MOST_TAGS} by name`,
        querystring: OF_REPOSITORY,
        response: responses({ type: "array", items: IMAGE }),
      },
    },
    async (request, reply) => {
      const { repository } = request.query;
      const signal = clientAbortSignal(reply);
      const found = await browser().tags(repository, signal);
      if (!found) throw new Fault("STORED_IMAGE_NOT_FOUND", `There is no repository ${repository} in the registry.`);
      const users = usersNow();
      const pushOf = pushes(repository);
      const last = found.toSorted().slice(-MOST_TAGS).toReversed();
      const images: ReturnType<typeof onWire>[] = [];
      for (let at = 0; at < last.length; at += AT_ONCE) {
        const some = last.slice(at, at + AT_ONCE);
        const stored = await Promise.all(
          some.map(async (tag) => {
            const image = await browser().image(repository, tag, signal);
            return image && onWire(image, { tag, push: await pushOf(tag), usedBy: users.of(repository, tag, image.digest) });
          }),
        );
        images.push(...stored.filter((image) => image !== undefined));
      }
      return images;
    },
  );

  app.delete<{ Querystring: { repository: string; digest: string; force: boolean } }>(
    "/docker/registry/images",
    {
      config: { admits: "admin" },
      schema: {
        tags,
        summary: "Deletes an image with all of its tags; its layers go when garbage is collected",
        querystring: DELETED,
        response: responses(DONE),
      },
    },
    async (request, reply) => {
      const { repository, digest, force } = request.query;
      const signal = clientAbortSignal(reply);
      const image = await browser().image(repository, digest, signal);
      if (!image) throw new Fault("STORED_IMAGE_NOT_FOUND", `There is no image ${repository}@${digest} in the registry.`);
      if (!force) await requireUnused(repository, digest, signal);
      await browser().remove(repository, digest, signal);
      return { isSuccess: true };
    },
  );

  /** By its digest, and by every tag that points at it, or at an index with it in it: a start may ask for the tag, and gets no index of which a part is gone. */
  async function requireUnused(repository: string, digest: string, signal: AbortSignal): Promise<void> {
    const users = usersNow();
    const used = users.of(repository, undefined, digest);
    const holds = async (reference: string) => {
      const image = await browser().image(repository, reference, signal);
      return image !== undefined && (image.digest === digest || image.images.some((part) => part.digest === digest));
    };
    for (const tag of (await browser().tags(repository, signal)) ?? []) {
      const by = users.of(repository, tag, undefined);
      if (by.length > 0 && (await holds(tag))) used.push(...by);
    }
    for (const running of users.digests(repository)) if (await holds(running)) used.push(...users.of(repository, undefined, running));
    if (used.length === 0) return;
    throw new Fault(
      "STORED_IMAGE_IN_USE",
      `Containers use ${repository}@${digest}: ${[...new Set(used)].join(", ")}. With force=true it is deleted all the same.`,
    );
  }
}

type Tagged = { tag: string; push: TagPush | undefined; usedBy: string[] };

function onWire(image: StoredImage, { tag, push: { at, by } = { at: undefined, by: undefined }, usedBy }: Tagged) {
  const pushedOn = at === undefined ? null : new Date(at).toISOString();
  return { ...image, tag, createdOn: image.createdOn ?? null, platform: image.platform ?? null, pushedBy: by ?? null, pushedOn, usedBy };
}
