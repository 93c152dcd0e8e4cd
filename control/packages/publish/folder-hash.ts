import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";

/** The client writes `image.json` into the archive after it has hashed the folder: into the folder itself, and into those beside a Dockerfile directly in `dockerfiles/`. */
const WRITTEN_LATER = { folder: /^image\.json$/, root: /^([^/]+\/)?image\.json$/ };

/**
 * The SHA-256, in hex, by which a client knows whether a folder changed: over its entries sorted by relative path, a folder as
 * `dir:<path>:`, a file as `file:<path>:` and its bytes, with CRLF made LF where it looks like text. `kind` is `root` for `dockerfiles/` itself.
 */
export async function folderHash(folder: string, kind: keyof typeof WRITTEN_LATER, signal: AbortSignal): Promise<string> {
  let hash = createHash("sha256");
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = new Map(entries.map((entry) => [join(entry.parentPath, entry.name).slice(join(folder, "/").length), entry.isDirectory()]));
  for (const [path, isFolder] of [...paths].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    if (WRITTEN_LATER[kind].test(path)) continue;
    if (isFolder) hash.update(`dir:${path}:`);
    else hash = await withFile(hash.update(`file:${path}:`), join(folder, path), signal);
  }
  return hash.digest("hex");
}

const CARRIAGE_RETURN = 0x0d;
const NUL = 0x00;

/**
 * Piece by piece, since a model file may be larger than what memory has to spare. Whether it is text is known at its end only, so it is
 * hashed both ways for as long as it may be.
 */
async function withFile(before: Hash, file: string, signal: AbortSignal): Promise<Hash> {
  const asItIs = before.copy();
  const asText = before.copy();
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let mayBeText = true;
  let hasReturns = false;
  /** A CR at the end of a piece, whose LF may begin the next. */
  let rest = "";
  for await (const piece of createReadStream(file, { signal }) as AsyncIterable<Buffer>) {
    asItIs.update(piece);
    mayBeText &&= !piece.includes(NUL);
    if (!mayBeText) continue;
    hasReturns ||= piece.includes(CARRIAGE_RETURN);
    const text = rest + decoder.decode(piece, { stream: true });
    rest = text.endsWith("\r") ? "\r" : "";
    asText.update(text.slice(0, text.length - rest.length).replaceAll("\r\n", "\n"));
  }
  return mayBeText && hasReturns ? asText.update(rest + decoder.decode()) : asItIs;
}
