import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findFolders } from "../../../control/packages/publish/folders.ts";
import { unpackZip, ZIP_LIMITS } from "../../../control/packages/publish/receive-upload.ts";
import { Fault } from "../../../lib/fault.ts";
import { makeZip } from "../../control/packages/publish/fixtures/make-zip.ts";
import type { InputCase } from "./input-case.ts";

const { signal } = new AbortController();

function zipCase(name: string, files: () => Readonly<Record<string, string | Buffer>>): InputCase {
  let made: Promise<Buffer> | undefined;
  return {
    name: `ZIP: ${name}`,
    slow: true,
    prepare: async () => void (await (made ??= makeZip(files()))),
    run: async () => {
      const folder = mkdtempSync(join(tmpdir(), "berth-bench-zip-"));
      try {
        const zip = join(folder, "package.zip");
        const into = join(folder, "unpacked");
        writeFileSync(zip, (await made) ?? "");
        mkdirSync(into);
        await unpackZip({ zip, into, wanted: (path) => path.startsWith("dockerfiles/"), limits: ZIP_LIMITS, signal });
        await findFolders(into, signal);
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
  };
}

const entries = (count: number, entry: (index: number) => [string, string]) =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => entry(index)));

export const cases: InputCase[] = [
  zipCase("more entries than are allowed", () => entries(10_001, (index) => [`dist/${index}`, ""])),
  zipCase("entries that are not unpacked", () => entries(10_000, (index) => [`dist/${index}`, ""])),
  zipCase("empty files", () => entries(2_000, (index) => [`dockerfiles/app/${index}`, ""])),
  zipCase("folders with the worst Dockerfiles", () =>
    entries(40, (index) => [`dockerfiles/app${index}/Dockerfile`, `FROM a\n${"ENV A=1\nEXPOSE $A\n".repeat(3_500)}`]),
  ),
  zipCase("a bomb", () => ({ "dockerfiles/zeros": Buffer.alloc(40_000_000) })),
];
