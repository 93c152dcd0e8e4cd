import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { findConnections } from "../../../../control/packages/publish/connections.ts";
import { findFolders } from "../../../../control/packages/publish/folders.ts";

const { signal } = new AbortController();

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

t.test("connections of more than 2 MiB together are refused", async (t) => {
  const at = root(t);
  mkdirSync(join(at, "connections"));
  const write = (name: string, characters: number) =>
    writeFileSync(join(at, "connections", `${name}.json`), JSON.stringify({ of: "x".repeat(characters) }));
  write("c0", 1_000_000);
  write("c1", 1_000_000);
  t.match(await findConnections(at, signal), { connections: { length: 2 }, bytes: 2 * 1_000_009 });
  write("too-long-to-be-read", 1_100_000);
  t.match(await findConnections(at, signal), { connections: { length: 2 }, bytes: 2 * 1_000_009 });
  write("one-more", 100_000);
  await t.rejects(findConnections(at, signal), { code: "PACKAGE_TOO_LARGE" });
});

t.test("a package has at most 500 connections and credentials of connections", async (t) => {
  const at = root(t);
  mkdirSync(join(at, "connections"));
  const write = (name: string, parameters: object) =>
    writeFileSync(join(at, "connections", `${name}.json`), JSON.stringify({ credentials: { parameters } }));
  for (let number = 0; number < 166; number++) write(`c${number}`, { login: "a", password: "b" });
  write("d", { login: "a" });
  t.equal((await findConnections(at, signal)).connections.length, 167);
  write("e", {});
  await t.rejects(findConnections(at, signal), { code: "PACKAGE_TOO_LARGE" });
});

t.test("a Dockerfile of more than 64 KiB is refused with its size", async (t) => {
  const at = root(t);
  mkdirSync(join(at, "dockerfiles", "app"), { recursive: true });
  const write = (bytes: number) => writeFileSync(join(at, "dockerfiles", "app", "Dockerfile"), "FROM a\n#".padEnd(bytes, "x"));
  write(65_536);
  t.equal((await findFolders(at, signal)).folders.length, 1);
  write(65_537);
  await t.rejects(findFolders(at, signal), { code: "PACKAGE_INVALID", message: /has 65537 bytes; 65536 are allowed/ });
});

t.test("a thousand mistakes in a Dockerfile make 20 warnings, and the last line counts the others", async (t) => {
  const at = root(t);
  mkdirSync(join(at, "dockerfiles", "app"), { recursive: true });
  const lines = Array.from({ length: 900 }, (_, index) => `EXPOSE x${index}`.padEnd(40, "y"));
  writeFileSync(join(at, "dockerfiles", "app", "Dockerfile"), `FROM a\n${lines.join("\n")}\n`);
  const { folders } = await findFolders(at, signal);
  t.equal(folders[0]?.warnings.length, 21);
  t.equal(folders[0]?.warnings.at(-1), "And 881 more.");
});
