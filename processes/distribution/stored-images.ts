import { readdirSync, readFileSync, statSync } from "node:fs";
import { stat } from "node:fs/promises";
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
export function loadStoredImages(storage: string): StoredRepository[] {
  const repositories: StoredRepository[] = [];
  const readFolder = (folder: string, name: string) => {
    for (const entry of entriesOf(folder)) {
      if (entry === "_manifests")
        repositories.push({ name, tags: tagsIn(join(folder, entry, "tags")), revisions: revisionsIn(join(folder, entry, "revisions")) });
      else if (!entry.startsWith("_")) readFolder(join(folder, entry), name === "" ? entry : `${name}/${entry}`);
    }
  };
  readFolder(join(storage, ROOT, "repositories"), "");
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

/** Of a plain image, and of one that is gone, none. */
export function referencedDigests(storage: string, digest: string): ReferencedDigests {
  try {
    const { manifests = [], subject } = JSON.parse(readFileSync(join(storage, blobFile(digest)), "utf8")) as StoredManifest;
    return { lists: manifests.flatMap((one) => [one.digest, ...referencedDigests(storage, one.digest).lists]), subject: subject?.digest };
  } catch {
    return { lists: [], subject: undefined };
  }
}

type StoredManifest = { manifests?: { digest: string }[]; subject?: { digest: string } };

function tagsIn(folder: string): StoredTag[] {
  return entriesOf(folder).flatMap((tag) => linkIn(join(folder, tag, "current")).map((link) => ({ tag, ...link })));
}

function revisionsIn(folder: string): StoredRevision[] {
  return entriesOf(folder).flatMap((algorithm) => entriesOf(join(folder, algorithm)).flatMap((hex) => linkIn(join(folder, algorithm, hex))));
}

function linkIn(folder: string): StoredRevision[] {
  const link = join(folder, "link");
  try {
    return [{ digest: readFileSync(link, "utf8").trim(), pushedAt: statSync(link).mtimeMs }];
  } catch {
    // Pushed or deleted at this moment; of a deleted image the folder stays.
    return [];
  }
}

function entriesOf(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch {
    return [];
  }
}
