import { existsSync, mkdirSync, readdirSync, renameSync } from "node:fs";
import { cp, mkdir, readdir, rm, rmdir } from "node:fs/promises";
import { randomUUID } from "node:crypto";
import { dirname, join } from "node:path";
import { storeFault } from "../store/store-fault.ts";

/**
 * Where the published files of folders lie: `packages/<package id>/<folder>/<folder hash>/` below the data folder, written once
 * and never changed. What is under way lies in `incoming/`, and is thrown away at the next start.
 */
export type PackageFiles = {
  /** A new empty folder; `discard` it in the end. */
  incoming(): Promise<string>;
  /** A copy of a folder that `place` can take; `from` and `to` lie in the same incoming folder. */
  copy(from: string, to: string): Promise<void>;
  /** Does `work`, which may put folders in their places; where it throws, none of them stays there. */
  placing<R>(work: (place: Place) => R): R;
  /** Throws away the folder's versions but those in `kept` (relative to the data folder). */
  prune(packageId: string, folder: string, kept: readonly string[]): void;
  discard(folder: string): Promise<void>;
};

/** Moves a folder to its place, in one step and at once, and returns that relative to the data folder. */
export type Place = (from: string, packageId: string, folder: string, hash: string) => string;

const PACKAGES = "packages";

/** A folder's versions are named by its hash. */
export function isVersionName(name: string): boolean {
  return /^[0-9a-f]{64}$/.test(name);
}

/** `isKnown` tells whether there is a package of an id. Faults, here and in its methods: STORE_FULL, STORE_READ_ONLY, DATA_FOLDER_UNUSABLE. */
export async function openPackageFiles(dataFolder: string, isKnown: (packageId: string) => boolean): Promise<PackageFiles> {
  const incoming = join(dataFolder, "incoming");
  const translated = async <R>(work: Promise<R>): Promise<R> =>
    work.catch((error: unknown) => {
      throw storeFault(error, dataFolder);
    });
  await translated(rm(incoming, { recursive: true, force: true }));
  await translated(mkdir(incoming, { recursive: true, mode: 0o700 }));

  const discard = (folder: string) => rm(folder, { recursive: true, force: true });

  /** Renamed at once, so that nobody takes for whole what is being removed; a rest goes at the next start. */
  const doom = (folder: string): Promise<void> => {
    const doomed = join(incoming, randomUUID());
    renameSync(folder, doomed);
    return discard(doomed).catch(() => undefined);
  };

  const place = (from: string, to: string) => {
    try {
      mkdirSync(dirname(to), { recursive: true, mode: 0o700 });
      renameSync(from, to);
    } catch (error) {
      throw storeFault(error, dataFolder);
    }
  };

  const placing: PackageFiles["placing"] = (work) => {
    const placed: string[] = [];
    try {
      return work((from, packageId, folder, hash) => {
        const relative = join(PACKAGES, packageId, folder, hash);
        const to = join(dataFolder, relative);
        // The same hash is the same content: what lies there may be in use, and stays.
        if (existsSync(to)) return relative;
        place(from, to);
        placed.push(to);
        return relative;
      });
    } catch (error) {
      for (const folder of placed) void doom(folder).then(() => removeEmpty(dirname(folder), dataFolder));
      throw error;
    }
  };

  // What was placed by a process that died before it wrote the package's rows.
  for (const id of await readdir(join(dataFolder, PACKAGES)).catch(() => [])) if (!isKnown(id)) void doom(join(dataFolder, PACKAGES, id));

  return {
    incoming: async () => {
      const folder = join(incoming, randomUUID());
      await translated(mkdir(folder, { mode: 0o700 }));
      return folder;
    },
    copy: (from, to) => translated(cp(from, to, { recursive: true, errorOnExist: true })),
    placing,
    prune: (packageId, folder, kept) => {
      const base = join(PACKAGES, packageId, folder);
      for (const name of versions(join(dataFolder, base))) if (!kept.includes(join(base, name))) void doom(join(dataFolder, base, name));
    },
    discard,
  };
}

/** Beside the versions of `dockerfiles/` itself lie the folders of its sub folders, whose names are no hash. */
function versions(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).filter(isVersionName);
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
