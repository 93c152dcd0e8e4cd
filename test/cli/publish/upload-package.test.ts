import { mkdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import t, { type Test } from "tap";
import { uploadPackage } from "../../../cli/publish/upload-package.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";

/** A package with one container, uploaded to a server that takes all. */
function openPackage(t: Test) {
  const folder = tempFolder(t);
  mkdirSync(join(folder, "dockerfiles/app"), { recursive: true });
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "linked", version: "1.0.0" }));
  writeFileSync(join(folder, "dockerfiles/app/Dockerfile"), "FROM scratch\n");
  const sent: Buffer[] = [];
  const server = {
    upload: async <T>(_path: string, { bytes }: { bytes: NodeJS.ReadableStream }) => {
      sent.push(await buffer(bytes));
      return {} as T;
    },
  };
  const upload = () =>
    uploadPackage({
      folder,
      name: "linked",
      images: [],
      release: false,
      suffix: undefined,
      server,
      zip: join(tempFolder(t), "package.zip"),
      progress: { update: () => undefined, close: () => undefined },
      signal: new AbortController().signal,
    });
  return { folder, sent, upload };
}

t.test("a link to a file is followed", async (t) => {
  const { folder, sent, upload } = openPackage(t);
  symlinkSync("Dockerfile", join(folder, "dockerfiles/app/linked"));
  symlinkSync(".", join(folder, "dockerfiles/app/itself"));
  await upload();
  t.ok(sent[0]?.includes("dockerfiles/app/linked"));
  t.notOk(sent[0]?.includes("itself"), "but not one to a folder");
});

t.test("dockerfiles may be a link to a folder: without it, a publish would remove all containers of the package", async (t) => {
  const { folder, sent, upload } = openPackage(t);
  renameSync(join(folder, "dockerfiles"), join(folder, ".elsewhere"));
  symlinkSync(".elsewhere", join(folder, "dockerfiles"));
  await upload();
  t.ok(sent[0]?.includes("dockerfiles/app/Dockerfile"));
});

t.test("a link that leads nowhere, or in a circle, is refused by its name", async (t) => {
  for (const [target, path] of [
    ["missing.py", "dockerfiles/app/model.py"],
    ["loop", "loop"],
  ] as const) {
    const { folder, sent, upload } = openPackage(t);
    symlinkSync(target, join(folder, path));
    await t.rejects(upload, { code: "PACKAGE_INVALID", message: new RegExp(`${path} .*"${target}"`) });
    t.same(sent, []);
  }
});

t.test("a file that cannot be read ends the upload with a sentence", async (t) => {
  const { folder, upload } = openPackage(t);
  // Its first page is never mapped.
  symlinkSync("/proc/self/mem", join(folder, "dockerfiles/app/memory"));
  await t.rejects(upload, { code: "PACKAGE_INVALID", message: /cannot be read: EIO/ });
});
