import t from "tap";
import { retain, type RetentionRule, type StoredTag } from "../../../processes/distribution/stored-images.ts";

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
const RULE: RetentionRule = { keep: 1, used: [], names: () => ({ lists: [], subject: undefined }), since: 1_000 };

const goneOf = (rule: Partial<RetentionRule>, repositories = [A]) =>
  retain(repositories, { ...RULE, ...rule }).removable.flatMap(({ tags, digest }) => (tags.length === 0 ? [digest] : tags));

t.test("the tags that were pushed last are kept, in each repository", async (t) => {
  t.same(goneOf({ keep: 3 }), ["1"]);
  t.same(goneOf({ keep: 9 }), []);
  t.same(goneOf({ keep: 1 }, [A, repository("datagrok/b", [tag("1", "b", 0)])]), ["2", "1"]);
});

t.test("a tag of an image that is kept costs nothing, and stays", async (t) => {
  const { kept } = retain([A], RULE);
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
  t.match(retain([moved], { ...RULE, used: ["datagrok/a@sha256:one"] }).kept, [{ tag: "login" }, { digest: "sha256:one", why: "used" }]);
  t.same(goneOf({ since: 2 }, [moved]), ["sha256:one"], "the rest of an index that is being pushed");
});

t.test("what refers to a kept image is kept with it: a signature has no tag", async (t) => {
  const subjects: Record<string, string> = { "sha256:of-three": "sha256:three", "sha256:of-that": "sha256:of-three", "sha256:of-two": "sha256:two" };
  const names = (digest: string) => ({ lists: [], subject: subjects[digest] });
  const signed = repository("a", [tag("2", "two", 2), tag("3", "three", 3)], { "of-that": 0, "of-three": 0, "of-two": 0 });
  t.same(goneOf({ names }, [signed]), ["2", "sha256:of-two"]);
});
