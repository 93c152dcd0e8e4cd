import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { endedHolder, noteHolder } from "../../../control/leadership/predecessor.ts";
import { openDataFolder } from "../../../control/store/data-folder.ts";
import { localFolder } from "../../fixtures/temp-folder.ts";

t.test("the process that led last with this data folder is known to have ended while this one holds the folder's lock", async (t) => {
  const folder = localFolder(t);
  const first = openDataFolder(folder);
  t.equal(endedHolder(folder), undefined, "none led");
  noteHolder(folder, "first");
  t.throws(() => openDataFolder(folder), { code: "DATA_FOLDER_IN_USE" }, "nothing can be concluded while it lives");
  first.close();
  const second = openDataFolder(folder);
  t.equal(endedHolder(folder), "first");
  noteHolder(folder, "second");
  t.equal(endedHolder(folder), "second");
  second.close();
});

t.test("nothing is concluded from a copy of the folder, after another boot, or from a file that is no note", async (t) => {
  const [folder, copy] = [localFolder(t), localFolder(t)];
  const original = openDataFolder(folder);
  noteHolder(folder, "alive");
  cpSync(folder, copy, { recursive: true });
  const copied = openDataFolder(copy);
  t.equal(endedHolder(copy), undefined, "the process of the original lives");
  copied.close();
  original.close();
  const file = join(folder, "leader.json");
  const note = readFileSync(file, "utf8");
  const again = openDataFolder(folder);
  t.equal(endedHolder(folder), "alive");
  writeFileSync(file, note.replace(/"boot":"[^"]+"/, '"boot":"another"'));
  t.equal(endedHolder(folder), undefined);
  for (const text of ["", "{", "null", '{"holder":7}']) {
    writeFileSync(file, text);
    t.equal(endedHolder(folder), undefined, text);
  }
  again.close();
});
