/** In the single executable this stands in for the file of better-sqlite3 that looks for its addon beside itself. */
import { createRequire } from "node:module";
import { ownFile } from "../../lib/own-files.ts";

export const ADDON_FILE = "better-sqlite3.node";

/** Loaded once: `require` keeps it by its path. */
export function getBinding(): unknown {
  return createRequire(process.execPath)(ownFile(ADDON_FILE));
}
