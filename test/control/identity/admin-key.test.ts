import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { ADMIN_KEY_FILE, adminKey } from "../../../control/identity/admin-key.ts";

t.test("a key that is given is taken, and not written down", async (t) => {
  const dataFolder = t.testdir({});
  t.same(adminKey({ dataFolder, given: "given" }), { key: "given", made: false });
  t.same(readdirSync(dataFolder), []);
});

t.test("without one, a key is made once and kept for its owner alone", async (t) => {
  const dataFolder = t.testdir({});
  const first = adminKey({ dataFolder, given: undefined });
  t.equal(first.made, true);
  t.match(first.key, /^[\w-]{32}$/);
  t.same(adminKey({ dataFolder, given: undefined }), { key: first.key, made: false });
  t.equal(statSync(join(dataFolder, ADMIN_KEY_FILE)).mode & 0o777, 0o600);
  t.same(readdirSync(dataFolder), [ADMIN_KEY_FILE]);
});

t.test("a file that a full disk left empty is no key", async (t) => {
  const dataFolder = t.testdir({ [ADMIN_KEY_FILE]: "" });
  const { key, made } = adminKey({ dataFolder, given: undefined });
  t.equal(made, true);
  t.equal(readFileSync(join(dataFolder, ADMIN_KEY_FILE), "utf8").trim(), key);
});

t.test("a data folder that cannot keep it is reported", async (t) => {
  const dataFolder = t.testdir({});
  mkdirSync(join(dataFolder, ADMIN_KEY_FILE));
  t.throws(() => adminKey({ dataFolder, given: undefined }), { code: "DATA_FOLDER_UNUSABLE" });
  const file = join(t.testdir({}), "file");
  writeFileSync(file, "");
  t.throws(() => adminKey({ dataFolder: file, given: undefined }), { code: "DATA_FOLDER_UNUSABLE" });
});
