import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chownSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { replaceFile, replaceFileInBackground } from "../../lib/replace-file.ts";

const MODULE = join(import.meta.dirname, "../../lib/replace-file.ts");
const OLD = "old\n".repeat(50_000);
const NEW = "new\n".repeat(90_000);

/** Replaces the file again and again with the two contents, until it is killed. */
const WRITER = `
  const { replaceFile, replaceFileInBackground } = await import(process.argv[1]);
  const [, , path, inBackground] = process.argv;
  const contents = [${JSON.stringify("old\n")}.repeat(50_000), ${JSON.stringify("new\n")}.repeat(90_000)];
  console.log("ready");
  for (let turn = 0; ; turn++)
    if (inBackground === "yes") await replaceFileInBackground(path, contents[turn % 2], { mode: 0o640 });
    else replaceFile(path, contents[turn % 2], { mode: 0o640, isDurable: turn % 3 === 0 });
`;

for (const inBackground of ["no", "yes"])
  t.test(`a process that is killed at any moment leaves the old file or the new one (in background: ${inBackground})`, async (t) => {
    const path = join(t.testdir(), "file");
    replaceFile(path, OLD, { mode: 0o640 });
    for (let round = 0; round < 8; round++) {
      const writer: ChildProcess = spawn(process.execPath, ["--input-type=module", "-e", WRITER, MODULE, path, inBackground], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      t.teardown(() => writer.kill("SIGKILL"));
      if (writer.stdout) await once(writer.stdout, "data");
      // Each round is killed after another number of its own writes.
      for (let reads = 0; reads <= round * 3; reads++) t.ok([OLD, NEW].includes(readFileSync(path, "utf8")), "a reader sees a whole file");
      writer.kill("SIGKILL");
      await once(writer, "exit");
      t.ok([OLD, NEW].includes(readFileSync(path, "utf8")), "the file is whole after the kill");
      t.equal(statSync(path).mode & 0o777, 0o640);
    }
  });

t.test("the mode is the given one, whatever the umask and the old file's mode", async (t) => {
  const folder = t.testdir({ file: "before" });
  const path = join(folder, "file");
  const mask = process.umask(0o077);
  t.teardown(() => process.umask(mask));
  for (const mode of [0o600, 0o644, 0o755]) {
    t.equal(replaceFile(path, "text", { mode }), true);
    t.equal(statSync(path).mode & 0o777, mode);
    await replaceFileInBackground(path, "other text", { mode });
    t.equal(statSync(path).mode & 0o777, mode);
  }
  t.equal(readFileSync(path, "utf8"), "other text");
  t.same(readdirSync(folder), ["file"], "no draft stays");
});

t.test("text, bytes and a copy of another file are written", async (t) => {
  const folder = t.testdir({ source: "copied" });
  const path = join(folder, "file");
  replaceFile(path, "text", { mode: 0o600 });
  t.equal(readFileSync(path, "utf8"), "text");
  replaceFile(path, Buffer.from([1, 2, 3]), { mode: 0o600 });
  t.same(readFileSync(path), Buffer.from([1, 2, 3]));
  replaceFile(path, { copyOf: join(folder, "source") }, { mode: 0o600 });
  t.equal(readFileSync(path, "utf8"), "copied");
});

t.test("a file that exists is kept on request", async (t) => {
  const path = join(t.testdir(), "file");
  t.equal(replaceFile(path, "first", { mode: 0o600, unlessExists: true }), true);
  t.equal(replaceFile(path, "second", { mode: 0o600, unlessExists: true }), false);
  t.equal(readFileSync(path, "utf8"), "first");
});

t.test("root gives the file to the owner of its folder", async (t) => {
  const folder = join(t.testdir(), "owned");
  mkdirSync(folder);
  chownSync(folder, 1234, 1235);
  replaceFile(join(folder, "file"), "text", { mode: 0o600, ownedByFolder: true });
  const { uid, gid } = statSync(join(folder, "file"));
  t.same({ uid, gid }, { uid: 1234, gid: 1235 });
});

t.test("a write that fails leaves the old file and no draft", async (t) => {
  const folder = t.testdir({ file: "old" });
  const path = join(folder, "file");
  t.throws(() => replaceFile(path, { copyOf: join(folder, "missing") }, { mode: 0o600 }), { code: "ENOENT" });
  writeFileSync(join(folder, "occupied"), "");
  await t.rejects(replaceFileInBackground(join(folder, "occupied", "file"), "text", { mode: 0o600 }), { code: "ENOTDIR" });
  t.equal(readFileSync(path, "utf8"), "old");
  t.same(readdirSync(folder).toSorted(), ["file", "occupied"]);
});
