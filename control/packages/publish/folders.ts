import { createHash, type Hash } from "node:crypto";
import { createReadStream, type Stats } from "node:fs";
import { readdir, readlink, stat } from "node:fs/promises";
import { join } from "node:path";
import { MAX_DOCKERFILE_BYTES, readFinalStage } from "../../../lib/dockerfile.ts";
import { Fault } from "../../../lib/fault.ts";
import { isImageRef } from "../../model/names.ts";
import { capWarnings, parseJsonObject, readText, shownValue } from "./author-files.ts";
import { type ContainerFile, readContainerJson } from "./container-json.ts";
import { isVersionName } from "./package-files.ts";

/** A folder that makes one image and one container. */
export type PublishedFolder = {
  /** Below `dockerfiles/`; empty for that itself. */
  folder: string;
  /** Where it lies now. */
  at: string;
  hash: string;
  /** Empty where a published image is run. */
  dockerfile: string;
  dockerfilePath: string;
  imageJson: ImageFile | undefined;
  container: ContainerFile;
  /** For its author. */
  warnings: string[];
};

/** The part of a package that is about containers. */
export const DOCKERFILES = "dockerfiles";

/** All of a package's rows are written in one turn, in which nothing else is done. */
const MOST_FOLDERS = 500;
const LONGEST_FOLDER_NAME = 100;

/**
 * Finds the folders of an unpacked package that make containers: `dockerfiles/` itself and those directly in it, where they have a Dockerfile
 * or a `container.json` that names an image. Warnings are for the author: here of folders that make none. Faults: PACKAGE_INVALID, PACKAGE_TOO_LARGE.
 */
export async function findFolders(root: string, signal: AbortSignal): Promise<{ folders: PublishedFolder[]; warnings: string[] }> {
  const base = join(root, DOCKERFILES);
  // Unpacked just now: that it is not there is the only thing that can be wrong with it.
  const entries = await readdir(base, { withFileTypes: true }).catch(() => []);
  const names = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  if (names.length > MOST_FOLDERS) throw new Fault("PACKAGE_TOO_LARGE", `dockerfiles/ holds ${names.length} folders; ${MOST_FOLDERS} are allowed.`);
  if (names.some(isVersionName))
    throw new Fault("PACKAGE_INVALID", "A folder in dockerfiles/ is named like a hash of 64 digits; give it another name.");
  const folders: PublishedFolder[] = [];
  const warnings: string[] = [];
  for (const folder of ["", ...names.toSorted()]) {
    const read = await readFolder(join(base, folder), folder, signal);
    warnings.push(...read.warnings);
    if (read.folder) folders.push(read.folder);
  }
  return { folders, warnings };
}

/** It becomes a part of a container's name and of an image's, which pages, logs and command lines show. */
function requireFolderName(name: string): void {
  if (name.length <= LONGEST_FOLDER_NAME && /^[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?$/.test(name)) return;
  throw new Fault(
    "PACKAGE_INVALID",
    `dockerfiles/ has a folder ${JSON.stringify(name.slice(0, 100))}. A folder's name is a part of its container's: ` +
      `use 1 to ${LONGEST_FOLDER_NAME} letters and digits, with . _ - between them.`,
  );
}

async function readFolder(at: string, folder: string, signal: AbortSignal): Promise<{ folder?: PublishedFolder; warnings: string[] }> {
  const path = (file: string) => [DOCKERFILES, folder, file].filter((part) => part !== "").join("/");
  const read = (file: string, maxBytes?: number) => readText(join(at, file), path(file), signal, maxBytes);

  const dockerfile = await read("Dockerfile", MAX_DOCKERFILE_BYTES);
  const containerJson = await read("container.json");
  if (dockerfile === undefined && containerJson === undefined) return { warnings: [] };
  if (folder !== "") requireFolderName(folder);
  const container = readContainerJson(containerJson, path("container.json"));
  const warnings = [...container.warnings];
  if (dockerfile === undefined && container.image === undefined) {
    return {
      warnings: capWarnings([...warnings, `${path("container.json")} names no image, and there is no Dockerfile beside it: no container is made.`]),
    };
  }
  if (dockerfile !== undefined && container.config.port === undefined && container.image === undefined) {
    const exposed = readDockerfilePort(dockerfile, path("Dockerfile"));
    if (exposed.port !== undefined) container.config.port = exposed.port;
    warnings.push(...exposed.warnings);
  }
  if (dockerfile !== undefined && container.image !== undefined)
    warnings.push(`${path("container.json")} names an image; ${path("Dockerfile")} is not used.`);
  const imageJson = readImageJson(await read("image.json"), path("image.json"));
  const hash = await folderHash(at, folder === "" ? "root" : "folder", signal, path(""));
  const dockerfilePath = dockerfile === undefined ? "" : path("Dockerfile");
  return {
    folder: { folder, at, hash, dockerfile: dockerfile ?? "", dockerfilePath, imageJson, container, warnings: capWarnings(warnings) },
    warnings: [],
  };
}

/** What the publishing client says of the image that it built and pushed for a folder, or found instead. */
export type ImageFile = {
  /** Undefined where it has none to offer. */
  image: string | undefined;
  /** True where it is not the image of this very folder and version. */
  fallback: boolean;
  /** For a fallback: whether it was built from the same content. */
  hashMatch: boolean | undefined;
};

/** `text` is undefined where the folder has none: published by other means. Faults: PACKAGE_INVALID. */
export function readImageJson(text: string | undefined, path: string): ImageFile | undefined {
  if (text === undefined) return undefined;
  const { image, fallback, hashMatch } = parseJsonObject(text, path);
  if (image !== null && image !== undefined && (typeof image !== "string" || !isImageRef(image))) {
    throw new Fault("PACKAGE_INVALID", `${path}: image is ${shownValue(image)}; allowed: an image reference or null.`);
  }
  return { image: image ?? undefined, fallback: fallback === true, hashMatch: typeof hashMatch === "boolean" ? hashMatch : undefined };
}

export type DockerfilePort = { port: number | undefined; warnings: string[] };

/** Ports and arguments that one warning names. */
const MAX_NAMED = 10;
const MAX_ARGUMENT_CHARACTERS = 100;

/**
 * The port of a Dockerfile's final stage: its first TCP `EXPOSE`, or that of the earlier stage which it is built from. `path` names the file in the warnings.
 */
export function readDockerfilePort(text: string, path: string): DockerfilePort {
  const { exposed, unreadPorts } = readFinalStage(text);
  const nearest = exposed.find((stage) => stage.length > 0) ?? [];
  const warnings: string[] = [];
  const unknown = new Set(nearest.filter(({ ports }) => ports === undefined).map(({ written }) => written.slice(0, MAX_ARGUMENT_CHARACTERS)));
  for (const written of unknown) warnings.push(`${path}: EXPOSE ${written} is no known port: name a port by its number. It is ignored.`);
  if (unreadPorts > 0) warnings.push(`${path}: EXPOSE has too many arguments; the last ${unreadPorts} are passed over.`);
  // A range is taken for its first port.
  const several = [...new Set(nearest.flatMap(({ ports }) => (ports?.protocol === "tcp" ? ports.first : [])))];
  const [port] = several;
  if (several.length > 1) {
    const more = several.length > MAX_NAMED ? ` and ${several.length - MAX_NAMED} more` : "";
    warnings.push(`${path} exposes ${several.slice(0, MAX_NAMED).join(", ")}${more}; requests go to ${port}.`);
  }
  if (port === undefined) {
    warnings.push(
      `${path} has no EXPOSE: unless its base image exposes a port, or container.json sets port, requests to the container are answered 400.`,
    );
  }
  return { port, warnings };
}

/** The client writes `image.json` into the archive after it has hashed the folder: into the folder itself, and into those beside a Dockerfile directly in `dockerfiles/`. */
const WRITTEN_LATER = { folder: /^image\.json$/, root: /^([^/]+\/)?image\.json$/ };

/**
 * The SHA-256, in hex, by which a client knows whether a folder changed: over its entries sorted by relative path, a folder as
 * `dir:<path>:`, a file as `file:<path>:` and its bytes, with CRLF made LF where it looks like text. `kind` is `root` for `dockerfiles/` itself. Faults:
 * PACKAGE_INVALID for what is no file, by its path in the package.
 */
export async function folderHash(
  folder: string,
  kind: keyof typeof WRITTEN_LATER,
  signal: AbortSignal,
  pathInPackage = DOCKERFILES,
): Promise<string> {
  let hash = createHash("sha256");
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  for (const entry of entries)
    if (!entry.isDirectory() && !entry.isFile()) {
      const file = join(entry.parentPath, entry.name);
      await requireFile(file, `${pathInPackage}/${file.slice(join(folder, "/").length)}`);
    }
  const paths = new Map(entries.map((entry) => [join(entry.parentPath, entry.name).slice(join(folder, "/").length), entry.isDirectory()]));
  for (const [path, isFolder] of [...paths].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    if (WRITTEN_LATER[kind].test(path)) continue;
    if (isFolder) hash.update(`dir:${path}:`);
    else hash = await withFile(hash.update(`file:${path}:`), join(folder, path), signal).catch(refuseUnreadable(`${pathInPackage}/${path}`));
  }
  return hash.digest("hex");
}

/** What a link of a package leads to. `path`: its name in the package. Faults: PACKAGE_INVALID if that cannot be read. */
export async function statTarget(file: string, path: string): Promise<Stats> {
  return stat(file).catch(async (cause: NodeJS.ErrnoException) => {
    const target = await readlink(file).catch(() => "");
    const sentence = `${path} is a link to "${target}", which cannot be read (${cause.code}). Correct or remove the link, and publish again.`;
    throw new Fault("PACKAGE_INVALID", sentence, { cause });
  });
}

/** Links to files are followed. An unpacked archive has none: this is for the folder of an author. Faults: PACKAGE_INVALID. */
async function requireFile(file: string, path: string): Promise<void> {
  const stats = await statTarget(file, path);
  if (stats.isFile()) return;
  const what = stats.isDirectory() ? "is a link to a folder" : "is neither a file nor a folder";
  throw new Fault("PACKAGE_INVALID", `${path} ${what}: only files, folders and links to files are published. Remove it, and publish again.`);
}

/** Codes of a file that only its author can correct: without the right to read it, or with a name that is no UTF-8. */
const UNREADABLE: ReadonlySet<string | undefined> = new Set(["EACCES", "ENOENT"]);

function refuseUnreadable(path: string): (error: NodeJS.ErrnoException) => never {
  return (error) => {
    if (!UNREADABLE.has(error.code)) throw error;
    throw new Fault("PACKAGE_INVALID", `${path} cannot be read (${error.code}). Correct or remove it, and publish again.`, { cause: error });
  };
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
