import t from "tap";
import { readContainerJson } from "../../../../control/packages/publish/container-json.ts";
import { readImageJson } from "../../../../control/packages/publish/folders.ts";
import { readPackageJson } from "../../../../control/packages/publish/definitions.ts";
import { openApiFixture } from "../../api/fixtures/open-api-fixture.ts";

const DEEP = "[".repeat(60_000) + "]".repeat(60_000);
const invalid = { code: "PACKAGE_INVALID" };

t.test("JSON of sixty thousand levels is refused, and not with a full stack", async (t) => {
  t.throws(() => readContainerJson(`{"cpu":${DEEP}}`, "container.json"), invalid);
  t.throws(() => readPackageJson(`{"name":${DEEP}}`), invalid);
  t.throws(() => readImageJson(`{"image":${DEEP}}`, "image.json"), invalid);
  t.equal(readPackageJson('{"name":"a","version":"1.0.0","x":"[[[[\\"[[[["}').name, "a", "brackets in a text are no levels");
});

t.test("thousands of unknown keys make 20 warnings and a number", async (t) => {
  const json = Object.fromEntries(Array.from({ length: 5_000 }, (_, index) => [`memmory${index}`, 1]));
  const { warnings } = readContainerJson(JSON.stringify(json), "container.json");
  t.equal(warnings.length, 21);
  t.match(warnings.at(-1), "4980 more unknown keys");
});

t.test("variables have a number and a size", async (t) => {
  const env = (count: number, value: string, name = "V") =>
    JSON.stringify({ env: Object.fromEntries(Array.from({ length: count }, (_, index) => [name + index, value])) });
  t.equal(Object.keys(readContainerJson(env(500, "x"), "container.json").env).length, 500);
  t.throws(() => readContainerJson(env(501, "x"), "container.json"), invalid);
  t.throws(() => readContainerJson(env(1, "x".repeat(32_769)), "container.json"), invalid);
  t.throws(() => readContainerJson(env(1, "x", "N".repeat(255)), "container.json"), invalid);
});

t.test("templates do not become larger than what a program can be started with", async (t) => {
  const { store, credentials } = await openApiFixture(t);
  const now = 0;
  const user = (await store.users.all())[0];
  const owner = await store.packages.insert({
    id: crypto.randomUUID(),
    name: "big",
    version: "1.0.0",
    authorId: user?.id ?? "",
    createdOn: now,
    updatedOn: now,
  });
  await credentials.record(owner, [{ name: "Big", key: "big", entity: { text: "x".repeat(100_000) }, secrets: {} }]);
  t.ok((await credentials.renderEnv({ packageId: owner.id, env: { A: "#{x.Big}".repeat(10) } }))["A"]);
  await t.rejects(() => credentials.renderEnv({ packageId: owner.id, env: { A: "#{x.Big}".repeat(4_000) } }), { code: "VARIABLES_TOO_LARGE" });
});
