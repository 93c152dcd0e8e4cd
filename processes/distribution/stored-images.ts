import { readdirSync, readFileSync, statSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";

/** A tag as it lies on the disk: what it points to, and when it was last pushed, epoch ms. */
export type StoredTag = { tag: string; digest: string; pushedAt: number };

/** Every image that was ever pushed to a repository and not deleted, whether or not a tag still points to it; by when it was pushed last. */
type StoredRevision = { digest: string; pushedAt: number };

type StoredRepository = { name: string; tags: StoredTag[]; revisions: StoredRevision[] };

/** The digests of other images that an image names: what an index lists, deeply, and what a signature is about. */
type ReferencedDigests = { lists: string[]; subject: string | undefined };

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

type KeptImage = { repository: string; digest: string; tag: string | undefined; why: "newest" | "used" | "same image" };
type ExpiredImage = { repository: string; digest: string; tags: string[] };
type Retention = { kept: KeptImage[]; removable: ExpiredImage[] };

export type RetentionRule = {
  /** How many tags of each repository stay, of those that were pushed last. */
  keep: number;
  /** What containers use, by whatever name of the registry. */
  used: readonly string[];
  names(digest: string): ReferencedDigests;
  /** Epoch ms: an image without a tag that was pushed since may be part of a push that goes on, which names it last of all. */
  since: number;
};

/**
 * What a rule leaves: of each repository the tags that were pushed last, all that is used, other tags of the same images, since a tag costs
 * nothing, and what any of these needs. All else is doomed, each image as a whole: with its tags, and without any where they moved on.
 */
export function retain(repositories: readonly StoredRepository[], rule: RetentionRule): Retention {
  const all = repositories.map((repository) => retainIn(repository, rule));
  return { kept: all.flatMap(({ kept }) => kept), removable: all.flatMap(({ removable }) => removable) };
}

function retainIn({ name: repository, tags, revisions }: StoredRepository, rule: RetentionRule): Retention {
  const newestFirst = tags.toSorted((a, b) => b.pushedAt - a.pushedAt || (a.tag < b.tag ? 1 : -1));
  const isUsed = (digest: string, tag?: string) => {
    const digests = [digest, ...rule.names(digest).lists];
    return rule.used.some((reference) => refersTo(reference, repository, tag, digests));
  };
  const whyKept = new Map<StoredTag, KeptImage["why"]>();
  for (const [at, tag] of newestFirst.entries()) {
    if (isUsed(tag.digest, tag.tag)) whyKept.set(tag, "used");
    else if (at < rule.keep) whyKept.set(tag, "newest");
  }
  const tagged = new Set(tags.map(({ digest }) => digest));
  const untagged = revisions.filter(({ digest }) => !tagged.has(digest));
  const usedUntagged = untagged.filter(({ digest }) => isUsed(digest));
  const young = untagged.filter(({ pushedAt }) => pushedAt >= rule.since);
  const needed = neededBy([...whyKept.keys(), ...usedUntagged, ...young], revisions, rule);
  for (const tag of newestFirst) if (!whyKept.has(tag) && needed.has(tag.digest)) whyKept.set(tag, "same image");

  const gone = new Map<string, string[]>();
  for (const tag of newestFirst) if (!whyKept.has(tag)) gone.set(tag.digest, [...(gone.get(tag.digest) ?? []), tag.tag]);
  for (const { digest } of untagged) if (!needed.has(digest)) gone.set(digest, []);
  return {
    kept: [
      ...newestFirst.flatMap((tag) => {
        const why = whyKept.get(tag);
        return why === undefined ? [] : [{ repository, digest: tag.digest, tag: tag.tag, why }];
      }),
      ...usedUntagged.map(({ digest }) => ({ repository, digest, tag: undefined, why: "used" as const })),
    ],
    removable: [...gone].map(([digest, itsTags]) => ({ repository, digest, tags: itsTags })),
  };
}

/** These, what they list, and the signatures of any of them: a signature names its subject, which does not name the signature. */
function neededBy(roots: readonly { digest: string }[], revisions: readonly StoredRevision[], { names }: RetentionRule): Set<string> {
  const needed = new Set<string>();
  const need = (digest: string) => {
    for (const one of [digest, ...names(digest).lists]) needed.add(one);
  };
  for (const { digest } of roots) need(digest);
  const signatures = revisions.map(({ digest }) => ({ digest, subject: names(digest).subject })).filter(({ subject }) => subject !== undefined);
  for (let before = -1; before !== needed.size;) {
    before = needed.size;
    for (const { digest, subject = "" } of signatures) if (needed.has(subject)) need(digest);
  }
  return needed;
}

/** Whether `reference`, at any registry, names this image. Without certainty the image is kept. */
function refersTo(reference: string, repository: string, tag: string | undefined, digests: readonly string[]): boolean {
  const [named = "", digest] = reference.split("@", 2);
  const colon = named.lastIndexOf(":");
  const tagged = colon > named.lastIndexOf("/");
  const name = tagged ? named.slice(0, colon) : named;
  if (name !== repository && !name.endsWith(`/${repository}`)) return false;
  if (digest !== undefined && digests.includes(digest)) return true;
  return tagged ? named.slice(colon + 1) === tag : digest === undefined && tag === "latest";
}
