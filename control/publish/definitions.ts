import { Fault } from "../../fault.ts";
import type { PublishedFolder } from "./folders.ts";
import { containerName, debugTag, imageName, imageRepository, isRepositoryPart, releaseTag } from "./names.ts";
import type { PackageJson } from "./package-json.ts";

/** What a folder says of its image and its container, before it meets what is already stored. */
export type Definition = PublishedFolder & { image: string; name: string; ref: string };

/** `debugLogin` is the developer's login for a debug publish, undefined for a release. Faults: PACKAGE_INVALID. */
export function defineContainers(
  json: PackageJson,
  folders: readonly PublishedFolder[],
  debugLogin: string | undefined,
): { definitions: Definition[]; warnings: string[] } {
  const warnings: string[] = [];
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
    if (folder.container.image === undefined) warnings.push(...fallbackWarnings(folder, own));
    const ref = folder.container.image ?? folder.imageJson?.image ?? own;
    return { ...folder, image, ref, name: containerName(json.name, folder.folder) };
  });
  refuseTwins(definitions);
  return { definitions, warnings };
}

function fallbackWarnings({ folder, imageJson }: PublishedFolder, own: string): string[] {
  const where = ["dockerfiles", folder].filter((part) => part !== "").join("/");
  if (imageJson === undefined) return [];
  if (imageJson.image === undefined) return [`${where}: no image was published with the package; ${own} is looked for.`];
  if (imageJson.fallback && imageJson.hashMatch !== true) return [`${where}: falls back to ${imageJson.image}, which was built from other content.`];
  return [];
}

/** Folders whose names differ in case alone would share an image. */
function refuseTwins(definitions: readonly Definition[]): void {
  const seen = new Map<string, string>();
  for (const { image, folder } of definitions) {
    const twin = seen.get(image);
    if (twin !== undefined) throw new Fault("PACKAGE_INVALID", `dockerfiles/${twin} and dockerfiles/${folder} make the same image name, ${image}.`);
    seen.set(image, folder);
  }
}
