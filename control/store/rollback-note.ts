import { readFileSync } from "node:fs";
import { join } from "node:path";
import { replaceFile } from "../../lib/replace-file.ts";

/** A store that lost what a gateway had seen already: revisions of both, and when control noticed it, in epoch ms. */
export type StoreRollback = { at: number; seen: number; found: number };

/** Below the data folder. It stays until somebody who has looked into it removes it. */
export const ROLLBACK_FILE = "store-rollback.json";

/** Only a note for `berth doctor`: the log has it, and a folder that cannot be written has other problems. */
export function noteRollback(folder: string, rollback: StoreRollback): void {
  try {
    replaceFile(join(folder, ROLLBACK_FILE), `${JSON.stringify(rollback)}\n`, { mode: 0o600 });
  } catch {
    // As above.
  }
}

export function readRollback(folder: string): StoreRollback | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, ROLLBACK_FILE), "utf8")) as StoreRollback;
  } catch {
    return undefined;
  }
}
