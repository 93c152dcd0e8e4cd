import t from "tap";
import { findReferenced, findTemplates, renderTemplates } from "../../../../control/packages/credentials/references.ts";
import { openStore } from "../../../../control/store/open-store.ts";
import { createStillClock } from "../../../fixtures/clock.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";

t.test("a template may name packages that its own package's author may look into, and no others", async (t) => {
  const store = await openStore({ folder: tempFolder(t), clock: createStillClock() });
  t.teardown(() => store.close());
  for (const [id, admin] of [
    ["ada", false],
    ["bob", false],
    ["root", true],
  ] as const)
    // prettier-ignore
    await store.users.insert({ id, login: id, friendlyName: id, admin, createdOn: 1 });
  for (const [name, authorId] of [
    ["@ada/Mol-Track", "ada"],
    ["@bob/chem", "bob"],
    ["@ada/chem", "ada"],
    ["Bio", "bob"],
  ] as const)
    // prettier-ignore
    await store.packages.insert({ id: name, name, version: "1.0.0", authorId, createdOn: 1, updatedOn: 1 });
  const nameOf = async (author: string, name: string) => (await findReferenced(store, author))(name)?.name;

  t.equal(await nameOf("ada", "moltrack"), "@ada/Mol-Track", "in any spelling");
  t.equal(await nameOf("ada", "Bio"), undefined);
  t.equal(await nameOf("ada", "chem"), "@ada/chem", "the only one that she may name");
  t.equal(await nameOf("root", "bio"), "Bio");
  t.equal(await nameOf("root", "chem"), undefined, "two are meant");
  t.equal(await nameOf("root", "@bob/chem"), "@bob/chem");
  await store.groups.put("ada", ["chemists"]);
  await store.groups.put("bob", ["chemists"]);
  t.equal(await nameOf("ada", "Bio"), "Bio", "authors who share a group");
  t.equal(await nameOf("unknown", "Bio"), undefined);
});

const shown = (value: string) => findTemplates(value).map(({ package: owner, entity }) => [owner, entity]);

t.test("templates are found wherever they stand in a value, and nothing else is", async (t) => {
  t.same(shown("#{x.Entity}"), [[undefined, "Entity"]]);
  t.same(shown("#{x.Package:Entity}"), [["Package", "Entity"]]);
  t.same(shown("a #{x.One} b #{x. Two : Three } c"), [
    [undefined, "One"],
    ["Two", "Three"],
  ]);
  for (const none of ["", "plain", "#{y.Entity}", "{x.Entity}", "#x.Entity", "%{x.Entity}"]) t.same(shown(none), [], none);
});

t.test("what is not well formed names no entity, so that it is refused rather than handed over", async (t) => {
  for (const value of ["#{x.Entity", "#{x.}", "#{x.A:B:C}", "#{x.A:}", "#{x.A #{x.", "#{x."]) {
    const [first] = shown(value);
    t.equal(first?.[1], "", value);
  }
});

t.test("each is replaced by what it stands for, whatever characters that has", async (t) => {
  t.equal(
    renderTemplates("<#{x.A}|#{x.P:B}>", ({ package: owner, entity }) => `$& ${owner ?? "own"} ${entity} $1`),
    "<$& own A $1|$& P B $1>",
  );
});
