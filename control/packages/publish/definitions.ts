import { Fault } from "../../../lib/fault.ts";
import type { PublishedFolder } from "./folders.ts";
import { containerName, debugTag, imageName, imageRepository, isOfRepository, isRepositoryPart, releaseTag } from "../../model/names.ts";
import { parseJsonObject, shownValue } from "./author-files.ts";

/** The image and the container of a folder, before it is compared with the store. */
export type Definition = PublishedFolder & {
  image: string;
  name: string;
  ref: string;
  /** What `ref` points at may change, so each start resolves it anew. */
  mutable: boolean;
  /** The hash of the folder that the image was built from; undefined: unknown. */
  contentHash: string | undefined;
};

/** Of all Dockerfiles, variables, warnings and connections of a package together: they are written in one turn of the event loop, which takes longer the more they are. */
export const MAX_TEXT_BYTES = 2 * 1_048_576;

/**
 * `debugLogin` is the developer's login for a debug publish, undefined for a release; `otherBytes` is the size of the package's other texts. Faults:
 * PACKAGE_INVALID, PACKAGE_TOO_LARGE.
 */
export function defineContainers(
  json: PackageJson,
  folders: readonly PublishedFolder[],
  debugLogin: string | undefined,
  otherBytes = 0,
): { definitions: Definition[]; warnings: string[] } {
  const definitions = folders.map((folder) => {
    const image = imageName(json.name, folder.folder);
    const tag = debugLogin === undefined ? releaseTag(json.version, folder.hash) : debugTag(debugLogin);
    const own = `${imageRepository(image)}:${tag}`;
    if (folder.container.image === undefined && !isRepositoryPart(image)) {
      throw new Fault(
        "PACKAGE_INVALID",
        `dockerfiles/${folder.folder} makes the image name ${JSON.stringify(image)}; allowed: letters and digits, with . _ - between them.`,
      );
    }
    requireOwnImage(folder, image);
    const warnings = folder.container.image === undefined ? [...folder.warnings, ...fallbackWarnings(folder, own)] : folder.warnings;
    const ref = folder.container.image ?? folder.imageJson?.image ?? own;
    const debug = debugLogin !== undefined;
    const mutable = isMutable(ref, debug);
    return { ...folder, image, ref, mutable, contentHash: builtFrom(folder, debug), name: containerName(json.name, folder.folder), warnings };
  });
  refuseTwins(definitions);
  requireDependencies(new Map(definitions.map(({ folder, container }) => [folder, container.config.dependsOn ?? []])));
  requireTextLimit(otherBytes + bytesOf(definitions));
  return { definitions, warnings: definitions.flatMap(({ warnings }) => warnings) };
}

/** What `image.json` names was built from the folder: an image of another repository would run under this package's name. */
function requireOwnImage({ folder, container, imageJson }: PublishedFolder, image: string): void {
  const repository = imageRepository(image);
  if (container.image !== undefined || imageJson?.image === undefined || isOfRepository(imageJson.image, repository)) return;
  const path = ["dockerfiles", folder, "image.json"].filter((part) => part !== "").join("/");
  throw new Fault(
    "PACKAGE_INVALID",
    `${path}: image is ${JSON.stringify(imageJson.image.slice(0, 200))}; allowed: ${repository} with a tag. ` +
      "To run an image of another repository, name it as image in container.json.",
  );
}

/** Only a digest never moves. A release's tags are taken at their word, but for `latest`, which is also what no tag means. */
function isMutable(ref: string, debug: boolean): boolean {
  if (ref.includes("@sha256:")) return false;
  const [, named] = /:([^/:]*)$/.exec(ref) ?? [];
  return debug || named === undefined || named === "latest";
}

function builtFrom({ container, imageJson, hash }: PublishedFolder, debug: boolean): string | undefined {
  if (container.image !== undefined) return undefined;
  // No image is named: a release's own tag contains the hash, a developer's own tag may be of any day.
  if (imageJson?.image === undefined) return debug ? undefined : hash;
  return !imageJson.fallback || imageJson.hashMatch === true ? hash : undefined;
}

function fallbackWarnings({ folder, imageJson }: PublishedFolder, own: string): string[] {
  const where = ["dockerfiles", folder].filter((part) => part !== "").join("/");
  if (imageJson === undefined) return [];
  if (imageJson.image === undefined) return [`${where}: no image was published with the package; ${own} is looked for.`];
  if (imageJson.fallback && imageJson.hashMatch !== true) return [`${where}: falls back to ${imageJson.image}, which was built from other content.`];
  return [];
}

/** Faults: PACKAGE_TOO_LARGE. */
export function requireTextLimit(bytes: number): void {
  if (bytes <= MAX_TEXT_BYTES) return;
  throw new Fault(
    "PACKAGE_TOO_LARGE",
    `The Dockerfiles, variables, warnings and connections of the package have more than ${MAX_TEXT_BYTES} bytes together: ` +
      "shorten them, or publish some of them as another package.",
  );
}

function bytesOf(definitions: readonly Definition[]): number {
  let bytes = 0;
  for (const { dockerfile, warnings, container } of definitions) {
    for (const text of [dockerfile, ...warnings]) bytes += Buffer.byteLength(text);
    for (const [name, value] of Object.entries(container.env)) bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  }
  return bytes;
}

/** `dependsOn`: by folder of one package, what its `depends_on` names. Faults: PACKAGE_INVALID where a folder is missing, or they depend on each other in a cycle. */
export function requireDependencies(dependsOn: ReadonlyMap<string, readonly string[]>): void {
  const fileOf = (folder: string) => ["dockerfiles", folder, "container.json"].filter((part) => part !== "").join("/");
  for (const [folder, names] of dependsOn) {
    const missing = names.find((name) => !dependsOn.has(name));
    if (missing === undefined) continue;
    throw new Fault(
      "PACKAGE_INVALID",
      `${fileOf(folder)}: depends_on names ${missing}, but the package makes no container of dockerfiles/${missing}.`,
    );
  }
  const done = new Set<string>();
  const follow = (folder: string, path: readonly string[]): void => {
    if (path.includes(folder)) {
      const cycle = [...path.slice(path.indexOf(folder)), folder];
      throw new Fault("PACKAGE_INVALID", `${fileOf(folder)}: depends_on is a cycle: ${cycle.join(" → ")}. None of them could start first.`);
    }
    if (done.has(folder)) return;
    for (const name of dependsOn.get(folder) ?? []) follow(name, [...path, folder]);
    done.add(folder);
  };
  for (const folder of dependsOn.keys()) follow(folder, []);
}

/** Folders whose names differ in case alone would share an image. */
function refuseTwins(definitions: readonly Definition[]): void {
  const folders = new Map<string, string>();
  for (const { image, folder } of definitions) {
    const twin = folders.get(image);
    if (twin !== undefined) throw new Fault("PACKAGE_INVALID", `dockerfiles/${twin} and dockerfiles/${folder} make the same image name, ${image}.`);
    folders.set(image, folder);
  }
}

/** What is needed of a package's `package.json`. */
export type PackageJson = { name: string; version: string; description: string };

const NAME = /^(@[a-z0-9~_][\w.~-]*\/)?[a-z0-9~_][\w.~-]*$/i;
const LONGEST_NAME = 214;
/** A version is part of an image's tag. */
const VERSION = /^\w[\w.+-]{0,99}$/;

/** Whether a `package.json` may have this name: one of npm. */
export function isPackageJsonName(name: string): boolean {
  return name.length <= LONGEST_NAME && NAME.test(name);
}

/** `text` is undefined where the package has no such file. Faults: PACKAGE_INVALID. */
export function readPackageJson(text: string | undefined): PackageJson {
  if (text === undefined) throw new Fault("PACKAGE_INVALID", "The package has no package.json.");
  const json = parseJsonObject(text, "package.json");
  const { name, version, description } = json;
  if (typeof name !== "string" || !isPackageJsonName(name)) {
    throw new Fault("PACKAGE_INVALID", `package.json: name is ${shownValue(name)}; an npm package name is needed.`);
  }
  if (typeof version !== "string" || !VERSION.test(version)) {
    throw new Fault("PACKAGE_INVALID", `package.json: version is ${shownValue(version)}; a version such as 1.0.0 is needed.`);
  }
  return { name, version, description: typeof description === "string" ? description : "" };
}
