import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";

/** A tag as it lies on the disk: what it points to, and when it was last pushed, epoch ms. */
export type StoredTag = { tag: string; digest: string; pushedAt: number };

/** Every image that was ever pushed to a repository and not deleted, whether or not a tag still points to it; by when it was pushed last. */
export type StoredRevision = { digest: string; pushedAt: number };

export type StoredRepository = { name: string; tags: StoredTag[]; revisions: StoredRevision[] };

/** The digests of other images that an image names: what an index lists, deeply, and what a signature is about. */
export type ReferencedDigests = { lists: string[]; subject: string | undefined };

/** Distribution's layout, the same in versions 2 and 3. */
const ROOT = "docker/registry/v2";

/** Below the storage folder. */
export function blobFile(digest: string): string {
  const [algorithm = "", hex = ""] = digest.split(":");
  return join(ROOT, "blobs", algorithm, hex.slice(0, 2), hex, "data");
}

/**
 * Every repository with its tags and images, read from the disk: the time at which a tag was pushed is nowhere else (an image says when it was built, which
 * reproducible builds say was 1970).
 */
export async function loadStoredImages(storage: string): Promise<StoredRepository[]> {
  const repositories: StoredRepository[] = [];
  const readFolder = async (folder: string, name: string) => {
    for (const entry of await entriesOf(folder)) {
      if (entry === "_manifests") {
        const tags = await tagsIn(join(folder, entry, "tags"));
        repositories.push({ name, tags, revisions: await revisionsIn(join(folder, entry, "revisions")) });
      } else if (!entry.startsWith("_")) await readFolder(join(folder, entry), name === "" ? entry : `${name}/${entry}`);
    }
  };
  await readFolder(join(storage, ROOT, "repositories"), "");
  return repositories.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** When a tag was pushed last, epoch ms; undefined where there is no such tag. Both names are valid ones, as the registry itself lists them. */
export async function tagPushedAt(storage: string, repository: string, tag: string): Promise<number | undefined> {
  const link = join(storage, ROOT, "repositories", repository, "_manifests/tags", tag, "current/link");
  return stat(link).then(
    ({ mtimeMs }) => mtimeMs,
    () => undefined,
  );
}

/** The digests that each stored image names. Of a plain image, and of one that is gone, none. */
export async function loadReferencedDigests(
  storage: string,
  repositories: readonly StoredRepository[],
): Promise<(digest: string) => ReferencedDigests> {
  const manifests = new Map<string, StoredManifest>();
  const stored = new Set(repositories.flatMap(({ tags, revisions }) => [...tags, ...revisions].map(({ digest }) => digest)));
  for (const digest of stored) {
    const { manifests: listed, subject } = parseManifest(await readFile(join(storage, blobFile(digest)), "utf8").catch(() => ""));
    if (listed !== undefined || subject !== undefined) manifests.set(digest, { ...(listed && { manifests: listed }), ...(subject && { subject }) });
  }
  const lists = (digest: string): string[] => (manifests.get(digest)?.manifests ?? []).flatMap((one) => [one.digest, ...lists(one.digest)]);
  return (digest) => ({ lists: lists(digest), subject: manifests.get(digest)?.subject?.digest });
}

function parseManifest(text: string): StoredManifest {
  try {
    return JSON.parse(text) as StoredManifest;
  } catch {
    return {};
  }
}

type StoredManifest = { manifests?: { digest: string }[]; subject?: { digest: string } };

async function tagsIn(folder: string): Promise<StoredTag[]> {
  const tags: StoredTag[] = [];
  for (const tag of await entriesOf(folder)) {
    const link = await linkIn(join(folder, tag, "current"));
    if (link) tags.push({ tag, ...link });
  }
  return tags;
}

async function revisionsIn(folder: string): Promise<StoredRevision[]> {
  const revisions: StoredRevision[] = [];
  for (const algorithm of await entriesOf(folder))
    for (const hex of await entriesOf(join(folder, algorithm))) {
      const link = await linkIn(join(folder, algorithm, hex));
      if (link) revisions.push(link);
    }
  return revisions;
}

/** Undefined: it is pushed or deleted at this moment; of a deleted image the folder stays. */
async function linkIn(folder: string): Promise<StoredRevision | undefined> {
  const link = join(folder, "link");
  try {
    return { digest: (await readFile(link, "utf8")).trim(), pushedAt: (await stat(link)).mtimeMs };
  } catch {
    return undefined;
  }
}

async function entriesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}
