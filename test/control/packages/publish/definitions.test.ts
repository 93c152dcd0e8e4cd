import t from "tap";
import type { Test } from "tap";
import { defineContainers, readPackageJson } from "../../../../control/packages/publish/definitions.ts";
import { findFolders } from "../../../../control/packages/publish/folders.ts";

const { signal } = new AbortController();
const PACKAGE = { name: "@datagrok/Walk", version: "1.2.3", description: "" };
type Folder = { [name: string]: string | Folder };

async function define(t: Test, dockerfiles: Folder, debugLogin?: string, otherBytes = 0) {
  const result = await findFolders(t.testdir({ dockerfiles }), signal);
  const { definitions, warnings } = defineContainers(PACKAGE, result.folders, debugLogin, otherBytes);
  return { definitions, warnings: [...result.warnings, ...warnings] };
}

const DOCKERFILE = "FROM a\nEXPOSE 80\n";

t.test("dockerfiles/ itself and each folder in it make one container each, and nothing deeper does", async (t) => {
  const { definitions } = await define(t, {
    Dockerfile: DOCKERFILE,
    app: { Dockerfile: DOCKERFILE, nested: { Dockerfile: DOCKERFILE } },
    db: { "container.json": '{"image":"postgres:16","port":5432}' },
    notes: { "readme.md": "" },
  });
  t.same(
    definitions.map(({ folder, name, image }) => [folder, name, image]),
    [
      ["", "walk", "walk"],
      ["app", "walk-app", "walk-app"],
      ["db", "walk-db", "walk-db"],
    ],
  );
});

t.test("a package without dockerfiles has none", async (t) => {
  t.same(await findFolders(t.testdir({}), signal), { folders: [], warnings: [] });
});

t.test("the image is container.json's, else image.json's, else the one that the client would have pushed", async (t) => {
  const { definitions } = await define(t, {
    named: { "container.json": '{"image":"postgres:16"}', "image.json": '{"image":"datagrok/x:1"}' },
    pushed: { Dockerfile: DOCKERFILE, "image.json": '{"image":"datagrok/walk-pushed:1","fallback":false}' },
    plain: { Dockerfile: DOCKERFILE },
    unpublished: { Dockerfile: DOCKERFILE, "image.json": '{"image":null,"fallback":true}' },
  });
  const byFolder = Object.fromEntries(definitions.map((one) => [one.folder, one]));
  t.equal(byFolder["named"]?.ref, "postgres:16");
  t.equal(byFolder["pushed"]?.ref, "datagrok/walk-pushed:1");
  for (const folder of ["plain", "unpublished"]) {
    t.equal(byFolder[folder]?.ref, `datagrok/walk-${folder}:1.2.3.${byFolder[folder]?.hash.slice(0, 8)}`);
  }
});

t.test("container.json may name any registry's image; image.json's is then not used", async (t) => {
  const image = "ghcr.io/other/thing:1";
  const { definitions } = await define(t, { app: { "container.json": JSON.stringify({ image }), "image.json": '{"image":"docker.io/x:1"}' } });
  t.equal(definitions[0]?.ref, image);
});

t.test("a debug publish takes the developer's own tag", async (t) => {
  const { definitions } = await define(t, { app: { Dockerfile: DOCKERFILE } }, "anna");
  t.equal(definitions[0]?.ref, "datagrok/walk-app:anna");
});

t.test("container.json's port comes before the Dockerfile's", async (t) => {
  const { definitions, warnings } = await define(t, { app: { Dockerfile: "FROM a\nEXPOSE 1 2\n", "container.json": '{"port":3}' } });
  t.equal(definitions[0]?.container.config.port, 3);
  t.same(warnings, []);
});

t.test("authors are warned of what will not be as they think", async (t) => {
  for (const [what, folder, warning] of [
    ["no EXPOSE", { Dockerfile: "FROM a" }, /EXPOSE/],
    ["an unknown key", { Dockerfile: DOCKERFILE, "container.json": '{"memroy":1}' }, /memroy/],
    ["neither Dockerfile nor image", { "container.json": "{}" }, /no container is made/],
    ["a Dockerfile that is not used", { Dockerfile: DOCKERFILE, "container.json": '{"image":"a:1"}' }, /not used/],
    ["no image published", { Dockerfile: DOCKERFILE, "image.json": '{"image":null,"fallback":true}' }, /no image was published/],
    [
      "an older image",
      { Dockerfile: DOCKERFILE, "image.json": '{"image":"datagrok/walk-app:0","fallback":true,"hashMatch":false}' },
      /other content/,
    ],
  ] as const) {
    await t.test(what, async (t) => t.match((await define(t, { app: { ...folder } })).warnings, [warning]));
  }
});

t.test("a fallback that was built from the same content is as good as new", async (t) => {
  const { warnings } = await define(t, {
    app: { Dockerfile: DOCKERFILE, "image.json": '{"image":"datagrok/walk-app:0","fallback":true,"hashMatch":true}' },
  });
  t.same(warnings, []);
});

t.test("folders with the same name, or without a valid image name, are refused", async (t) => {
  for (const [what, dockerfiles] of [
    ["two that differ in case", { App: { Dockerfile: DOCKERFILE }, app: { Dockerfile: DOCKERFILE } }],
    ["a name with a space", { "my app": { Dockerfile: DOCKERFILE } }],
    ["a name that is markup, of a folder that runs a published image", { "zz-<img src=x>": { "container.json": '{"image":"postgres:16"}' } }],
    ["a name that is too long", { ["a".repeat(101)]: { "container.json": '{"image":"postgres:16"}' } }],
    ["image.json that is no JSON", { app: { Dockerfile: DOCKERFILE, "image.json": "{" } }],
    ["image.json with a number", { app: { Dockerfile: DOCKERFILE, "image.json": '{"image":1}' } }],
    ["image.json with markup", { app: { Dockerfile: DOCKERFILE, "image.json": '{"image":"datagrok/walk-app:<img src=x>"}' } }],
    ["image.json with an endless text", { app: { Dockerfile: DOCKERFILE, "image.json": `{"image":"datagrok/walk-app:${"1".repeat(200)}"}` } }],
    ["image.json with another registry's image", { app: { Dockerfile: DOCKERFILE, "image.json": '{"image":"docker.io/evil/backdoor:1"}' } }],
    ["image.json with another image", { app: { Dockerfile: DOCKERFILE, "image.json": '{"image":"datagrok/walk-app2:1"}' } }],
    ["image.json with a repository below", { app: { Dockerfile: DOCKERFILE, "image.json": '{"image":"datagrok/walk-app/x:1"}' } }],
  ] as const) {
    await t.test(what, async (t) => t.rejects(define(t, dockerfiles), { code: "PACKAGE_INVALID" }));
  }
});

t.test("a package whose Dockerfiles have more than 2 MiB together is refused", async (t) => {
  const long = DOCKERFILE.padEnd(60_000, "# long\n");
  const folders = (count: number): Folder => Object.fromEntries(Array.from({ length: count }, (_, index) => [`app${index}`, { Dockerfile: long }]));
  t.equal((await define(t, folders(34))).definitions.length, 34);
  await t.rejects(define(t, folders(35)), { code: "PACKAGE_TOO_LARGE" });
  await t.rejects(define(t, folders(34), undefined, 100_000), { code: "PACKAGE_TOO_LARGE" }, "its connections count, too");
});

t.test("name and version are taken", async (t) => {
  t.same(readPackageJson('{"name":"@datagrok/chem","version":"1.2.3-rc.1","description":"d","x":1}'), {
    name: "@datagrok/chem",
    version: "1.2.3-rc.1",
    description: "d",
  });
  t.same(readPackageJson('\uFEFF{"name":"Chem","version":"1"}'), { name: "Chem", version: "1", description: "" });
});

t.test("what is no package.json is refused", async (t) => {
  for (const text of [
    undefined,
    "",
    "{",
    "[]",
    "null",
    '{"version":"1.0.0"}',
    '{"name":"x"}',
    '{"name":"x","version":1}',
    '{"name":"x","version":""}',
    '{"name":"x","version":"1/2"}',
    '{"name":"../x","version":"1.0.0"}',
    '{"name":"a/b","version":"1.0.0"}',
    '{"name":"x y","version":"1.0.0"}',
    `{"name":"${"x".repeat(300)}","version":"1.0.0"}`,
  ]) {
    t.throws(() => readPackageJson(text), { code: "PACKAGE_INVALID" }, String(text).slice(0, 50));
  }
});
