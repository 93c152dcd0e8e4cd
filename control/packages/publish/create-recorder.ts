import type { Driver } from "../../../drivers/driver.ts";
import type { Clock } from "../../../lib/clock.ts";
import type { Lifecycle } from "../../lifecycle/open-lifecycle.ts";
import type { User } from "../../model/entities.ts";
import type { PackageContainer } from "../../store/containers.ts";
import type { Store } from "../../store/open-store.ts";
import type { Definition } from "./definitions.ts";
import { type PackageFiles, versionPath } from "./package-files.ts";
import { type Recorded, type RecordedPackage, recordPackage, stageFolders } from "./record-package.ts";

const SLICE = 10;
const DEFAULT_VERSIONS = 5;

type Publishing = { user: Pick<User, "id" | "login" | "admin"> };

/** Records what a package defines, whether it was uploaded or is an earlier version. */
export function createRecorder(deps: {
  store: Store;
  lifecycle: Pick<Lifecycle, "requestValidation" | "definitionChanged" | "remove">;
  files: Pick<PackageFiles, "prune">;
  environment: string;
  /** Earlier versions of each package that stay for a rollback. */
  keepVersions?: number | undefined;
  /** The driver runs several instances of a container. Default: no. */
  replicas?: (() => Driver["replicas"]) | undefined;
  clock: Clock;
}) {
  const { store, lifecycle, files, keepVersions = DEFAULT_VERSIONS } = deps;
  /** Packages whose staged folders are still in the store, which was away: the next publish would record them too. */
  const uncleared = new Set<string>();

  const clearStaged = async (packageId: string): Promise<void> => {
    uncleared.delete(packageId);
    await store.staging.clear(packageId).catch((error: unknown) => {
      uncleared.add(packageId);
      throw error;
    });
  };

  /** Stages the folders, has `write` record them in a transaction, and prunes files. Call it alone among those of the package. */
  const recordAll = async <R extends { recorded: Recorded }>(
    packageId: string,
    json: RecordedPackage,
    definitions: readonly Definition[],
    write: (record: (user: Publishing["user"]) => Promise<Recorded>) => Promise<R>,
  ): Promise<R> => {
    const recordDeps = { store, environment: deps.environment, now: Math.trunc(deps.clock.now()), keepVersions, replicas: deps.replicas?.() };
    const foldersBefore = [...(await store.packageVersions.files(packageId)).keys()];
    for (const id of uncleared) await clearStaged(id);
    try {
      const owner = { id: packageId, version: json.version };
      await inSlices(slicesOf(definitions), (slice) => stageFolders(recordDeps, owner, slice, (definition) => versionPath(packageId, definition)), 1);
      const done = await write((user) => recordPackage(recordDeps, json, user, definitions, packageId));
      await prune(packageId, definitions, done.recorded.filesBefore, foldersBefore);
      return done;
    } finally {
      // What was recorded is published all the same.
      await clearStaged(packageId).catch(() => undefined);
    }
  };

  const prune = async (
    packageId: string,
    definitions: readonly Definition[],
    filesBefore: ReadonlyMap<string, string>,
    foldersBefore: readonly string[],
  ): Promise<void> => {
    const containers = new Map((await store.containers.byPackage(packageId)).map((container) => [container.folder, container]));
    const kept = await store.packageVersions.files(packageId);
    const defined = new Set(definitions.map(({ folder }) => folder));
    for (const folder of new Set([...filesBefore.keys(), ...foldersBefore]))
      if (!defined.has(folder)) await files.prune(packageId, folder, kept.get(folder) ?? []);
    for (const definition of definitions) {
      const { folder } = definition;
      // What still runs may run from the version before this one; what waits for its successor's image, from one before that.
      if (runsOlder(containers.get(folder))) continue;
      const now = versionPath(packageId, definition);
      await files.prune(packageId, folder, [now, filesBefore.get(folder) ?? now, ...(kept.get(folder) ?? [])]);
    }
  };

  /** Has the lifecycle do what was stored. If berth ends here, the next start does the rest. */
  const apply = async (recorded: Recorded, userId: string): Promise<void> => {
    const publishedOn = recorded.package.updatedOn;
    await inSlices(recorded.folders, ({ imageId }) => lifecycle.requestValidation(imageId, userId, publishedOn));
    const redefined = [...recorded.folders.map(({ containerId }) => containerId), ...recorded.followers.map(({ id }) => id)];
    await inSlices(redefined, (id) => lifecycle.definitionChanged(id, userId));
    // Meanwhile another publish may have brought the folder back.
    const isBack = async ({ imageId, packageId }: PackageContainer) =>
      (await store.packages.find(packageId))?.updatedOn !== publishedOn && (await store.images.find(imageId))?.state !== "DELETED";
    await inSlices(recorded.removed, (container) =>
      store.transaction(async () => {
        if (!(await isBack(container))) await lifecycle.remove(container.id);
      }),
    );
  };

  return { recordAll, apply };
}

function runsOlder(container: PackageContainer | undefined): boolean {
  return container?.runningGeneration !== undefined && container.runningGeneration < container.generation - 1;
}

/** Each may be a write to the disk: other requests are answered between slices. */
export async function inSlices<T>(items: readonly T[], work: (item: T) => Promise<void> | void, size = SLICE): Promise<void> {
  for (const [index, item] of items.entries()) {
    if (index > 0 && index % size === 0) await new Promise(setImmediate);
    await work(item);
  }
}

function slicesOf<T>(items: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(items.length / SLICE) }, (_, index) => items.slice(index * SLICE, (index + 1) * SLICE));
}
