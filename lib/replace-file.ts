import { randomUUID } from "node:crypto";
import { chmodSync, chownSync, closeSync, copyFileSync, fsyncSync, linkSync, openSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { chmod, open, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";

export type FileContent = string | Uint8Array | { copyOf: string };

type ReplaceFileOptions = {
  mode: number;
  /** Keeps a file that exists, also one that another process writes at this moment. */
  unlessExists?: boolean;
  /** Root gives the file to the owner of its folder: berth runs as that user. */
  ownedByFolder?: boolean;
  /** False: after a power failure the file may be empty. Saves the wait for the disk where the reader checks for that. */
  isDurable?: boolean;
};

/**
 * Writes a file in one step: readers, and a crash at any moment, leave the old file or the new one. The new one is on the disk when this returns.
 * False if `unlessExists` kept the file that exists.
 */
export function replaceFile(path: string, content: FileContent, options: ReplaceFileOptions): boolean {
  const { mode, unlessExists = false, ownedByFolder = false, isDurable = true } = options;
  const draft = draftOf(path);
  try {
    if (typeof content === "object" && "copyOf" in content) copyFileSync(content.copyOf, draft);
    else writeFileSync(draft, content, { mode: 0o600, flag: "wx" });
    if (ownedByFolder && process.getuid?.() === 0) {
      const { uid, gid } = statSync(dirname(path));
      chownSync(draft, uid, gid);
    }
    chmodSync(draft, mode);
    if (isDurable) flushToDisk(draft);
    if (unlessExists) linkSync(draft, path);
    else renameSync(draft, path);
    if (isDurable) flushToDisk(dirname(path));
    return true;
  } catch (error) {
    if (unlessExists && (error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

/** The same without blocking the event loop. */
export async function replaceFileInBackground(path: string, content: string, { mode }: { mode: number }): Promise<void> {
  const draft = draftOf(path);
  try {
    const file = await open(draft, "wx", 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await chmod(draft, mode);
    await rename(draft, path);
  } finally {
    await rm(draft, { force: true });
  }
}

/** A file, or a folder: a new name in it is on the disk only after this. */
export function flushToDisk(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** The folder, and those below it, with their names; with `andFiles` also the content of their files. Does not block the event loop. */
export async function flushFolder(folder: string, { andFiles }: { andFiles: boolean }): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await flushFolder(path, { andFiles });
    else if (andFiles && entry.isFile()) await flushInBackground(path);
  }
  await flushInBackground(folder);
}

/** As `flushToDisk`, without blocking the event loop. */
export async function flushInBackground(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

function draftOf(path: string): string {
  return `${path}.${randomUUID()}`;
}
