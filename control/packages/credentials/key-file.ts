import { createHash, randomBytes } from "node:crypto";
import { chmodSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Fault } from "../../../lib/fault.ts";
import { replaceFile } from "../../../lib/replace-file.ts";
import { useDataFile } from "../../store/store-fault.ts";

/** The keys of an installation, in a file of its own: a copy of the database contains no key. */
export type KeyFile = {
  readonly path: string;
  /** The first key seals; the others only open earlier values. Empty: there is no file. */
  read(): Key[];
  /** All of it or nothing, durable when it returns. */
  write(keys: readonly Key[]): void;
};

export const KEY_FILE = "credentials.key";
const HEAD = "# The key of the credentials in berth.db. Keep a copy of it, but not where you keep copies of the database.\n";

/** Faults, in its methods: DATA_FOLDER_UNUSABLE, STORE_FULL, STORE_READ_ONLY. */
export function openKeyFile(dataFolder: string): KeyFile {
  const path = join(dataFolder, KEY_FILE);
  const guarded = <R>(work: () => R): R => useDataFile(dataFolder, `The key file ${path}`, work);
  return {
    path,
    read: () => guarded(() => parse(readKeyFile(path), path)),
    write: (keys) => guarded(() => void replaceFile(path, `${HEAD}${keys.map((key) => `${writeKey(key)}\n`).join("")}`, { mode: 0o600 })),
  };
}

/** All keys that a process has: those of the settings, and of the data folder. Faults: SETTINGS_INVALID, DATA_FOLDER_UNUSABLE. */
export function loadKeys(given: readonly string[], keyFile: Pick<KeyFile, "read">): Key[] {
  return [...given.flatMap((text) => readKey(text) ?? []), ...keyFile.read()];
}

/** The keys of a file that several processes share, as texts. Faults: SETTINGS_INVALID where it cannot be read, or has none. */
export function loadSharedKeys(path: string): string[] {
  try {
    const keys = parse(readFileSync(path, "utf8"), path).map(writeKey);
    if (keys.length > 0) return keys;
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `BERTH_CREDENTIALS_KEY_FILE cannot be used: ${(cause as Error).message}.`, { cause });
  }
  throw new Fault("SETTINGS_INVALID", `BERTH_CREDENTIALS_KEY_FILE names ${path}, which has no key: 32 bytes in base64 or hexadecimal.`);
}

function readKeyFile(path: string): string {
  try {
    chmodSync(path, 0o600);
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}

function parse(text: string, path: string): Key[] {
  const lines = text.split("\n").map((line) => line.trim());
  return lines.flatMap((line, index) => {
    if (line === "" || line.startsWith("#")) return [];
    const key = readKey(line);
    if (!key) throw new Fault("DATA_FOLDER_UNUSABLE", `Line ${index + 1} of the key file ${path} is no key: 32 bytes in base64 or hexadecimal.`);
    return [key];
  });
}

/** A key of AES-256. Its id is stored with each value that it sealed, and reveals nothing about the key. */
export type Key = { id: string; bytes: Buffer };

const KEY_BYTES = 32;

/** 32 bytes as base64 (either alphabet) or as hexadecimal digits; undefined for anything else. */
export function readKey(text: string): Key | undefined {
  const bytes = /^[0-9a-f]{64}$/i.test(text) ? Buffer.from(text, "hex") : Buffer.from(text, "base64");
  return /^[\w+/-]{43,64}=?$/.test(text) && bytes.length === KEY_BYTES ? keyOf(bytes) : undefined;
}

export function newKey(): Key {
  return keyOf(randomBytes(KEY_BYTES));
}

/** The reverse of `readKey`. */
export function writeKey(key: Key): string {
  return key.bytes.toString("base64");
}

function keyOf(bytes: Buffer): Key {
  return { id: createHash("sha256").update("berth credentials key ").update(bytes).digest("hex").slice(0, 16), bytes };
}
