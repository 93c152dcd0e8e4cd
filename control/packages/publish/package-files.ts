import { cp, lstat, mkdir, readdir, rename, rm, rmdir } from "node:fs/promises";
import { randomUUID } from "node:crypto";
import { dirname, join } from "node:path";
import type { PublishedFiles } from "../../store/published-files.ts";
import { storeFault } from "../../store/store-fault.ts";
import { flushFolder, flushInBackground } from "../../../lib/replace-file.ts";

/**
 * The published files of folders: `packages/<package id>/<folder>/<folder hash>/` below the data folder, written once and never changed but for image.json. Unfinished uploads
 * are in `incoming/`, which the next start empties. Only one caller at a time may place and prune the files of a package.
 */
export type PackageFiles = {
  /** A new empty folder; `discard` it in the end. */
  incoming(): Promise<string>;
  /** A copy of a folder, on the disk, that `place` can take; `from` and `to` lie in the same incoming folder. */
  copy(from: string, to: string): Promise<void>;
  /** Moves the package's folders, whose files are on the disk, to their places there, then does `work`. If either fails, the folders are removed. */
  placing<R>(packageId: string, folders: readonly FolderToPlace[], signal: AbortSignal, work: () => Promise<R>): Promise<R>;
  /** Removes the folder's versions that are not in `kept` (relative to the data folder). */
  prune(packageId: string, folder: string, kept: readonly string[]): Promise<void>;
  discard(folder: string): Promise<void>;
};

export type FolderToPlace = { from: string; folder: string; hash: string };

const PACKAGES = "packages";
const IMAGE_JSON = "image.json";
/** A failed publish removes the folders that it leaves empty, also those that another package needs at this moment. */
const PLACE_ATTEMPTS = 5;

/** Where a version of a folder lies, relative to the data folder. */
export function versionPath(packageId: string, { folder, hash }: Pick<FolderToPlace, "folder" | "hash">): string {
  return join(PACKAGES, packageId, folder, hash);
}

/** A folder's versions are named by its hash. */
export function isVersionName(name: string): boolean {
  return /^[0-9a-f]{64}$/.test(name);
}

/** `isKnown` tells whether there is a package of an id. Faults, here and in its methods: STORE_FULL, STORE_READ_ONLY, DATA_FOLDER_UNUSABLE. */
export async function openPackageFiles(
  dataFolder: string,
  isKnown: (packageId: string) => Promise<boolean>,
  /** Where the folders are stored for other processes too. */
  shared: Pick<PublishedFiles, "save" | "saveFile" | "remove" | "prune">,
): Promise<PackageFiles> {
  const incoming = join(dataFolder, "incoming");
  const translated = async <R>(work: Promise<R>): Promise<R> =>
    work.catch((error: unknown) => {
      throw storeFault(error, dataFolder);
    });
  await translated(rm(incoming, { recursive: true, force: true }));
  await translated(mkdir(incoming, { recursive: true, mode: 0o700 }));

  const discard = (folder: string) => rm(folder, { recursive: true, force: true });

  /** Renames the folder first, so that a partly removed one is never used. The next start removes the rest. */
  const doom = async (folder: string): Promise<void> => {
    const doomed = join(incoming, randomUUID());
    await rename(folder, doomed);
    void discard(doomed).catch(() => undefined);
  };

  const place = async (from: string, to: string): Promise<void> => {
    for (let attempt = 1; ; attempt++) {
      try {
        await mkdir(dirname(to), { recursive: true, mode: 0o700 });
        return await rename(from, to);
      } catch (error) {
        if (attempt === PLACE_ATTEMPTS || !isMissing(error)) throw storeFault(error, dataFolder);
      }
    }
  };

  const placing: PackageFiles["placing"] = async (packageId, folders, signal, work) => {
    const placed: string[] = [];
    const stored: string[] = [];
    try {
      for (const one of folders) {
        signal.throwIfAborted();
        const version = versionPath(packageId, one);
        const to = join(dataFolder, version);
        // The same hash is the same content: the existing folder may be in use, and stays.
        if (await exists(to)) {
          // But for what the client notes of the image, which is no part of the hash. Without it, only an advice would be wrong.
          const isNoted = await rename(join(one.from, IMAGE_JSON), join(to, IMAGE_JSON))
            .then(() => flushInBackground(to))
            .then(
              () => true,
              () => false,
            );
          await shared.save(version);
          if (isNoted) await shared.saveFile(version, IMAGE_JSON);
          continue;
        }
        await place(one.from, to);
        placed.push(to);
        await translated(flushPlaced(to, dataFolder));
        // What was stored before is in use, although this data folder did not have it.
        if (await shared.save(version)) stored.push(version);
      }
      return await work();
    } catch (error) {
      for (const folder of placed)
        await doom(folder).then(
          () => removeEmpty(dirname(folder), dataFolder),
          () => undefined,
        );
      await shared.remove(stored).catch(() => undefined);
      throw error;
    }
  };

  // A process placed these and ended before it wrote the package's rows.
  for (const id of await readdir(join(dataFolder, PACKAGES)).catch(() => []))
    if (!(await isKnown(id))) await translated(doom(join(dataFolder, PACKAGES, id)));

  return {
    incoming: async () => {
      const folder = join(incoming, randomUUID());
      await translated(mkdir(folder, { mode: 0o700 }));
      return folder;
    },
    copy: (from, to) => translated(cp(from, to, { recursive: true, errorOnExist: true }).then(() => flushFolder(to, { andFiles: true }))),
    placing,
    prune: async (packageId, folder, kept) => {
      const base = join(PACKAGES, packageId, folder);
      const left = (await versions(join(dataFolder, base))).map((name) => join(base, name)).filter((path) => !kept.includes(path));
      // The next publish removes it: this one is stored.
      for (const path of left) await doom(join(dataFolder, path)).catch(() => undefined);
      await shared.prune(base, kept);
    },
    discard,
  };
}

/** The names in a folder, and in those that it lies in, up to `top`: after a power failure the folder is there, with all its files. */
async function flushPlaced(folder: string, top: string): Promise<void> {
  await flushFolder(folder, { andFiles: false });
  for (let at = folder; at !== top; at = dirname(at)) await flushInBackground(dirname(at));
}

/** Beside the versions of `dockerfiles/` itself lie the folders of its sub folders, whose names are no hash. */
async function versions(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(() => [])).filter(isVersionName);
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

/** A folder and those that it lies in, for as long as they are empty, up to `top`. */
async function removeEmpty(folder: string, top: string): Promise<void> {
  for (let at = folder; at !== top; at = dirname(at)) {
    try {
      await rmdir(at);
    } catch {
      return;
    }
  }
}
