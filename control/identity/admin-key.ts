import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Fault } from "../../lib/fault.ts";
import { replaceFile } from "../../lib/replace-file.ts";
import { storeFault } from "../store/store-fault.ts";

export const ADMIN_KEY_FILE = "admin.key";

/**
 * The developer key of the first user: the given one, else the one in the data folder, else a new one. A new key is stored with mode 0600, and `made`
 * tells the caller to print it once. The folder exists, and this process holds its lock.
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

/** The given key, else the one in the data folder, else undefined. It never creates one. Faults: DATA_FOLDER_UNUSABLE. */
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
    // A full disk leaves an empty file: there is no key.
    return readFileSync(file, "utf8").trim() || undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
