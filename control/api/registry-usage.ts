import type { Store } from "../store/open-store.ts";
import { IMAGE_ACTIONS } from "./record-audit.ts";

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

/** Which containers use which images of the registry. Create one per response: it reads every container once. */
export function imageUsage(store: Store): ImageUsage {
  const images = new Map(store.images.all().map((image) => [image.id, image]));
  const uses = store.containers.all().flatMap((container) => {
    const image = images.get(container.imageId);
    if (!image || image.state === "DELETED") return [];
    return [image, ...(container.deployed ? [container.deployed] : [])].map(({ ref, digest }) => ({
      container: container.name,
      ref: parseReference(ref),
      digest,
    }));
  });
  const sorted = (names: readonly string[]) => [...new Set(names)].toSorted();
  // The host in a reference may be any name of this registry.
  const isOf = (repository: string, name: string) => name === repository || name.endsWith(`/${repository}`);
  return {
    of: (repository, tag, digest) =>
      sorted(
        uses
          .filter(
            ({ ref, digest: used }) =>
              isOf(repository, ref.name) && ((tag !== undefined && ref.tag === tag) || (digest !== undefined && used === digest)),
          )
          .map(({ container }) => container),
      ),
    digests: (repository) => sorted(uses.flatMap(({ ref, digest }) => (digest !== undefined && isOf(repository, ref.name) ? [digest] : []))),
    count: (repository) => sorted(uses.filter(({ ref }) => isOf(repository, ref.name)).map(({ container }) => container)).length,
  };
}

function parseReference(ref: string): { name: string; tag: string } {
  const [named = ""] = ref.split("@", 1);
  const colon = named.lastIndexOf(":");
  return colon > named.lastIndexOf("/") ? { name: named.slice(0, colon), tag: named.slice(colon + 1) } : { name: named, tag: "latest" };
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
