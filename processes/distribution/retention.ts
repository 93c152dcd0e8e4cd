import { posix } from "node:path";
import { Fault } from "../../lib/fault.ts";
import {
  loadReferencedDigests,
  loadStoredImages,
  loadTags,
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

type KeptReason = "newest" | "recent" | "used" | "same image" | "signature" | "no rule";
type KeptImage = { repository: string; digest: string; tag: string | undefined; why: KeptReason };
type ExpiredImage = { repository: string; digest: string; tags: string[] };
type Retention = { kept: KeptImage[]; removable: ExpiredImage[] };

export type RetentionPolicy = {
  /** The first one that is about a tag decides. A tag without a rule stays. */
  rules: readonly TagRule[];
  /** What containers and kept versions of packages use, by whatever name of the registry. */
  used: readonly string[];
  /** What an image names itself. */
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
  const used = indexReferences(policy.used);
  const all = repositories.map((repository) => retainIn(repository, { ...policy, used: used(repository.name) }));
  return { kept: all.flatMap(({ kept }) => kept), removable: all.flatMap(({ removable }) => removable) };
}

type RepositoryPolicy = Omit<RetentionPolicy, "used"> & { used: UsedImages };

function retainIn({ name: repository, tags, revisions }: StoredRepository, policy: RepositoryPolicy): Retention {
  const newestFirst = tags.toSorted((a, b) => b.pushedAt - a.pushedAt || (a.tag < b.tag ? 1 : -1));
  const usedDigests = withIndexes(policy.used.digests, [...tags, ...revisions], policy.names);
  const isUsed = (digest: string, tag?: string) => usedDigests.has(digest) || (tag !== undefined && policy.used.tags.has(tag));
  const rules = policy.rules.filter((rule) => posix.matchesGlob(repository, rule.repositories));
  const isWithin = (pushedAt: number, days: number | undefined) => days !== undefined && policy.now - pushedAt < days * DAY_MS;
  const counts = new Map<TagRule, number>();
  const whyKept = new Map<StoredTag, KeptReason>();
  const stored = new Set([...tags, ...revisions].map(({ digest }) => digest));
  const attached = new Map<StoredTag, string>();
  for (const tag of tags) {
    const subject = subjectOfTag(tag);
    if (subject !== undefined && stored.has(subject)) attached.set(tag, subject);
  }
  for (const tag of newestFirst) {
    const rule = rules.find(({ tags: pattern }) => pattern !== undefined && posix.matchesGlob(tag.tag, pattern));
    const isAttached = attached.has(tag);
    const earlier = rule ? (counts.get(rule) ?? 0) : 0;
    if (rule && !isAttached) counts.set(rule, earlier + 1);
    if (isUsed(tag.digest, tag.tag)) whyKept.set(tag, "used");
    else if (rule === undefined) whyKept.set(tag, "no rule");
    // It stays as long as its image, and goes with it.
    else if (isAttached) continue;
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
  const needed = neededBy([...whyKept.keys(), ...usedUntagged, ...young], { revisions, attached }, policy);
  for (const tag of newestFirst) if (!whyKept.has(tag) && needed.has(tag.digest)) whyKept.set(tag, attached.has(tag) ? "signature" : "same image");

  const gone = new Map<string, string[]>();
  for (const tag of newestFirst) if (!whyKept.has(tag)) addTo(gone, tag.digest, tag.tag);
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

/**
 * The image that a tag is about by its name: cosign stores signatures as `sha256-<hex>.sig`, and clients of registries without the referrers API list what
 * refers to an image under `sha256-<hex>`. Undefined for every other tag.
 */
function subjectOfTag({ tag }: StoredTag): string | undefined {
  const [, hex] = /^sha256-([0-9a-f]{64})(?:\.[a-z]+)?$/.exec(tag) ?? [];
  return hex === undefined ? undefined : `sha256:${hex}`;
}

/** These, what they list, and the signatures of any of them: a signature names its subject, in its manifest or by its tag; the subject names no signature. */
function neededBy(
  roots: readonly { digest: string }[],
  { revisions, attached }: { revisions: readonly StoredRevision[]; attached: ReadonlyMap<StoredTag, string> },
  { names }: Pick<RetentionPolicy, "names">,
): Set<string> {
  const signatures = new Map<string, string[]>();
  for (const [{ digest }, subject] of attached) addTo(signatures, subject, digest);
  for (const { digest } of revisions) {
    const { subject } = names(digest);
    if (subject !== undefined) addTo(signatures, subject, digest);
  }
  return reach(
    roots.map(({ digest }) => digest),
    (digest) => [...names(digest).lists, ...(signatures.get(digest) ?? [])],
  );
}

/** These digests, and those of the indexes that list any of them, at any depth. */
function withIndexes(digests: ReadonlySet<string>, images: readonly { digest: string }[], names: RetentionPolicy["names"]): Set<string> {
  const indexes = new Map<string, string[]>();
  if (digests.size > 0)
    for (const index of new Set(images.map(({ digest }) => digest))) for (const listed of names(index).lists) addTo(indexes, listed, index);
  return reach([...digests], (digest) => indexes.get(digest) ?? []);
}

/** Each digest once, however often and deeply it is listed: a few manifests that list each other many times are pushed in a second. */
function reach(roots: readonly string[], next: (digest: string) => readonly string[]): Set<string> {
  const reached = new Set(roots);
  for (const digest of reached) for (const one of next(digest)) reached.add(one);
  return reached;
}

function addTo(map: Map<string, string[]>, key: string, value: string): void {
  const values = map.get(key);
  if (values) values.push(value);
  else map.set(key, [value]);
}

/** What references name in one repository. */
type UsedImages = { tags: ReadonlySet<string>; digests: ReadonlySet<string> };

/** What `references` name in a repository, at any registry. Without certainty the image is kept. */
function indexReferences(references: readonly string[]): (repository: string) => UsedImages {
  const byName = new Map<string, { tags: Set<string>; digests: Set<string> }>();
  for (const reference of references) {
    const [named = "", digest] = reference.split("@", 2);
    const colon = named.lastIndexOf(":");
    const tagged = colon > named.lastIndexOf("/");
    const tag = tagged ? named.slice(colon + 1) : digest === undefined ? "latest" : undefined;
    // Of `host/team/app` it may be `team/app` or `app` too: the first parts may be of another proxy.
    for (let name = tagged ? named.slice(0, colon) : named, slash = 0; slash >= 0; name = name.slice(slash + 1)) {
      const used = byName.get(name) ?? { tags: new Set(), digests: new Set() };
      byName.set(name, used);
      if (tag !== undefined) used.tags.add(tag);
      if (digest !== undefined) used.digests.add(digest);
      slash = name.indexOf("/");
    }
  }
  return (repository) => byName.get(repository) ?? { tags: new Set(), digests: new Set() };
}

/** `failures`: why repositories or images are left as they are. */
type RetentionRun = Retention & { failures: { repository: string; why: string }[] };

/**
 * Applies rules to the images of a folder; `remove` is called for each image that goes, unless it is a dry run. Images of one repository are judged
 * apart from the others, so that what one user pushed does not end the run. An image that was pushed again meanwhile stays. After a failed `remove` the
 * rest of its repository stays too.
 */
export async function retainImages(
  storage: string,
  { dryRun, remove, ...policy }: Omit<RetentionPolicy, "names"> & { dryRun: boolean; remove(repository: string, digest: string): Promise<void> },
): Promise<RetentionRun> {
  const used = indexReferences(policy.used);
  const run: RetentionRun = { kept: [], removable: [], failures: [] };
  for (const repository of await loadStoredImages(storage)) {
    try {
      const names = await loadReferencedDigests(storage, repository);
      const { kept, removable } = retainIn(repository, { ...policy, used: used(repository.name), names });
      for (const image of kept) run.kept.push(image);
      for (const image of removable) {
        if (!dryRun) {
          if (await wasPushedSince(storage, repository, image.digest)) continue;
          await remove(repository.name, image.digest);
        }
        run.removable.push(image);
      }
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      run.failures.push({ repository: repository.name, why: error.message });
    }
  }
  return run;
}

/** A deletion takes all tags of an image, also one that was pushed after the image was judged. */
async function wasPushedSince(storage: string, { name, tags }: StoredRepository, digest: string): Promise<boolean> {
  const judged = new Map(tags.map(({ tag, pushedAt }) => [tag, pushedAt]));
  return (await loadTags(storage, name)).some((tag) => tag.digest === digest && judged.get(tag.tag) !== tag.pushedAt);
}
