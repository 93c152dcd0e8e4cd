import { existsSync, mkdirSync, readdirSync, renameSync } from "node:fs";
import { cp, mkdir, rm } from "node:fs/promises";
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
  /** Moves a folder to its place, in one step and at once, and returns that relative to the data folder. */
  place(from: string, packageId: string, folder: string, hash: string): string;
  /** Throws away the folder's versions but those in `kept` (relative to the data folder). */
  prune(packageId: string, folder: string, kept: readonly string[]): void;
  discard(folder: string): Promise<void>;
};

/** Faults, here and in its methods: STORE_FULL, STORE_READ_ONLY, DATA_FOLDER_UNUSABLE. */
export async function openPackageFiles(dataFolder: string): Promise<PackageFiles> {
  const incoming = join(dataFolder, "incoming");
  const translated = async <R>(work: Promise<R>): Promise<R> =>
    work.catch((error: unknown) => {
      throw storeFault(error, dataFolder);
    });
  await translated(rm(incoming, { recursive: true, force: true }));
  await translated(mkdir(incoming, { recursive: true, mode: 0o700 }));

  const place: PackageFiles["place"] = (from, packageId, folder, hash) => {
    const relative = join("packages", packageId, folder, hash);
    const to = join(dataFolder, relative);
    // The same hash is the same content: what lies there may be in use, and stays.
    if (existsSync(to)) return relative;
    try {
      mkdirSync(dirname(to), { recursive: true, mode: 0o700 });
      renameSync(from, to);
    } catch (error) {
      throw storeFault(error, dataFolder);
    }
    return relative;
  };

  const discard = (folder: string) => rm(folder, { recursive: true, force: true });

  return {
    incoming: async () => {
      const folder = join(incoming, randomUUID());
      await translated(mkdir(folder, { mode: 0o700 }));
      return folder;
    },
    copy: (from, to) => translated(cp(from, to, { recursive: true, errorOnExist: true })),
    place,
    prune: (packageId, folder, kept) => {
      const base = join("packages", packageId, folder);
      for (const name of versions(join(dataFolder, base))) {
        if (kept.includes(join(base, name))) continue;
        // Renamed at once, so that nobody takes for whole what is being removed; a rest goes at the next start.
        const doomed = join(incoming, randomUUID());
        renameSync(join(dataFolder, base, name), doomed);
        void discard(doomed).catch(() => undefined);
      }
    },
    discard,
  };
}

/** Beside the versions of `dockerfiles/` itself lie the folders of its sub folders, whose names are no hash. */
function versions(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).filter((name) => /^[0-9a-f]{64}$/.test(name));
}
