/** Archives whose bytes depend on their files alone: sorted, with one time and no names of users. */
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, statSync } from "node:fs";
import { dirname } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { pack, type Pack } from "tar-stream";
import { digestOf } from "../../lib/registry-client/digest.ts";

/** `path` has no slash in front. */
export type ArchiveEntry = {
  path: string;
  mode: number;
  /** The user and group, by number; root by default. */
  owner?: number;
  content: FileBytes | "folder";
};

export type FileBytes = Uint8Array | { file: string };

/** The name of bytes in a registry. */
export type BlobId = { digest: string; size: number };

/** Writes an archive; `epoch`, in seconds, is the time of all its files. `tarDigest` is that of the archive before it was compressed. */
export async function writeTar(
  target: string,
  options: { entries: readonly ArchiveEntry[]; epoch: number; gzip?: boolean },
): Promise<BlobId & { tarDigest: string }> {
  const archive = pack();
  const written = writeEntries(archive, options.entries, new Date(options.epoch * 1_000));
  const [plain, final] = [countBytes(), countBytes()];
  // Node writes no time and no name into the head of gzip. A higher level takes twice as long for a twentieth less.
  const compressors = options.gzip === true ? [createGzip({ level: 4 })] : [];
  await Promise.all([written, pipeline([archive, plain.tap, ...compressors, final.tap, createWriteStream(target)])]);
  return { ...final.result(), tarDigest: plain.result().digest };
}

/** Adds the folders that lead to the entries, and sorts all. */
export function withFolders(entries: readonly ArchiveEntry[]): ArchiveEntry[] {
  const all = new Map<string, ArchiveEntry>();
  for (const { path } of entries)
    for (let folder = dirname(path); folder !== "."; folder = dirname(folder)) all.set(folder, { path: folder, mode: 0o755, content: "folder" });
  for (const entry of entries) all.set(entry.path, entry);
  return [...all.values()].toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

async function writeEntries(archive: Pack, entries: readonly ArchiveEntry[], mtime: Date): Promise<void> {
  for (const { path, mode, owner = 0, content } of entries) {
    const head = { name: path, mode, uid: owner, gid: owner, mtime };
    if (content === "folder") archive.entry({ ...head, type: "directory" });
    else if (content instanceof Uint8Array) archive.entry(head, Buffer.from(content));
    else await pipeline(createReadStream(content.file), archive.entry({ ...head, size: statSync(content.file).size }));
  }
  archive.finalize();
}

function countBytes() {
  const hash = createHash("sha256");
  let size = 0;
  async function* tap(chunks: AsyncIterable<Uint8Array>) {
    for await (const chunk of chunks) {
      hash.update(chunk);
      size += chunk.length;
      yield chunk;
    }
  }
  let digest: string | undefined;
  return { tap, result: () => ({ digest: (digest ??= `sha256:${hash.digest("hex")}`), size }) };
}

export function blobIdOf(bytes: Uint8Array): BlobId {
  return { digest: digestOf(bytes), size: bytes.length };
}
