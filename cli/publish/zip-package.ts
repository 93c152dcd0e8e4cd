import { createWriteStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { ZipFile } from "yazl";
import { DOCKERFILES } from "../../control/packages/publish/folders.ts";

/** What is no part of a package: what is installed, what tools keep for themselves, and a file of keys. */
const LEFT_OUT = /^(node_modules|\..*|upload\.keys\.json)$/;

/**
 * Zips a package's folder to a file: all of `dockerfiles/`, by which its images are known, and of the rest what people wrote. `made` are files that come
 * beside these, or in their place, by their paths. Links to files are followed, as the hash of a folder follows them. Returns the bytes.
 */
export async function zipPackage(folder: string, made: ReadonlyMap<string, string>, into: string, signal: AbortSignal): Promise<number> {
  const zip = new ZipFile();
  for (const path of (await pathsIn(folder, "")).toSorted()) if (!made.has(path)) zip.addFile(join(folder, path), path);
  for (const [path, text] of made) zip.addBuffer(Buffer.from(text), path);
  zip.end();
  await pipeline(zip.outputStream, createWriteStream(into, { flags: "wx", mode: 0o600 }), { signal });
  return (await stat(into)).size;
}

async function pathsIn(folder: string, below: string): Promise<string[]> {
  const isWhole = below === DOCKERFILES || below.startsWith(`${DOCKERFILES}/`);
  const found: string[] = [];
  for (const entry of await readdir(join(folder, below), { withFileTypes: true })) {
    if (!isWhole && LEFT_OUT.test(entry.name)) continue;
    const path = below === "" ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory()) found.push(...(await pathsIn(folder, path)));
    else if (entry.isFile() || (entry.isSymbolicLink() && (await stat(join(folder, path))).isFile())) found.push(path);
  }
  return found;
}
