import { hash } from "node:crypto";
import { readdir, readFile, rm, stat, utimes } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Fault } from "../../lib/fault.ts";
import { parseJson } from "../../lib/parse-json.ts";
import { replaceFileInBackground } from "../../lib/replace-file.ts";
import { isDigest } from "../../lib/registry-client/digest.ts";

/** A tag as it lies on the disk: what it points to, and when it was last pushed, epoch ms. */
export type StoredTag = { tag: string; digest: string; pushedAt: number };

/** Every image that was ever pushed to a repository and not deleted, whether or not a tag still points to it; by when it was pushed last. */
export type StoredRevision = { digest: string; pushedAt: number };

export type StoredRepository = { name: string; tags: StoredTag[]; revisions: StoredRevision[] };

/** The digests of other images that an image names itself: what an index lists, and what a signature is about. */
export type ReferencedDigests = { lists: readonly string[]; subject: string | undefined };

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

/** The tags of a repository now. Its name is a valid one. */
export function loadTags(storage: string, repository: string): Promise<StoredTag[]> {
  return tagsIn(join(storage, ROOT, "repositories", repository, "_manifests/tags"));
}

/** When a tag was pushed last, epoch ms; undefined where there is no such tag. Both names are valid ones, as the registry itself lists them. */
export async function tagPushedAt(storage: string, repository: string, tag: string): Promise<number | undefined> {
  const link = join(storage, ROOT, "repositories", repository, "_manifests/tags", tag, "current/link");
  return stat(link).then(
    ({ mtimeMs }) => mtimeMs,
    () => undefined,
  );
}

/** `sha256:`, `sha384:` or `sha512:` and the hexadecimal digits. */
const LINK_BYTES: ReadonlySet<number> = new Set([71, 103, 135]);

/**
 * Repairs links and manifests that a full disk or a crash left empty: Distribution collects no garbage at all while there is one, and deletes nothing in its repository.
 * A link is named by its own digest; a tag's newest image is in its index. What leads to no manifest is removed. Nothing may be written meanwhile. Returns how many
 * there were.
 */
export async function repairLinks(storage: string): Promise<number> {
  const broken: string[] = [];
  const find = async (folder: string): Promise<void> => {
    for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
      const path = join(folder, entry.name);
      if (entry.isDirectory() && entry.name !== "_uploads") await find(path);
      else if (entry.name === "link" && (!LINK_BYTES.has(await sizeOf(path)) || (isOfManifest(path) && (await isEmpty(storage, path)))))
        broken.push(path);
    }
  };
  await find(join(storage, ROOT, "repositories"));
  const ofTag = (link: string) => /^(.*\/_manifests)\/tags\/[^/]+\/current\/link$/.exec(link)?.[1];
  for (const link of broken.filter((one) => ofTag(one) === undefined)) {
    const digest = digestOfLink(link);
    if (!isDigest(digest) || (isOfManifest(link) && !(await isWhole(storage, digest)))) {
      await rm(dirname(link), { recursive: true, force: true });
      // Distribution takes an empty manifest for one that it has, also at its next push.
      if (isDigest(digest) && (await isEmpty(storage, link))) await rm(join(storage, dirname(blobFile(digest))), { recursive: true, force: true });
    } else await restore(link, digest);
  }
  for (const link of broken) {
    const manifests = ofTag(link);
    if (manifests === undefined) continue;
    const newest = (await revisionsIn(join(dirname(dirname(link)), "index"))).toSorted((one, other) => other.pushedAt - one.pushedAt);
    const stored = new Set((await revisionsIn(join(manifests, "revisions"))).map(({ digest }) => digest));
    const digest = newest.find((one) => stored.has(one.digest))?.digest;
    if (digest === undefined) await rm(dirname(dirname(link)), { recursive: true, force: true });
    else await restore(link, digest);
  }
  return broken.length;
}

/** Its time stays, by which tags are ordered. */
async function restore(link: string, digest: string): Promise<void> {
  const { atime, mtime } = await stat(link);
  await replaceFileInBackground(link, digest, { mode: 0o644 });
  await utimes(link, atime, mtime);
}

const isOfManifest = (link: string) => /\/_manifests\/revisions\//.test(link);
const digestOfLink = (link: string) => `${basename(dirname(dirname(link)))}:${basename(dirname(link))}`;
const isEmpty = async (storage: string, link: string) => (await sizeOf(join(storage, blobFile(digestOfLink(link))))) === 0;

/** 0 for a file that is not there. */
export async function sizeOf(file: string): Promise<number> {
  return stat(file).then(
    ({ size }) => size,
    () => 0,
  );
}

async function isWhole(storage: string, digest: string): Promise<boolean> {
  const file = join(storage, blobFile(digest));
  const size = await sizeOf(file);
  const [algorithm = "", hex] = digest.split(":");
  return size > 0 && size <= LARGEST_MANIFEST && hash(algorithm, await readFile(file)) === hex;
}

/** Distribution takes no larger manifest. */
const LARGEST_MANIFEST = 4 * 1_048_576;
/** Of one repository together. An index has one for each platform; more of them would fill the memory. */
const MOST_REFERENCES = 500_000;
const NONE: ReferencedDigests = { lists: [], subject: undefined };

/**
 * The digests that each image of a repository names. Of a plain image, and of one that is gone, none. Any user who may push writes these manifests, and
 * Distribution stores members that it does not know unchecked. Faults: REGISTRY_FAILED beyond the limits, since what an image needs is then unknown.
 */
export async function loadReferencedDigests(
  storage: string,
  { name, tags, revisions }: StoredRepository,
): Promise<(digest: string) => ReferencedDigests> {
  const references = new Map<string, ReferencedDigests>();
  let count = 0;
  for (const digest of new Set([...tags, ...revisions].map((image) => image.digest))) {
    const file = join(storage, blobFile(digest));
    const size = await sizeOf(file);
    const reference = size > LARGEST_MANIFEST ? undefined : parseReferences(await readFile(file, "utf8").catch(() => ""));
    count += reference?.lists.length ?? 0;
    if (reference === undefined || count > MOST_REFERENCES) {
      const why = reference ? `its images list more than ${MOST_REFERENCES} others` : `${digest} is larger than ${LARGEST_MANIFEST} bytes`;
      throw new Fault("REGISTRY_FAILED", `The images of ${name} are not judged, and all stay: ${why}.`);
    }
    if (reference.lists.length > 0 || reference.subject !== undefined) references.set(digest, reference);
  }
  return (digest) => references.get(digest) ?? NONE;
}

/** Each digest once. An entry that is none names nothing that could be pulled. */
function parseReferences(text: string): ReferencedDigests {
  const manifest = parseJson(text) as { manifests?: unknown; subject?: unknown } | null | undefined;
  if (manifest === undefined) return NONE;
  const entries: unknown[] = Array.isArray(manifest?.manifests) ? manifest.manifests : [];
  return { lists: [...new Set(entries.map(digestIn).filter((digest) => digest !== undefined))], subject: digestIn(manifest?.subject) };
}

function digestIn(descriptor: unknown): string | undefined {
  const { digest } = (descriptor ?? {}) as { digest?: unknown };
  return isDigest(digest) ? digest : undefined;
}

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
