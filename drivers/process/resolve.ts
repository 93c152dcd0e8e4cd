import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join, posix, resolve as absolute } from "node:path";
import { MAX_DOCKERFILE_BYTES } from "../../lib/dockerfile/syntax.ts";
import { readFinalStage } from "../../lib/dockerfile/read-final-stage.ts";
import type { ImageSource, ResolvedImage } from "../driver.ts";
import { advisedFault } from "../faults.ts";

/** Faults: IMAGE_NOT_FOUND without a folder or Dockerfile, IMAGE_REFERENCE_INVALID if it cannot be run. */
export async function readRecipe(image: Pick<ImageSource, "folder"> & { ref: string }): Promise<Recipe & { folder: string }> {
  const { ref, folder } = image;
  if (folder === undefined)
    throw advisedFault("IMAGE_NOT_FOUND", `"${ref}" was published without files; the process driver runs a package's own Dockerfile only.`);
  const file = join(folder, "Dockerfile");
  const unreadable = (cause: unknown) => {
    throw advisedFault("IMAGE_NOT_FOUND", `The published files of "${ref}" have no readable Dockerfile.`, { cause });
  };
  const { size } = await stat(file).catch(unreadable);
  if (size > MAX_DOCKERFILE_BYTES)
    throw advisedFault(
      "IMAGE_REFERENCE_INVALID",
      `The Dockerfile of "${ref}" has ${size} bytes; ${MAX_DOCKERFILE_BYTES} are allowed. Make it smaller.`,
    );
  const text = await readFile(file, "utf8").catch(unreadable);
  return { ...parseDockerfile(text), folder: absolute(folder) };
}

/** The id is a hash of the files: other files are another image. */
export async function resolve(image: ImageSource, signal: AbortSignal): Promise<ResolvedImage> {
  const { exposed, folder } = await readRecipe(image);
  const hash = createHash("sha256");
  for (const entry of (await readdir(folder, { recursive: true, withFileTypes: true })).toSorted((a, b) => (fullPath(a) < fullPath(b) ? -1 : 1))) {
    signal.throwIfAborted();
    if (!entry.isFile()) continue;
    hash.update(`${fullPath(entry).slice(folder.length)}\0`).update(await readFile(fullPath(entry)));
  }
  return { id: `folder:${hash.digest("hex")}`, exposed, command: [] };
}

const fullPath = (entry: { parentPath: string; name: string }) => join(entry.parentPath, entry.name);

/**
 * Adapts the command to run outside an image. The folder replaces the first WORKDIR (or the root). Later WORKDIRs and absolute arguments that exist below
 * it point there. `node` is berth's own.
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

/** The instructions of a Dockerfile about running. Those about building are ignored. */
type Recipe = {
  /** Program and arguments: ENTRYPOINT followed by CMD, a shell form as `/bin/sh -c`. */
  command: string[];
  env: Record<string, string>;
  /** In order: a relative one is below those before it. */
  workdirs: string[];
  /** Exposed TCP ports, those of the final stage first, in their order. */
  exposed: number[];
};

/** Requests go to the first; a warning names the others. */
const MAX_EXPOSED = 100;

/** Parses the final stage and the stages that it is made from. Faults: IMAGE_REFERENCE_INVALID. */
export function parseDockerfile(text: string): Recipe {
  const stage = readFinalStage(text);
  const entrypoint = commandOf(stage.entrypoint);
  // A shell form of ENTRYPOINT takes no arguments, so CMD is ignored.
  const command = entrypoint[0] === SHELL[0] && entrypoint.length === 3 ? entrypoint : [...entrypoint, ...commandOf(stage.cmd)];
  if (command.length === 0)
    throw advisedFault("IMAGE_REFERENCE_INVALID", "The Dockerfile has neither CMD nor ENTRYPOINT, so there is nothing to run.");
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
      // As in Docker, a list that is not JSON is a shell line.
    }
  }
  return written === "" ? [] : [...SHELL, written];
}
