import { join } from "node:path";
import { type Definition, defineContainers } from "../../control/packages/publish/definitions.ts";
import { findFolders } from "../../control/packages/publish/folders.ts";
import { type PackageJson, readPackageJson } from "../../control/packages/publish/package-json.ts";
import { readText } from "../../control/packages/publish/read-text.ts";
import { Fault } from "../../lib/fault.ts";

/** A package as it lies in a folder, read by the same rules as the server reads it when it comes. */
export type LocalPackage = { json: PackageJson; definitions: Definition[]; warnings: string[] };

/** `debugLogin` is the developer's login for a debug publish. Faults: PACKAGE_INVALID, SETTINGS_INVALID where there is no package. */
export async function readPackage(folder: string, debugLogin: string | undefined, signal: AbortSignal): Promise<LocalPackage> {
  const text = await readText(join(folder, "package.json"), "package.json", signal);
  if (text === undefined) throw new Fault("SETTINGS_INVALID", `${folder} is no package: it has no package.json.`);
  const json = readPackageJson(text);
  const found = await findFolders(folder, signal);
  // What an earlier publish wrote there is not what this one makes.
  const folders = found.folders.map((one) => ({ ...one, imageJson: undefined }));
  const { definitions, warnings } = defineContainers(json, folders, debugLogin);
  if (definitions.length === 0)
    throw new Fault("PACKAGE_INVALID", [`${folder} makes no container: put a Dockerfile into dockerfiles/<name>/.`, ...found.warnings].join(" "));
  return { json, definitions, warnings: [...found.warnings, ...warnings] };
}

/** Whether there is an image to be built: the folder does not name one that is published elsewhere. */
export function isBuilt({ container }: Definition): boolean {
  return container.image === undefined;
}
