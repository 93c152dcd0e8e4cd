import { createReadStream } from "node:fs";
import { posix } from "node:path";
import { createGunzip } from "node:zlib";
import { pipeline } from "node:stream/promises";
import { extract } from "tar-stream";

/** What `npm pack` wrote, as far as containers are concerned. */
export type PackageTarball = {
  name: string;
  version: string;
  /** What the publishing client would upload of it: `package.json`, `dockerfiles/**`, `connections/*.json`. Paths are relative to the package. */
  files: Map<string, Buffer>;
  /** The sources of the package's own client code, by path. */
  clientSources: Map<string, string>;
};

/** Of a package's tarball in all; the largest public one unpacks to 125 MB. */
const MAX_UNPACKED_BYTES = 2 ** 31;
/** Of what is kept in memory. */
const MAX_KEPT_BYTES = 2 ** 28;
const MAX_FILES = 100_000;

const isUploaded = (path: string) => path === "package.json" || path.startsWith("dockerfiles/") || /^connections\/[^/]+\.json$/.test(path);
const isClientSource = (path: string) => /^src\/.+\.[jt]sx?$/.test(path);

/** Reads one `.tgz`. It fails for a file that is no package, or is larger than any package. */
export async function readTarball(file: string): Promise<PackageTarball> {
  const files = new Map<string, Buffer>();
  const clientSources = new Map<string, string>();
  let unpacked = 0;
  let kept = 0;
  let count = 0;
  const tar = extract();
  const unpacking = pipeline(createReadStream(file), createGunzip(), tar);
  const reading = (async () => {
    for await (const entry of tar) {
      const { name, type, size } = entry.header;
      // npm puts all into `package/`; other packers name that folder as they like.
      const path = posix.normalize(name).split("/").slice(1).join("/");
      const isKept = type === "file" && (isUploaded(path) || isClientSource(path));
      if (++count > MAX_FILES || (unpacked += size) > MAX_UNPACKED_BYTES || (isKept && (kept += size) > MAX_KEPT_BYTES))
        throw new Error(`${file} unpacks to more than any package holds`);
      const pieces: Buffer[] = [];
      for await (const piece of entry) if (isKept) pieces.push(piece as Buffer);
      if (!isKept || path.split("/").includes("..")) continue;
      const content = Buffer.concat(pieces);
      if (isUploaded(path)) files.set(path, content);
      else clientSources.set(path, content.toString());
    }
  })();
  await Promise.all([unpacking, reading]);
  const { name, version } = JSON.parse(files.get("package.json")?.toString() ?? "{}") as Record<string, unknown>;
  if (typeof name !== "string" || typeof version !== "string") throw new Error(`${file} has no package.json with a name and a version`);
  return { name, version, files, clientSources };
}
