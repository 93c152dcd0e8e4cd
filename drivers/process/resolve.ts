import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join, posix, resolve as absolute } from "node:path";
import { MAX_DOCKERFILE_BYTES } from "../../lib/dockerfile/parse-instructions.ts";
import { advisedFault } from "../faults.ts";
import type { ImageSource, ResolvedImage } from "../driver.ts";
import { readDockerfile, type Recipe } from "./dockerfile.ts";

/** Faults: IMAGE_NOT_FOUND where there is no folder with a Dockerfile, IMAGE_REFERENCE_INVALID where it cannot be run. */
export async function readRecipe(image: Pick<ImageSource, "folder"> & { ref: string }): Promise<Recipe & { folder: string }> {
  const { ref, folder } = image;
  if (folder === undefined)
    throw advisedFault("IMAGE_NOT_FOUND", `"${ref}" was published without files; the process driver runs a package's own Dockerfile only.`);
  const file = join(folder, "Dockerfile");
  const unreadable = (cause: unknown) => {
    throw advisedFault("IMAGE_NOT_FOUND", `The published files of "${ref}" hold no Dockerfile that can be read.`, { cause });
  };
  const { size } = await stat(file).catch(unreadable);
  if (size > MAX_DOCKERFILE_BYTES)
    throw advisedFault(
      "IMAGE_REFERENCE_INVALID",
      `The Dockerfile of "${ref}" has ${size} bytes; ${MAX_DOCKERFILE_BYTES} are allowed. Make it smaller.`,
    );
  const text = await readFile(file, "utf8").catch(unreadable);
  return { ...readDockerfile(text), folder: absolute(folder) };
}

/** The id is a hash of the files: republishing other ones makes another image. */
export async function resolve(image: ImageSource, signal: AbortSignal): Promise<ResolvedImage> {
  const { exposed, folder } = await readRecipe(image);
  const hash = createHash("sha256");
  for (const entry of (await readdir(folder, { recursive: true, withFileTypes: true })).toSorted((a, b) => (fullPath(a) < fullPath(b) ? -1 : 1))) {
    signal.throwIfAborted();
    if (!entry.isFile()) continue;
    hash.update(`${fullPath(entry).slice(folder.length)}\0`).update(await readFile(fullPath(entry)));
  }
  return { id: `folder:${hash.digest("hex")}`, exposed };
}

const fullPath = (entry: { parentPath: string; name: string }) => join(entry.parentPath, entry.name);

/**
 * The command as it can run outside an image. The folder stands for the first WORKDIR (or the root): a later one is looked for
 * below it, and an absolute argument that is found there points there. `node` is berth's own.
 */
export function localise({ command, workdirs, folder }: Recipe & { folder: string }, nodePath: string): { command: string[]; cwd: string } {
  const root = posix.resolve("/", workdirs[0] ?? "/");
  const here = (path: string): string | undefined => {
    const below = posix.relative(root, path);
    const local = join(folder, below);
    return !below.startsWith("..") && existsSync(local) ? local : undefined;
  };
  const [program = "", ...rest] = command;
  const inFolder = (word: string) => (word.startsWith("/") ? (here(word) ?? word) : word);
  return {
    command: [posix.basename(program) === "node" ? nodePath : inFolder(program), ...rest.map(inFolder)],
    cwd: here(posix.resolve("/", ...workdirs)) ?? folder,
  };
}
