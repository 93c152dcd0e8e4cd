import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/** A tag as it lies on the disk: what it points to, and when it was last pushed, epoch ms. */
export type StoredTag = { tag: string; digest: string; pushedAt: number };

export type StoredRepository = { name: string; tags: StoredTag[] };

/** Distribution's layout, the same in versions 2 and 3. */
const ROOT = "docker/registry/v2";

/** Below the storage folder. */
export function blobFile(digest: string): string {
  const [algorithm = "", hex = ""] = digest.split(":");
  return join(ROOT, "blobs", algorithm, hex.slice(0, 2), hex, "data");
}

/**
 * Every repository and its tags, read from the disk: the time at which a tag was pushed is nowhere else (an image says when it was built, which
 * reproducible builds say was 1970).
 */
export function storedImages(storage: string): StoredRepository[] {
  const found: StoredRepository[] = [];
  const look = (folder: string, name: string) => {
    for (const entry of entriesOf(folder)) {
      if (entry === "_manifests") found.push({ name, tags: tagsIn(join(folder, entry, "tags")) });
      else if (!entry.startsWith("_")) look(join(folder, entry), name === "" ? entry : `${name}/${entry}`);
    }
  };
  look(join(storage, ROOT, "repositories"), "");
  return found.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** The digests that an index lists, and those that these list; none for a plain image. */
export function listedIn(storage: string, digest: string): string[] {
  try {
    const { manifests = [] } = JSON.parse(readFileSync(join(storage, blobFile(digest)), "utf8")) as { manifests?: { digest: string }[] };
    return manifests.flatMap((one) => [one.digest, ...listedIn(storage, one.digest)]);
  } catch {
    return [];
  }
}

function tagsIn(folder: string): StoredTag[] {
  return entriesOf(folder).flatMap((tag) => {
    const link = join(folder, tag, "current/link");
    try {
      return [{ tag, digest: readFileSync(link, "utf8").trim(), pushedAt: statSync(link).mtimeMs }];
    } catch {
      // Pushed or deleted at this moment.
      return [];
    }
  });
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
