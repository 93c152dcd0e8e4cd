/** In a bundle this stands in for the file of better-sqlite3 that looks for its addon beside itself. */
import { createRequire } from "node:module";
import { ownFile } from "../../lib/own-files.ts";

/** The npm package has those of several processors. */
export const addonFile = (architecture: string) => `better-sqlite3-linux-${architecture}.node`;

/** Loaded once: `require` keeps it by its path. */
export function getBinding(): unknown {
  return createRequire(process.execPath)(ownFile(addonFile(process.arch)));
}
