import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** The client writes `image.json` into the archive after it has hashed the folder: into the folder itself, and into those beside a Dockerfile directly in `dockerfiles/`. */
const WRITTEN_LATER = { folder: /^image\.json$/, root: /^([^/]+\/)?image\.json$/ };

/**
 * The SHA-256, in hex, by which a client knows whether a folder changed: over its entries sorted by relative path, a folder as
 * `dir:<path>:`, a file as `file:<path>:` and its bytes, with CRLF made LF where it looks like text. `kind` is `root` for `dockerfiles/` itself.
 */
export async function folderHash(folder: string, kind: keyof typeof WRITTEN_LATER, signal: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = new Map(entries.map((entry) => [join(entry.parentPath, entry.name).slice(join(folder, "/").length), entry.isDirectory()]));
  for (const [path, isFolder] of [...paths].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    if (WRITTEN_LATER[kind].test(path)) continue;
    if (isFolder) hash.update(`dir:${path}:`);
    else hash.update(`file:${path}:`).update(asStored(await readFile(join(folder, path), { signal })));
  }
  return hash.digest("hex");
}

const CARRIAGE_RETURN = 0x0d;
const NUL = 0x00;

function asStored(bytes: Buffer): Buffer {
  if (!bytes.includes(CARRIAGE_RETURN) || bytes.includes(NUL)) return bytes;
  return Buffer.from(bytes.toString("utf8").replaceAll("\r\n", "\n"), "utf8");
}
