import t from "tap";
import { findReferenced } from "../../../../control/packages/credentials/target.ts";
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
