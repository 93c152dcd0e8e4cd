import { randomUUID } from "node:crypto";
import { access, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join, relative, resolve, sep } from "node:path";
import { sql } from "kysely";
import { Fault } from "../../lib/fault.ts";
import { flushFolder } from "../../lib/replace-file.ts";
import type { Queries } from "./queries.ts";
import { storeFault } from "./store-fault.ts";

/** Bytes of a file in one row: a large file never is one value, nor one message of the database. */
export const PART_BYTES = 1_048_576;

/** Rows of one transaction; others write in between. */
const PARTS_AT_ONCE = 8;

/** The published folders in use, as a query: of images, and of the versions to which a package may return. */
export const USED_FOLDERS = "SELECT files FROM images WHERE files <> '' UNION SELECT files FROM version_folders WHERE files <> ''";

export type PublishedFiles = ReturnType<typeof createPublishedFiles>;

/** A part of a published file, as a row; `path` is relative to its folder. */
export type FilePart = { folder: string; path: string; part: number; mode: number; bytes: Uint8Array };

/**
 * Published files lie in the data folder (`Image.files` is relative to it). Where several processes share the store, they are rows too: each process fetches
 * what its data folder does not have. `isShared` false: only the data folder has them, and nothing is written.
 */
export function createPublishedFiles(queries: Queries, { dataFolder, isShared }: { dataFolder: string; isShared: boolean }) {
  const { builder, database, run, select } = queries;
  const insert = run((row: FilePart) =>
    builder.insertInto("published_files").values({ folder: row.folder, path: row.path, part: row.part, mode: row.mode, bytes: row.bytes }),
  );
  const removeFolder = run((values: { folder: string }) => builder.deleteFrom("published_files").where("folder", "=", values.folder));
  const renameFolder = run((values: { from: string; to: string }) =>
    builder.updateTable("published_files").set({ folder: values.to }).where("folder", "=", values.from),
  );
  const removeFile = run((values: { folder: string; path: string }) =>
    builder.deleteFrom("published_files").where("folder", "=", values.folder).where("path", "=", values.path),
  );
  const removeUnused = run(() => builder.deleteFrom("published_files").where(sql<boolean>`folder not in (${sql.raw(USED_FOLDERS)})`));
  const list = select((values: { folder: string }) =>
    builder.selectFrom("published_files").select(["path", "part", "mode"]).where("folder", "=", values.folder).orderBy("path").orderBy("part"),
  );
  /** By a prefix that ends in "/": "0" is the next character. */
  const foldersIn = select((values: { from: string; to: string }) =>
    builder.selectFrom("published_files").select("folder").distinct().where("folder", ">=", values.from).where("folder", "<", values.to),
  );
  const read = select((values: { folder: string; path: string; part: number }) =>
    builder
      .selectFrom("published_files")
      .select("bytes")
      .where("folder", "=", values.folder)
      .where("path", "=", values.path)
      .where("part", "=", values.part),
  );
  const anyOf = select((values: { folder: string }) =>
    builder
      .selectFrom("published_files")
      .select(sql<number>`1`.as("one"))
      .where("folder", "=", values.folder)
      .limit(1),
  );
  const hasPath = select((values: { folder: string; path: string }) =>
    builder.selectFrom("published_files").select("part").where("folder", "=", values.folder).where("path", "=", values.path).limit(1),
  );

  /** Stores files of the folder `from` as those of `to`. */
  const store = async ({ from, to }: { from: string; to: string }, paths: readonly string[]): Promise<void> => {
    let rows: FilePart[] = [];
    const flush = async () => {
      const full = rows;
      rows = [];
      await database.transaction(async () => {
        for (const row of full) await insert(row);
      });
    };
    for (const path of paths) {
      for await (const part of partsOf(dataFolder, from, path)) {
        rows.push({ ...part, folder: to });
        if (rows.length >= PARTS_AT_ONCE) await flush();
      }
    }
    await flush();
  };
  return {
    isShared,
    /** Stores a folder of the data folder, or nothing of it. False: it is stored already, since its name has the hash of its content. */
    save: async (folder: string): Promise<boolean> => {
      if (!isShared || (await anyOf({ folder })).length > 0) return false;
      // A part of it never has the name of the whole, also where it cannot be removed. The next leader removes it.
      const draft = join("incoming", randomUUID());
      try {
        await store({ from: folder, to: draft }, await pathsIn(join(dataFolder, folder)));
        await renameFolder({ from: draft, to: folder });
        return true;
      } catch (error) {
        await removeFolder({ folder: draft }).catch(() => undefined);
        throw error;
      }
    },
    /** Stores one file anew, a small one, of a folder that is stored. */
    saveFile: async (folder: string, path: string): Promise<void> => {
      if (!isShared) return;
      const rows: FilePart[] = [];
      for await (const part of partsOf(dataFolder, folder, path)) rows.push(part);
      await database.transaction(async () => {
        await removeFile({ folder, path });
        for (const part of rows) await insert(part);
      });
    },
    remove: async (folders: readonly string[]): Promise<void> => {
      if (isShared) for (const folder of folders) await removeFolder({ folder });
    },
    /** Removes the versions of one folder, which lie in `base`, but for those that are `kept`. */
    prune: async (base: string, kept: readonly string[]): Promise<void> => {
      if (!isShared) return;
      const versions = (await foldersIn({ from: `${base}/`, to: `${base}0` })).map(({ folder }) => folder);
      for (const folder of versions) if (dirname(folder) === base && !kept.includes(folder)) await removeFolder({ folder });
    },
    /** Removes what is not in use: its process ended before it recorded the package. */
    removeUnused: async (): Promise<void> => {
      if (isShared) await removeUnused({});
    },
    has: async (folder: string, path: string): Promise<boolean> => {
      if (isShared) return (await hasPath({ folder, path })).length > 0;
      return exists(join(dataFolder, folder, path));
    },
    /** The first `most` bytes of a file, at most those of one part; undefined: the folder has no such file. */
    read: async (folder: string, path: string, most: number): Promise<Uint8Array | undefined> => {
      if (isShared) return (await read({ folder, path, part: 0 }))[0]?.bytes.subarray(0, most);
      const handle = await open(join(dataFolder, folder, path), "r").catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return undefined;
        throw storeFault(error, dataFolder);
      });
      if (handle === undefined) return undefined;
      try {
        const bytes = new Uint8Array(Math.min(most, PART_BYTES));
        return bytes.subarray(0, (await handle.read(bytes, 0, bytes.length, 0)).bytesRead);
      } finally {
        await handle.close();
      }
    },
    /** Makes sure that the data folder has the folder. Faults: IMAGE_NOT_FOUND, STORE_FULL, STORE_READ_ONLY, DATA_FOLDER_UNUSABLE. */
    fetch: async (folder: string): Promise<void> => {
      const target = join(dataFolder, folder);
      if (!isShared || (await exists(target))) return;
      const draft = join(dataFolder, "incoming", randomUUID());
      const missing = () =>
        new Fault("IMAGE_NOT_FOUND", `The published files ${folder} are neither in this data folder nor in the database: publish the package again.`);
      try {
        const rows = await list({ folder });
        if (rows.length === 0) throw missing();
        for (const { path, part, mode } of rows) {
          const file = resolve(draft, path);
          if (!file.startsWith(draft + sep)) throw new Error(`a published file lies outside of its folder: ${path}`);
          await mkdir(dirname(file), { recursive: true, mode: 0o700 });
          const [row] = await read({ folder, path, part });
          // Removed meanwhile: the name of the folder stands for the whole.
          if (row === undefined) throw missing();
          const handle = await open(file, part === 0 ? "w" : "a", mode & 0o700);
          try {
            // `write` may write a part only, as on a disk that becomes full.
            await handle.writeFile(row.bytes);
            await handle.sync();
          } finally {
            await handle.close();
          }
        }
        await mkdir(dirname(target), { recursive: true, mode: 0o700 });
        // A folder with this name counts as whole, also after a power failure.
        await flushFolder(draft, { andFiles: false });
        await rename(draft, target).catch(async (error: unknown) => {
          // Another call was first: the same hash is the same content.
          if (!(await exists(target))) throw error;
        });
      } catch (error) {
        throw storeFault(error, dataFolder);
      } finally {
        await rm(draft, { recursive: true, force: true });
      }
    },
  };
}

async function* partsOf(dataFolder: string, folder: string, path: string): AsyncGenerator<FilePart> {
  const file = join(dataFolder, folder, path);
  const mode = (await stat(file)).mode & 0o777;
  const handle = await open(file, "r");
  try {
    for (let part = 0; ; part++) {
      const bytes = new Uint8Array(PART_BYTES);
      const { bytesRead } = await handle.read(bytes, 0, PART_BYTES, part * PART_BYTES);
      // An empty file has a part too.
      if (bytesRead > 0 || part === 0) yield { folder, path, part, mode, bytes: bytes.subarray(0, bytesRead) };
      if (bytesRead < PART_BYTES) return;
    }
  } finally {
    await handle.close();
  }
}

async function pathsIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => relative(folder, join(entry.parentPath, entry.name)));
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
