import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join, posix, resolve as absolute } from "node:path";
import { MAX_DOCKERFILE_BYTES } from "../../lib/dockerfile/parse-instructions.ts";
import { advisedFault } from "../faults.ts";
import type { ImageSource, ResolvedImage } from "../driver.ts";
import { readFinalStage } from "../../lib/dockerfile/read-final-stage.ts";

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

/** What a Dockerfile says about running; how its image is built is passed over. */
export type Recipe = {
  /** Program and arguments: ENTRYPOINT followed by CMD, a shell form as `/bin/sh -c`. */
  command: string[];
  env: Record<string, string>;
  /** Each WORKDIR as it stands, in order: a relative one is below those before it. */
  workdirs: string[];
  /** Exposed TCP ports: those of the final stage first, in the order in which they are named. */
  exposed: number[];
};

/** Requests go to the first; the others are named in a warning. */
const MAX_EXPOSED = 100;

/** Reads the final stage, after the stages of the same file that it is made from. Faults: IMAGE_REFERENCE_INVALID. */
export function readDockerfile(text: string): Recipe {
  const stage = readFinalStage(text);
  const entrypoint = commandOf(stage.entrypoint);
  // A shell form of ENTRYPOINT takes no arguments: CMD is not for it.
  const command = entrypoint[0] === SHELL[0] && entrypoint.length === 3 ? entrypoint : [...entrypoint, ...commandOf(stage.cmd)];
  if (command.length === 0)
    throw advisedFault("IMAGE_REFERENCE_INVALID", "The Dockerfile names neither CMD nor ENTRYPOINT, so there is nothing to run.");
  const exposed = new Set<number>();
  for (const { ports } of stage.exposed.flat()) {
    if (ports?.protocol !== "tcp") continue;
    for (let port = ports.first; port <= ports.last && exposed.size < MAX_EXPOSED; port++) exposed.add(port);
  }
  return { command, env: Object.fromEntries(stage.env), workdirs: stage.workdirs, exposed: [...exposed] };
}

const SHELL = ["/bin/sh", "-c"];

function commandOf(written = ""): string[] {
  if (written.startsWith("[")) {
    try {
      const words: unknown = JSON.parse(written);
      if (Array.isArray(words) && words.every((word) => typeof word === "string")) return words;
    } catch {
      // Docker itself takes a list that is no JSON for a shell line.
    }
  }
  return written === "" ? [] : [...SHELL, written];
}
