import t from "tap";
import { readPackageJson } from "../../../../control/packages/publish/definitions.ts";

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
