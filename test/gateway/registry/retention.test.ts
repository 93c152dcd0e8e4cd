import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, join } from "node:path";
import t, { type Test } from "tap";
import { Fault } from "../../../lib/fault.ts";
import { ownFolders } from "../../../processes/distribution/open-distribution.ts";
import { parseTagRule, retain, retainImages, type RetentionPolicy } from "../../../processes/distribution/retention.ts";
import { blobFile, type StoredTag } from "../../../processes/distribution/stored-images.ts";
import { openRuntimeFolder } from "../../../processes/runtime-folder.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { digestOf } from "./registry-client.ts";
import { run } from "./run.ts";

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

t.test("the signature that cosign stores under a tag stays as long as its image, and takes no place of a rule", async (t) => {
  const hex = (letter: string) => letter.repeat(64);
  const [one, two, three] = [hex("a"), hex("b"), hex("c")];
  const signed = repository("datagrok/a", [
    tag("1", one, 1),
    tag(`sha256-${one}.sig`, "sig-of-one", 2),
    tag("2", two, 3),
    tag(`sha256-${two}`, "referrers-of-two", 4),
    tag(`sha256-${two}.sig`, "sig-of-two", 4),
    tag("3", three, 5),
    tag(`sha256-${three}.sig`, "sig-of-three", 6),
    // Of an image in another repository.
    tag(`sha256-${hex("d")}.sig`, "sig-elsewhere", 0),
  ]);
  t.same(
    goneOf({ keep: 1 }, [signed]).toSorted(),
    ["1", "2", `sha256-${one}.sig`, `sha256-${two}`, `sha256-${two}.sig`, `sha256-${hex("d")}.sig`].toSorted(),
  );
  t.same(
    goneOf({ keep: 1, used: ["registry.example/datagrok/a:2"] }, [signed]).toSorted(),
    ["1", `sha256-${one}.sig`, `sha256-${hex("d")}.sig`].toSorted(),
  );
  const { kept } = retained({ keep: 2 }, [signed]);
  t.same(Object.fromEntries(kept.map(({ tag: name, why }) => [name, why])), {
    "3": "newest",
    "2": "newest",
    [`sha256-${three}.sig`]: "signature",
    [`sha256-${two}`]: "signature",
    [`sha256-${two}.sig`]: "signature",
  });
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

/** Distribution's folder with manifests of any content. */
function openStorage(t: Test, storage = tempFolder(t)) {
  const write = (path: string, content: string) => {
    mkdirSync(dirname(join(storage, path)), { recursive: true });
    writeFileSync(join(storage, path), content);
  };
  const push = (repository: string, tags: string | string[], manifest: unknown): string => {
    const content = JSON.stringify(manifest);
    const digest = digestOf(content);
    const manifests = `docker/registry/v2/repositories/${repository}/_manifests`;
    write(blobFile(digest), content);
    write(`${manifests}/revisions/${digest.replace(":", "/")}/link`, digest);
    for (const tag of [tags].flat()) write(`${manifests}/tags/${tag}/current/link`, digest);
    return digest;
  };
  const retained = async (options: { rules?: string[]; used?: string[]; remove?: (repository: string, digest: string) => Promise<void> } = {}) => {
    const { rules = ["**:old* days=1", "**@untagged days=1"], used = [], remove } = options;
    return retainImages(storage, {
      rules: rules.map(parseTagRule),
      used,
      now: Date.now() + 9 * DAY_MS,
      dryRun: remove === undefined,
      remove: remove ?? (async () => {}),
    });
  };
  return { storage, write, push, retained };
}

t.test("indexes that list each other many times cost no more than each image once, and keep what they list", { timeout: 20_000 }, async (t) => {
  const { push, retained } = openStorage(t);
  const repeat = (digest: string) => ({ manifests: Array.from({ length: 2_000 }, () => ({ digest })) });
  const image = push("a", [], { config: {} });
  let top = image;
  for (let level = 0; level < 6; level++) top = push("a", [], repeat(top));
  push("a", "main", repeat(top));
  push("a", "old", {});
  const { removable } = await retained();
  t.same(
    removable.map(({ tags }) => tags),
    [["old"]],
  );
  const used = await retained({ rules: ["**:* days=1", "**@untagged days=1"], used: [`registry.example/a@${image}`] });
  t.same(
    used.removable.map(({ tags }) => tags),
    [["old"]],
    "an index stays, at any level, of which a container uses a part",
  );
});

t.test("a manifest of other types, or beyond the limits, ends no run: at most its own repository stays as it is", async (t) => {
  const { push, write, retained } = openStorage(t);
  for (const [at, manifest] of [
    5,
    null,
    "x",
    [],
    { manifests: 5 },
    { manifests: [null, 5, { digest: 7 }, { digest: "../x" }], subject: 5 },
  ].entries())
    push("bad", `old-${at}`, manifest);
  write(blobFile(push("bad", "old-text", "text")), "{");
  push("good", "old", {});
  push("large", "old", { a: "x".repeat(5_000_000) });
  const { removable, failures } = await retained();
  t.equal(removable.filter(({ repository }) => repository === "bad").length, 7);
  t.equal(removable.filter(({ repository }) => repository === "good").length, 1);
  t.equal(removable.filter(({ repository }) => repository === "large").length, 0);
  t.match(failures, [{ repository: "large", why: /large .*4194304 bytes/ }]);
});

t.test("what is pushed again during a run stays, and an image that cannot be removed ends no more than its repository", async (t) => {
  const { push, retained } = openStorage(t);
  push("a", "old-1", { a: 1 });
  const again = push("a", "old-2", { a: 2 });
  push("b", "old", {});
  const removed: string[] = [];
  const run = await retained({
    remove: async (repository, digest) => {
      if (repository === "b") throw new Fault("REGISTRY_FAILED", "The registry answered 500.");
      removed.push(digest);
      push("a", "new", { a: digest === again ? 1 : 2 });
    },
  });
  t.equal(removed.length, 1, "the other one has a tag that no rule has seen");
  t.same(
    run.removable.map(({ digest }) => digest),
    removed,
  );
  t.match(run.failures, [{ repository: "b", why: /answered 500/ }]);
});

t.test("the command leaves what is pushed again while it deletes, and says which image could not be deleted", async (t) => {
  const data = tempFolder(t);
  const storage = join(data, "registry/images");
  const base = tempFolder(t);
  const env = { BERTH_DATA: data, BERTH_REGISTRY: "embedded", XDG_RUNTIME_DIR: base };
  const { registrySocket } = openRuntimeFolder({ data, base, uid: process.getuid?.() ?? 0 });
  t.teardown(ownFolders(join(data, "registry"), { kind: "folder", folder: storage, isShared: false }));
  const { push } = openStorage(t, storage);
  for (const number of [1, 2]) push("a", `old-${number}`, { number });
  push("b", "old-3", { number: 3 });
  push("b", "x-newest", {});
  push("a", "x-newest", {});
  // The registry, with another client that pushes before the first deletion has ended.
  const deleted: string[] = [];
  const server = createServer((request, response) => {
    const path = request.url ?? "";
    deleted.push(path);
    const other = digestOf(JSON.stringify({ number: 1 }));
    if (path.startsWith("/v2/a/")) push("a", "again", { number: path.endsWith(other) ? 2 : 1 });
    response.writeHead(path.startsWith("/v2/a/") ? 202 : 500).end();
  });
  await new Promise<void>((resolve) => void server.listen(registrySocket, resolve));
  t.teardown(() => void server.close());
  const args = ["registry", "retain", "--keep", "1", "--without-control"];
  const { code, output } = await run(process.execPath, [join(import.meta.dirname, "../../../berth.ts"), ...args], { env });
  t.equal(deleted.filter((path) => path.startsWith("/v2/a/")).length, 1, output);
  t.match(output, /^a +old-. .*removed$/m);
  t.match(output, /answered 500/);
  t.equal(code, 1, output);
});
