import t from "tap";
import { parseTagRule, retain, type RetentionPolicy } from "../../../processes/distribution/retention.ts";
import type { StoredTag } from "../../../processes/distribution/stored-images.ts";

const tag = (name: string, digest: string, pushedAt: number) => ({ tag: name, digest: `sha256:${digest}`, pushedAt });
/** As it lies on the disk: each image once, and those without a tag beside them, by when they were pushed. */
const repository = (name: string, tags: StoredTag[], untagged: Record<string, number> = {}) => ({
  name,
  tags,
  revisions: [
    ...new Map(tags.map(({ digest, pushedAt }) => [digest, { digest, pushedAt }])).values(),
    ...Object.entries(untagged).map(([digest, pushedAt]) => ({ digest: `sha256:${digest}`, pushedAt })),
  ],
});
const A = repository("datagrok/a", [tag("1", "one", 1), tag("2", "two", 2), tag("3", "three", 3), tag("latest", "three", 4)]);
const DAY_MS = 24 * 3_600_000;
const POLICY: Omit<RetentionPolicy, "rules"> = { used: [], names: () => ({ lists: [], subject: undefined }), now: 3 * DAY_MS };
const newest = (keep: number) => [`**:* keep=${keep}`, "**@untagged days=1"];

type Options = Partial<Omit<RetentionPolicy, "rules">> & { keep?: number; rules?: string[] };
const retained = ({ keep = 1, rules = newest(keep), ...policy }: Options, repositories = [A]) =>
  retain(repositories, { ...POLICY, ...policy, rules: rules.map(parseTagRule) });
const goneOf = (options: Options, repositories = [A]) =>
  retained(options, repositories).removable.flatMap(({ tags, digest }) => (tags.length === 0 ? [digest] : tags));

t.test("the tags that were pushed last are kept, in each repository", async (t) => {
  t.same(goneOf({ keep: 3 }), ["1"]);
  t.same(goneOf({ keep: 9 }), []);
  t.same(goneOf({ keep: 1 }, [A, repository("datagrok/b", [tag("1", "b", 0)])]), ["2", "1"]);
});

t.test("a tag of an image that is kept costs nothing, and stays", async (t) => {
  const { kept } = retained({});
  t.same(
    kept.map((one) => [one.tag, one.why]),
    [
      ["latest", "newest"],
      ["3", "same image"],
    ],
  );
});

t.test("what a container uses is kept, under whatever name of the registry, by tag or by digest", async (t) => {
  for (const reference of [
    "datagrok/a:1",
    "127.0.0.1:5000/datagrok/a:1",
    "registry.example/team/datagrok/a:1",
    "registry.example/datagrok/a@sha256:one",
    "registry.example/datagrok/a:moved@sha256:one",
  ])
    t.same(goneOf({ used: [reference] }), ["2"], reference);
  for (const reference of ["datagrok/ba:1", "datagrok/a:11", "registry.example:1/other", "a@sha256:other", "sha256:one"])
    t.same(goneOf({ used: [reference] }), ["2", "1"], reference);
  t.same(goneOf({ used: ["datagrok/c"] }, [repository("datagrok/c", [tag("latest", "old", 1), tag("2", "new", 2)])]), []);
});

t.test("what an index lists goes with it, but for what is needed by another or has a tag of its own", async (t) => {
  const lists: Record<string, string[]> = { "sha256:old": ["sha256:amd", "sha256:arm"], "sha256:new": ["sha256:amd"] };
  const names = (digest: string) => ({ lists: lists[digest] ?? [], subject: undefined });
  const tags = [tag("old", "old", 1), tag("new", "new", 2)];
  t.same(goneOf({ names }, [repository("a", tags, { amd: 0, arm: 0 })]), ["old", "sha256:arm"]);
  t.same(goneOf({ names, used: ["a@sha256:arm"] }, [repository("a", tags, { amd: 0, arm: 0 })]), []);
  t.same(goneOf({ names }, [repository("a", [...tags, tag("arm", "arm", 0)], { amd: 0 })]), ["old", "arm"]);
});

t.test("an image whose tag moved on goes, unless a container uses it by its digest or it was pushed just now", async (t) => {
  const moved = repository("datagrok/a", [tag("login", "three", 3)], { one: 1, two: 2 });
  t.same(goneOf({}, [moved]), ["sha256:one", "sha256:two"]);
  t.same(goneOf({ used: ["registry.example/datagrok/a:login@sha256:one"] }, [moved]), ["sha256:two"]);
  t.match(retained({ used: ["datagrok/a@sha256:one"] }, [moved]).kept, [{ tag: "login" }, { digest: "sha256:one", why: "used" }]);
  t.same(goneOf({ now: DAY_MS + 2 }, [moved]), ["sha256:one"], "the rest of an index that is being pushed");
});

t.test("what refers to a kept image is kept with it: a signature has no tag", async (t) => {
  const subjects: Record<string, string> = { "sha256:of-three": "sha256:three", "sha256:of-that": "sha256:of-three", "sha256:of-two": "sha256:two" };
  const names = (digest: string) => ({ lists: [], subject: subjects[digest] });
  const signed = repository("a", [tag("2", "two", 2), tag("3", "three", 3)], { "of-that": 0, "of-three": 0, "of-two": 0 });
  t.same(goneOf({ names }, [signed]), ["2", "sha256:of-two"]);
});

t.test("a rule is for tags and repositories by pattern; the first one counts, and a tag without one stays", async (t) => {
  const at = (name: string, day: number) => tag(name, name, day * DAY_MS);
  const tags = [at("pr-1", 1), at("pr-2", 2), at("pr-3", 9), at("main", 1), at("1.0.0", 0)];
  const repositories = [repository("datagrok/a", tags, { moved: 0 }), repository("other/a", tags)];
  const gone = (...rules: string[]) => goneOf({ rules, now: 10 * DAY_MS }, repositories);
  t.same(gone("datagrok/*:pr-* keep=1"), ["pr-2", "pr-1"]);
  t.same(gone("datagrok/*:pr-* days=5"), ["pr-2", "pr-1"]);
  t.same(gone("datagrok/*:pr-* keep=2 days=5"), ["pr-1"], "both have to agree");
  t.same(gone("datagrok/*:pr-* keep=3", "datagrok/*:* days=5"), ["main", "1.0.0"]);
  t.same(gone("**:main days=1"), ["main", "main"]);
  t.same(gone("*:* keep=1"), [], "a star stays within a part of a name");
  t.same(gone("datagrok/a@untagged days=5"), ["sha256:moved"]);
  t.same(gone("datagrok/a@untagged days=50"), []);
  const { kept } = retain(repositories.slice(0, 1), {
    ...POLICY,
    now: 10 * DAY_MS,
    used: ["datagrok/a:pr-1"],
    rules: [parseTagRule("**:pr-* keep=1 days=9")],
  });
  t.same(Object.fromEntries(kept.map((one) => [one.tag, one.why])), {
    "pr-3": "newest",
    "pr-2": "recent",
    "pr-1": "used",
    main: "no rule",
    "1.0.0": "no rule",
  });
});

t.test("a rule that is none is refused with the right form", async (t) => {
  for (const text of ["datagrok/a", "datagrok/a:*", "a:* keep=x", "a@untagged keep=3", "a:* keep=1 or=2", "A:* keep=1"])
    t.throws(() => parseTagRule(text), { code: "SETTINGS_INVALID" }, text);
});
