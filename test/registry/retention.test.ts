import t from "tap";
import { retain } from "../../roles/distribution/retention.ts";

const tag = (name: string, digest: string, pushedAt: number) => ({ tag: name, digest: `sha256:${digest}`, pushedAt });
const A = { name: "datagrok/a", tags: [tag("1", "one", 1), tag("2", "two", 2), tag("3", "three", 3), tag("latest", "three", 4)] };
const none = () => [];

const goneOf = (rule: Partial<Parameters<typeof retain>[1]>, repositories = [A]) =>
  retain(repositories, { keep: 1, used: [], listed: none, ...rule }).doomed.flatMap(({ tags, digest }) =>
    tags.length === 0 ? [digest] : tags.map((one) => one.tag),
  );

t.test("the tags that were pushed last are kept, in each repository", async (t) => {
  t.same(goneOf({ keep: 3 }), ["1"]);
  t.same(goneOf({ keep: 9 }), []);
  t.same(goneOf({ keep: 1 }, [A, { name: "datagrok/b", tags: [tag("1", "b", 0)] }]), ["2", "1"]);
});

t.test("a tag of an image that is kept costs nothing, and stays", async (t) => {
  const { kept } = retain([A], { keep: 1, used: [], listed: none });
  t.same(
    kept.map((one) => [one.tag.tag, one.why]),
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
  t.same(goneOf({ used: ["datagrok/c"] }, [{ name: "datagrok/c", tags: [tag("latest", "old", 1), tag("2", "new", 2)] }]), []);
});

t.test("what an index lists goes with it, but for what is needed by another or has a tag of its own", async (t) => {
  const lists: Record<string, string[]> = { "sha256:old": ["sha256:amd", "sha256:arm"], "sha256:new": ["sha256:amd"] };
  const listed = (digest: string) => lists[digest] ?? [];
  const repository = { name: "a", tags: [tag("old", "old", 1), tag("new", "new", 2)] };
  t.same(goneOf({ listed }, [repository]), ["old", "sha256:arm"]);
  t.same(goneOf({ listed, used: ["a@sha256:arm"] }, [repository]), []);
  t.same(goneOf({ listed }, [{ ...repository, tags: [...repository.tags, tag("arm", "arm", 0)] }]), ["old", "arm"]);
});
