import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import about from "../../package.json" with { type: "json" };
import { replaceFile } from "../../lib/replace-file.ts";

const NAME = "TEST_PROGRAM";

/** What `node` runs as berth: the bundle of a whole run, or the source tree. */
export const PROGRAM = process.env[NAME] ?? join(import.meta.dirname, "../../berth.ts");

/**
 * Writes berth as one file, and returns the variable that names it. A whole run starts berth hundreds of times, and one file of 9 MB starts with three
 * quarters of the processor time of a thousand files. It is in node_modules, where it finds the packages that it does not contain.
 */
export async function bundleProgram(root: string): Promise<Record<string, string>> {
  // Only a whole run loads esbuild.
  const { bundle } = await import("../../conf/binary/bundle.ts");
  const path = join(root, "node_modules/.cache/berth-tests/berth.cjs");
  mkdirSync(dirname(path), { recursive: true });
  // Another run may start berth at this moment: the file is always whole.
  replaceFile(path, await bundle(root, { for: "tests", version: about.version }), { mode: 0o644, isDurable: false });
  return { [NAME]: path };
}
