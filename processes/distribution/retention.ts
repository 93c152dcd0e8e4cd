import { posix } from "node:path";
import { Fault } from "../../lib/fault.ts";
import {
  loadReferencedDigests,
  loadStoredImages,
  type ReferencedDigests,
  type StoredRepository,
  type StoredRevision,
  type StoredTag,
} from "./stored-images.ts";

/** Which tags stay, of those that a rule is about; `tags`: undefined for images without a tag. */
export type TagRule = {
  /** Patterns: `*` is within a part of a name, `**` any number of parts. */
  repositories: string;
  tags: string | undefined;
  /** So many that were pushed last stay. */
  keep: number | undefined;
  /** What was pushed in so many days stays. */
  days: number | undefined;
};

const RULE = /^([a-z0-9*][a-z0-9*._/-]*)(?::([\w*.-]+)|@untagged)((?: +(?:keep|days)=\d{1,6}){1,2})$/;
const DAY_MS = 24 * 3_600_000;

/** `datagrok/*:pr-* keep=5 days=14`, `datagrok/*@untagged days=7`. Faults: SETTINGS_INVALID. */
export function parseTagRule(text: string): TagRule {
  const [, repositories, tags, numbers = ""] = RULE.exec(text.trim()) ?? [];
  const numberOf = (name: string) => {
    const value = new RegExp(`${name}=(\\d+)`).exec(numbers)?.[1];
    return value === undefined ? undefined : Number(value);
  };
  const rule = { repositories: repositories ?? "", tags, keep: numberOf("keep"), days: numberOf("days") };
  if (repositories === undefined || (tags === undefined && (rule.keep !== undefined || rule.days === undefined)))
    throw new Fault(
      "SETTINGS_INVALID",
      `${JSON.stringify(text)} is no rule of BERTH_REGISTRY_RETENTION. Write \`datagrok/*:pr-* keep=5 days=14\`, or \`datagrok/*@untagged days=7\`.`,
    );
  return rule;
}

export type KeptReason = "newest" | "recent" | "used" | "same image" | "no rule";
type KeptImage = { repository: string; digest: string; tag: string | undefined; why: KeptReason };
type ExpiredImage = { repository: string; digest: string; tags: string[] };
type Retention = { kept: KeptImage[]; removable: ExpiredImage[] };

export type RetentionPolicy = {
  /** The first one that is about a tag decides. A tag without a rule stays. */
  rules: readonly TagRule[];
  /** What containers and kept versions of packages use, by whatever name of the registry. */
  used: readonly string[];
  names(digest: string): ReferencedDigests;
  /** Epoch ms. */
  now: number;
};

/** An image without a tag that was pushed so recently may be part of a push that goes on, which names it last of all. */
const IN_FLIGHT_MS = DAY_MS;

/**
 * What the rules leave: of each repository the tags that they keep, all that is used, other tags of the same images, since a tag costs nothing, and what
 * any of these needs. Other images are removable, each as a whole: with its tags, or without any if they moved on.
 */
export function retain(repositories: readonly StoredRepository[], policy: RetentionPolicy): Retention {
  const all = repositories.map((repository) => retainIn(repository, policy));
  return { kept: all.flatMap(({ kept }) => kept), removable: all.flatMap(({ removable }) => removable) };
}

function retainIn({ name: repository, tags, revisions }: StoredRepository, policy: RetentionPolicy): Retention {
  const newestFirst = tags.toSorted((a, b) => b.pushedAt - a.pushedAt || (a.tag < b.tag ? 1 : -1));
  const isUsed = (digest: string, tag?: string) => {
    const digests = [digest, ...policy.names(digest).lists];
    return policy.used.some((reference) => refersTo(reference, repository, tag, digests));
  };
  const rules = policy.rules.filter((rule) => posix.matchesGlob(repository, rule.repositories));
  const isWithin = (pushedAt: number, days: number | undefined) => days !== undefined && policy.now - pushedAt < days * DAY_MS;
  const counts = new Map<TagRule, number>();
  const whyKept = new Map<StoredTag, KeptReason>();
  for (const tag of newestFirst) {
    const rule = rules.find(({ tags: pattern }) => pattern !== undefined && posix.matchesGlob(tag.tag, pattern));
    const earlier = rule ? (counts.get(rule) ?? 0) : 0;
    if (rule) counts.set(rule, earlier + 1);
    if (isUsed(tag.digest, tag.tag)) whyKept.set(tag, "used");
    else if (rule === undefined) whyKept.set(tag, "no rule");
    else if (earlier < (rule.keep ?? 0)) whyKept.set(tag, "newest");
    else if (isWithin(tag.pushedAt, rule.days)) whyKept.set(tag, "recent");
  }
  const tagged = new Set(tags.map(({ digest }) => digest));
  const untagged = revisions.filter(({ digest }) => !tagged.has(digest));
  const usedUntagged = untagged.filter(({ digest }) => isUsed(digest));
  const untaggedRule = rules.find(({ tags: pattern }) => pattern === undefined);
  const young = untagged.filter(
    ({ pushedAt }) => untaggedRule === undefined || policy.now - pushedAt <= IN_FLIGHT_MS || isWithin(pushedAt, untaggedRule.days),
  );
  const needed = neededBy([...whyKept.keys(), ...usedUntagged, ...young], revisions, policy);
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
function neededBy(roots: readonly { digest: string }[], revisions: readonly StoredRevision[], { names }: RetentionPolicy): Set<string> {
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

/** Applies rules to the images of a folder; `remove` is called for each image that goes, unless it is a dry run. Faults: those of `remove`. */
export async function retainImages(
  storage: string,
  { dryRun, remove, ...policy }: Omit<RetentionPolicy, "names"> & { dryRun: boolean; remove(repository: string, digest: string): Promise<void> },
): Promise<Retention> {
  const repositories = await loadStoredImages(storage);
  const retention = retain(repositories, { ...policy, names: await loadReferencedDigests(storage, repositories) });
  if (!dryRun) for (const { repository, digest } of retention.removable) await remove(repository, digest);
  return retention;
}
