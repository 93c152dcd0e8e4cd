import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join, posix, resolve as absolute } from "node:path";
import { MAX_DOCKERFILE_BYTES, readFinalStage } from "../../lib/dockerfile.ts";
import type { ImageHealthcheck, ImageSource, ResolvedImage } from "../driver.ts";
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
  const { exposed, folder, command, healthcheck } = await readRecipe(image);
  const hash = createHash("sha256");
  for (const entry of (await readdir(folder, { recursive: true, withFileTypes: true })).toSorted((a, b) => (fullPath(a) < fullPath(b) ? -1 : 1))) {
    signal.throwIfAborted();
    if (!entry.isFile()) continue;
    hash.update(`${fullPath(entry).slice(folder.length)}\0`).update(await readFile(fullPath(entry)));
  }
  return { id: `folder:${hash.digest("hex")}`, exposed, command, ...(healthcheck ? { healthcheck } : {}) };
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
  healthcheck?: ImageHealthcheck | undefined;
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
  const healthcheck = healthcheckOf(stage.healthcheck);
  return { command, env: Object.fromEntries(stage.env), workdirs: stage.workdirs, exposed: [...exposed], ...(healthcheck ? { healthcheck } : {}) };
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

/** https://docs.docker.com/reference/dockerfile/#healthcheck: options, then `CMD` and a command as in CMD, or `NONE`. */
function healthcheckOf(written = ""): ImageHealthcheck | undefined {
  const options = new Map<string, string>();
  let rest = written;
  for (; rest.startsWith("--"); rest = rest.slice(rest.split(/\s/, 1)[0]?.length).trimStart()) {
    const [name = "", value = ""] = rest.split(/\s/, 1)[0]?.split("=", 2) ?? [];
    options.set(name.toLowerCase(), value);
  }
  const words = /^CMD\s/i.test(rest) ? commandOf(rest.slice("CMD".length).trim()) : [];
  if (words.length === 0) return undefined;
  const test = words[0] === SHELL[0] && words.length === 3 ? ["CMD-SHELL", words[2] as string] : ["CMD", ...words];
  return {
    test,
    ...time("intervalMs", parseDuration(options.get("--interval"))),
    ...time("timeoutMs", parseDuration(options.get("--timeout"))),
    ...time("startPeriodMs", parseDuration(options.get("--start-period"))),
    ...time("retries", Number(options.get("--retries") ?? 0)),
  };
}

function time<Name extends string>(name: Name, value: number): { [Key in Name]?: number } {
  return value > 0 ? ({ [name]: value } as { [Key in Name]: number }) : {};
}

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** A duration as Go writes it, such as `1m30s`. */
function parseDuration(written = ""): number {
  let sum = 0;
  for (const [, number, unit = ""] of written.matchAll(/(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)/g)) sum += Number(number) * (UNITS_MS[unit] ?? 0);
  return sum;
}
