import type { StoredRepository, StoredTag } from "./stored-images.ts";

export type Kept = { repository: string; tag: StoredTag; why: "newest" | "used" | "same image" };
export type Doomed = { repository: string; digest: string; tags: StoredTag[] };
export type Retention = { kept: Kept[]; doomed: Doomed[] };

/**
 * What a rule leaves: of each repository the `keep` tags that were pushed last, all that `used` names, and other tags of the same images, since
 * a tag costs nothing. `listed`: the digests that an index lists. An image is doomed as a whole, with all of its tags; what an index listed
 * goes with it where nothing else needs it.
 */
export function retain(
  repositories: readonly StoredRepository[],
  rule: { keep: number; used: readonly string[]; listed(digest: string): readonly string[] },
): Retention {
  const kept: Kept[] = [];
  const doomed: Doomed[] = [];
  for (const { name, tags } of repositories) {
    const newestFirst = tags.toSorted((a, b) => b.pushedAt - a.pushedAt || (a.tag < b.tag ? 1 : -1));
    const isUsed = (tag: StoredTag) => rule.used.some((reference) => refersTo(reference, name, tag.tag, [tag.digest, ...rule.listed(tag.digest)]));
    const whyKept = new Map<StoredTag, Kept["why"]>();
    for (const [at, tag] of newestFirst.entries()) {
      if (isUsed(tag)) whyKept.set(tag, "used");
      else if (at < rule.keep) whyKept.set(tag, "newest");
    }
    const needed = new Set([...whyKept.keys()].flatMap(({ digest }) => [digest, ...rule.listed(digest)]));
    for (const tag of newestFirst) if (!whyKept.has(tag) && needed.has(tag.digest)) whyKept.set(tag, "same image");
    for (const tag of newestFirst) {
      const why = whyKept.get(tag);
      if (why !== undefined) kept.push({ repository: name, tag, why });
    }
    const gone = new Map<string, StoredTag[]>();
    for (const tag of newestFirst) if (!whyKept.has(tag)) gone.set(tag.digest, [...(gone.get(tag.digest) ?? []), tag]);
    for (const [digest, itsTags] of gone) doomed.push({ repository: name, digest, tags: itsTags });
    // What an index listed has no tag of its own, mostly: nobody would find it again.
    for (const digest of new Set([...gone.keys()].flatMap((one) => rule.listed(one)))) {
      if (!needed.has(digest) && !gone.has(digest)) doomed.push({ repository: name, digest, tags: [] });
    }
  }
  return { kept, doomed };
}

/** Whether `reference`, at whatever registry it is said to be, means this image: rather one too many is kept. */
function refersTo(reference: string, repository: string, tag: string, digests: readonly string[]): boolean {
  const [named = "", digest] = reference.split("@", 2);
  const colon = named.lastIndexOf(":");
  const tagged = colon > named.lastIndexOf("/");
  const name = tagged ? named.slice(0, colon) : named;
  if (name !== repository && !name.endsWith(`/${repository}`)) return false;
  if (digest !== undefined && digests.includes(digest)) return true;
  return tagged ? named.slice(colon + 1) === tag : digest === undefined && tag === "latest";
}
