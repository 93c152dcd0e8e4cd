import { posix } from "node:path";
import { Fault } from "../../../lib/fault.ts";
import type { Package } from "../../model/entities.ts";
import { splitReference } from "../../model/names.ts";
import type { PackageVersion, VersionFolder } from "../../model/records.ts";
import type { FolderCounts } from "../../store/package-versions.ts";
import type { Store } from "../../store/open-store.ts";
import type { Definition } from "./definitions.ts";
import type { RecordedPackage } from "./record-package.ts";

type EarlierVersion = { restored: PackageVersion; json: Pick<RecordedPackage, "version" | "restores">; definitions: Definition[] };

/**
 * A version of a package that a newer one replaced, as something to publish. `to` is its number; undefined: the newest one that was good. Faults:
 * REQUEST_INVALID if there is none.
 */
export async function earlierVersion(
  { packageVersions }: Pick<Store, "packageVersions">,
  owner: Package,
  to: number | undefined,
): Promise<EarlierVersion> {
  const counts = await packageVersions.counts(owner.id);
  const earlier = (await packageVersions.of(owner.id)).filter(({ id, replacedOn }) => replacedOn !== undefined && counts.has(id));
  const restored = earlier.find(({ id, number }) => (to === undefined ? wasGood(counts.get(id)) : number === to));
  if (!restored) {
    const numbers = earlier.map(({ number }) => number);
    const which = to === undefined ? "earlier version that was good" : `version ${to} to return to`;
    const others = numbers.length === 0 ? "No earlier version is stored." : `Stored earlier versions: ${numbers.join(", ")}.`;
    throw new Fault("REQUEST_INVALID", `The package ${owner.name} has no ${which}. ${others}`);
  }
  const definitions = (await packageVersions.folders(restored.id)).map(definitionOf);
  return { restored, json: { version: restored.version, restores: restored.number }, definitions };
}

/** Each image was ready, and no container had failed, when a newer version replaced it. An unpublished package has no folders. */
export function wasGood(counts: FolderCounts | undefined): boolean {
  return counts !== undefined && counts.folders > 0 && counts.unready === 0 && counts.failed === 0;
}

function definitionOf(folder: VersionFolder): Definition {
  const { dockerfile, dockerfilePath, files, warnings, config, env, image, container: name, contentHash } = folder;
  const ref = fixedReference(folder);
  return {
    folder: folder.folder,
    at: files,
    hash: posix.basename(files),
    dockerfile,
    dockerfilePath,
    imageJson: undefined,
    container: { config, env, image: undefined, warnings: [] },
    warnings,
    image,
    name,
    ref,
    mutable: folder.mutable && ref === folder.ref,
    contentHash,
  };
}

/** A tag that may have moved is replaced by what it pointed to: the registry's digest, else the engine's id of the image. */
function fixedReference({ ref, digest, resolvedId, mutable }: VersionFolder): string {
  if (!mutable) return ref;
  if (digest !== undefined) return `${splitReference(ref).name}@${digest}`;
  return resolvedId !== undefined && /^sha256:[0-9a-f]{64}$/.test(resolvedId) ? resolvedId : ref;
}
