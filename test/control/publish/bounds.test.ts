import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { findConnections } from "../../../control/publish/connections.ts";
import { findFolders } from "../../../control/publish/folders.ts";

const signal = AbortSignal.timeout(60_000);

function root(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), "berth-bounds-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return folder;
}

t.test("a package has as many folders as are recorded without holding others up, and no more", async (t) => {
  const at = root(t);
  for (let number = 0; number < 500; number++) mkdirSync(join(at, "dockerfiles", `app${number}`), { recursive: true });
  t.same((await findFolders(at, signal)).folders, []);
  mkdirSync(join(at, "dockerfiles", "one-more"));
  await t.rejects(findFolders(at, signal), { code: "PACKAGE_TOO_LARGE" });
});

t.test("connections are read as long as all of them have room in memory", async (t) => {
  const at = root(t);
  mkdirSync(join(at, "connections"));
  const text = JSON.stringify({ name: "", of: "x".repeat(1_000_000) });
  const write = (name: string) => writeFileSync(join(at, "connections", `${name}.json`), text.replace('"name":""', `"name":"${name}"`));
  for (let number = 0; number < 16; number++) write(`c${number}`);
  t.equal((await findConnections(at, signal)).connections.length, 16);
  write("one-more");
  await t.rejects(findConnections(at, signal), { code: "PACKAGE_TOO_LARGE" });
});
