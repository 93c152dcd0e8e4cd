import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { MAX_DOCKERFILE_BYTES } from "../../../lib/dockerfile/parse-instructions.ts";
import { Fault } from "../../../lib/fault.ts";
import { capWarnings } from "./cap-warnings.ts";
import { type ContainerFile, readContainerJson } from "./container-json.ts";
import { readDockerfilePort } from "./dockerfile-port.ts";
import { folderHash } from "./folder-hash.ts";
import { type ImageFile, readImageJson } from "./image-json.ts";
import { isVersionName } from "./package-files.ts";
import { readText } from "./read-text.ts";

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
    const found = readDockerfilePort(dockerfile, path("Dockerfile"));
    if (found.port !== undefined) container.config.port = found.port;
    warnings.push(...found.warnings);
  }
  if (dockerfile !== undefined && container.image !== undefined)
    warnings.push(`${path("container.json")} names an image; ${path("Dockerfile")} is not used.`);
  const imageJson = readImageJson(await read("image.json"), path("image.json"));
  const hash = await folderHash(at, folder === "" ? "root" : "folder", signal);
  const dockerfilePath = dockerfile === undefined ? "" : path("Dockerfile");
  return {
    folder: { folder, at, hash, dockerfile: dockerfile ?? "", dockerfilePath, imageJson, container, warnings: capWarnings(warnings) },
    warnings: [],
  };
}
