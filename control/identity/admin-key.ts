import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Fault } from "../../lib/fault.ts";
import { replaceFile } from "../../lib/replace-file.ts";
import { storeFault } from "../store/store-fault.ts";

export const ADMIN_KEY_FILE = "admin.key";

/**
 * The developer key of the first user: the one that is given, else the one in the data folder, else one that is made now, kept there for its
 * owner's eyes only and, as `made` says, to be shown this once. The folder exists and is held by this process.
 * Faults: STORE_FULL, STORE_READ_ONLY, DATA_FOLDER_UNUSABLE.
 */
export function adminKey(options: { dataFolder: string; given: string | undefined }): { key: string; made: boolean } {
  if (options.given !== undefined) return { key: options.given, made: false };
  const file = join(options.dataFolder, ADMIN_KEY_FILE);
  try {
    const kept = read(file);
    if (kept !== undefined) return { key: kept, made: false };
    const key = randomBytes(24).toString("base64url");
    replaceFile(file, `${key}\n`, { mode: 0o600 });
    return { key, made: true };
  } catch (error) {
    const fault = storeFault(error, options.dataFolder);
    if (fault instanceof Fault) throw fault;
    throw new Fault("DATA_FOLDER_UNUSABLE", `The admin key cannot be kept in ${file}: ${(error as Error).message}.`, { cause: error });
  }
}

/** The key that is given, or the one that a berth on this data folder keeps; undefined where there is neither. Makes none. Faults: DATA_FOLDER_UNUSABLE. */
export function readAdminKey(options: { dataFolder: string; given: string | undefined }): string | undefined {
  if (options.given !== undefined) return options.given;
  const file = join(options.dataFolder, ADMIN_KEY_FILE);
  try {
    return read(file);
  } catch (cause) {
    throw new Fault("DATA_FOLDER_UNUSABLE", `The admin key in ${file} cannot be read: ${(cause as Error).message}.`, { cause });
  }
}

function read(file: string): string | undefined {
  try {
    // An empty file is what is left of a disk that was full: as good as none.
    return readFileSync(file, "utf8").trim() || undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
