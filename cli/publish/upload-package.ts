import { createReadStream, createWriteStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { ZipFile } from "yazl";
import { DOCKERFILES, statTarget } from "../../control/packages/publish/folders.ts";
import { Fault } from "../../lib/fault.ts";
import type { ServerClient } from "../server/server-client.ts";
import type { ProgressLine } from "../terminal.ts";
import type { PreparedImage } from "./prepare-image.ts";

/** Zips a package with an `image.json` per image, and sends it. Returns the response. */
export async function uploadPackage<T>(deps: {
  folder: string;
  name: string;
  images: readonly PreparedImage[];
  release: boolean;
  suffix: string | undefined;
  server: Pick<ServerClient, "upload">;
  /** The ZIP file to write. */
  zip: string;
  progress: ProgressLine;
  signal: AbortSignal;
}): Promise<T> {
  const { folder, name, images, release, suffix, server, zip, progress, signal } = deps;
  progress.update("zipping");
  const made = images.map(({ folder, imageJson }) => [jsonPath(folder), `${JSON.stringify(imageJson, undefined, 2)}\n`] as const);
  const length = await zipPackage(folder, new Map(made), zip, signal);
  const query = new URLSearchParams({ debug: String(!release), rebuild: "false", dropDb: "false", ...(suffix === undefined ? {} : { suffix }) });
  const bytes = reportProgress(zip, (sent) =>
    progress.update(sent < length ? "uploading" : "waiting for the response", sent < length ? sent / length : undefined),
  );
  return server.upload<T>(`/packages/dev/${name}?${query.toString()}`, { bytes, length, signal });
}

function jsonPath(folder: string): string {
  return [DOCKERFILES, folder, "image.json"].filter((part) => part !== "").join("/");
}

function reportProgress(file: string, report: (sent: number) => void): Transform {
  let sent = 0;
  const count = new Transform({
    transform: (piece: Buffer, _encoding, done) => {
      report((sent += piece.length));
      done(null, piece);
    },
  });
  const read = createReadStream(file).once("error", (error) => count.destroy(error));
  return read.pipe(count);
}

/** Not part of a package: installed modules, files of tools, a file of keys. */
const LEFT_OUT = /^(node_modules|\..*|upload\.keys\.json)$/;

/**
 * Zips a package's folder to a file: all of `dockerfiles/`, which identifies its images, and all other source files. `made` adds or replaces files by
 * path. Follows links to files, as the hash of a folder does, and `dockerfiles/` itself if it is a link. Returns the size in bytes.
 */
async function zipPackage(folder: string, made: ReadonlyMap<string, string>, into: string, signal: AbortSignal): Promise<number> {
  const zip = new ZipFile();
  // Emitted on the archive alone, for each file that cannot be read: its output would never end.
  zip.on("error", (cause) => (zip.outputStream as Readable).destroy(unreadable(cause)));
  for (const path of (await pathsIn(folder, "")).toSorted()) if (!made.has(path)) zip.addFile(join(folder, path), path);
  for (const [path, text] of made) zip.addBuffer(Buffer.from(text), path);
  zip.end();
  await pipeline(zip.outputStream, createWriteStream(into, { flags: "wx", mode: 0o600 }), { signal });
  return (await stat(into)).size;
}

async function pathsIn(folder: string, below: string): Promise<string[]> {
  const isWhole = below === DOCKERFILES || below.startsWith(`${DOCKERFILES}/`);
  const paths: string[] = [];
  for (const entry of await readdir(join(folder, below), { withFileTypes: true })) {
    if (!isWhole && LEFT_OUT.test(entry.name)) continue;
    const path = below === "" ? entry.name : `${below}/${entry.name}`;
    const target = entry.isSymbolicLink() ? await statTarget(join(folder, path), path) : undefined;
    // Without it the package would be published without containers, and lose those that it has.
    if (entry.isDirectory() || (path === DOCKERFILES && target?.isDirectory())) paths.push(...(await pathsIn(folder, path)));
    else if (entry.isFile() || target?.isFile()) paths.push(path);
  }
  return paths;
}

function unreadable(cause: Error): Fault {
  const { path = "A file of the package" } = cause as NodeJS.ErrnoException;
  return new Fault("PACKAGE_INVALID", `${path} cannot be read: ${cause.message}. Correct or remove it, and publish again.`, { cause });
}
