import { trimTrailing } from "../../lib/character-classes.ts";

/** Names that follow from a package's own; the publishing client makes the same ones, so they are part of the wire contract. */

/** What comes after the scope: `chem` of `@datagrok/chem`. */
export function unscoped(packageName: string): string {
  return packageName.slice(packageName.lastIndexOf("/") + 1);
}

/** `chem-folder`, all lower case; for a Dockerfile directly in `dockerfiles/` (an empty folder) just `chem`. */
export function imageName(packageName: string, folder: string): string {
  return joined(unscoped(packageName).toLowerCase(), folder.toLowerCase());
}

/** The entity's name, by which plugins look it up: the package's name in kebab case, then the folder as it is. */
export function containerName(packageName: string, folder: string): string {
  return joined(kebabCase(unscoped(packageName)), folder);
}

/** The repository that a package's own image is pushed to and run from. */
export function imageRepository(image: string): string {
  return `datagrok/${image}`;
}

/** What registries and engines accept as one part of a repository's name. */
export function isRepositoryPart(name: string): boolean {
  return /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/.test(name) && name.length <= 200;
}

/** The characters and the length that references of images have. */
export function isImageRef(text: string): boolean {
  return /^[\w][\w./:@-]{0,511}$/.test(text);
}

/** Whether a reference is of this very repository, in whatever registry the server's images are. */
export function isOfRepository(ref: string, repository: string): boolean {
  return ref.startsWith(repository) && /^(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$/.test(ref.slice(repository.length));
}

/** Of a release: a tag that changes with the folder's content. */
export function releaseTag(version: string, folderHash: string): string {
  return tag(`${version}.${folderHash.slice(0, 8)}`);
}

/** Of a debug publish: one per developer, and therefore mutable. */
export function debugTag(login: string): string {
  return tag(login);
}

const LONGEST_LABEL = 63;
const ID_LENGTH = 8;

/**
 * The name at the orchestrator: a DNS label of at most 63 characters that begins with a letter. The end of it is the start
 * of the container's id, so names that are cut short stay apart.
 */
export function serviceName(environment: string, name: string, id: string): string {
  const label = joined(environment, name)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^[-0-9]+/, "");
  const length = LONGEST_LABEL - ID_LENGTH - 1;
  const cut = trimTrailing(label.slice(0, length), "-");
  return `${cut === "" ? "container" : cut}-${id.replaceAll("-", "").slice(0, ID_LENGTH).toLowerCase()}`;
}

function joined(first: string, second: string): string {
  return [first, second].filter((part) => part !== "").join("-");
}

/** `MyPackage`, `my_package`, `My package` and `HTTPPackage2` become `my-package`, `my-package`, `my-package`, `http-package2`. */
function kebabCase(name: string): string {
  const words = name
    .replace(/([a-z0-9])([A-Z])/g, "$1-$2")
    .replace(/([A-Z])([A-Z][a-z])/g, "$1-$2")
    .replace(/[^A-Za-z0-9]+/g, "-")
    .replace(/^-/, "");
  return trimTrailing(words, "-").toLowerCase();
}

/** A tag may hold letters, digits, `_`, `.` and `-`, and begins with none of the last two. */
function tag(text: string): string {
  return (
    text
      .replace(/[^\w.-]+/g, "-")
      .replace(/^[.-]+/, "")
      .slice(0, 128) || "latest"
  );
}

/** An image reference without the registry's host, as `datagrok/chem:1.0`: Docker takes the first part for a host where it has a dot or a colon, or is `localhost`. */
export function withoutRegistryHost(ref: string): string {
  const host = ref.slice(0, Math.max(ref.indexOf("/"), 0));
  return host === "localhost" || /[.:]/.test(host) ? ref.slice(host.length + 1) : ref;
}

/** The name without case and separators, for comparing: `sequence-translator` is `SequenceTranslator`. */
export function nameKey(name: string): string {
  return name.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "");
}

/** Whether `text` means the package: its name, with or without the scope, in any spelling. */
export function isPackageName(packageName: string, text: string): boolean {
  return packageName.toLowerCase() === text.toLowerCase() || nameKey(unscoped(packageName)) === nameKey(text);
}

/** `host:5000/name:tag@sha256:…` → `host:5000/name` and `tag`, which is `latest` without one. */
export function splitReference(ref: string): { name: string; tag: string } {
  const [named = ""] = ref.split("@", 1);
  const colon = named.lastIndexOf(":");
  return colon > named.lastIndexOf("/") ? { name: named.slice(0, colon), tag: named.slice(colon + 1) } : { name: named, tag: "latest" };
}
