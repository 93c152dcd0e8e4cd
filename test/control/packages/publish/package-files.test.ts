import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { openPackageFiles, versionPath } from "../../../../control/packages/publish/package-files.ts";
import { unpackZip } from "../../../../control/packages/publish/receive-upload.ts";
import { openDisk } from "../../../fixtures/power-failure.ts";
import { makeZip } from "./fixtures/make-zip.ts";

const NOT_SHARED = { save: async () => false, saveFile: async () => {}, remove: async () => {}, prune: async () => {} };
const FILES = { Dockerfile: "FROM scratch\n", "image.json": '{"image":"a"}', "deep/model.bin": "model ".repeat(10_000) };

t.test("the files of a package are on the disk before it is recorded, also those of dockerfiles/ itself", async (t) => {
  const disk = openDisk(t);
  const files = await openPackageFiles(disk.folder, async () => true, NOT_SHARED);
  const signal = AbortSignal.timeout(20_000);
  const publish = async (image: string, work: () => Promise<void>) => {
    const incoming = await files.incoming();
    const zip = join(incoming, "package.zip");
    const entries = { ...FILES, "image.json": image };
    const sub = Object.entries(entries).map(([path, text]) => [`sub/${path}`, text]);
    writeFileSync(zip, await makeZip({ ...entries, ...Object.fromEntries(sub) }));
    const into = join(incoming, "dockerfiles");
    mkdirSync(into);
    await unpackZip({ zip, into, wanted: () => true, limits: { entries: 100, inflatedBytes: 1_000_000 }, signal });
    await files.copy(into, join(incoming, "root"));
    const folders = [
      { from: join(into, "sub"), folder: "sub", hash: "1" },
      { from: join(incoming, "root"), folder: "", hash: "2" },
    ];
    await files.placing("pkg", folders, signal, work);
  };
  await publish("first", async () => {});
  let after = "";
  await publish("second", async () => void (after = disk.afterPowerFailure()));
  for (const version of [
    { folder: "sub", hash: "1" },
    { folder: "", hash: "2" },
  ]) {
    const folder = join(after, versionPath("pkg", version));
    t.ok(existsSync(folder), version.hash);
    for (const [path, text] of Object.entries({ ...FILES, "image.json": "second" })) t.equal(readFileSync(join(folder, path), "utf8"), text, path);
  }
});
