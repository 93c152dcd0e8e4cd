import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { SourceFile } from "./words.ts";

/** Hidden folders, and what was installed or built. */
const OUTSIDE = /^(\.|node_modules$|dist$)/;
const SOURCE = /\.(ts|tsx|js|mjs|md|lua|sh|css|html)$/;

/** All source files and pages below a folder, by path. */
export function loadSourceFiles(root: string, folder = ""): SourceFile[] {
  return readdirSync(join(root, folder), { withFileTypes: true })
    .toSorted((one, other) => (one.name < other.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (OUTSIDE.test(entry.name)) return [];
      if (entry.isDirectory()) return loadSourceFiles(root, path);
      return entry.isFile() && SOURCE.test(entry.name) ? [{ path, text: readFileSync(join(root, path), "utf8") }] : [];
    });
}
