import { Fault } from "../../lib/fault.ts";
import { openLog } from "../../lib/log.ts";
import { deleteManifest, type CollectedGarbage, collectGarbage, requestCollection } from "../../processes/distribution/maintenance.ts";
import { openDistribution, ownFolders } from "../../processes/distribution/open-distribution.ts";
import { retain, referencedDigests, loadStoredImages } from "../../processes/distribution/stored-images.ts";
import { registryFolders, registryImage } from "../../processes/registry.ts";
import { localApi, type CommandContext, openRuntime, loadSettings } from "../command-context.ts";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findDistribution } from "../../processes/distribution/distribution-program.ts";
import { endLeftovers } from "../../processes/distribution/supervise-distribution.ts";

/** An image without a tag may belong to a push that takes this long. */
const IN_FLIGHT_MS = 24 * 3_600_000;

type RetainedImage = { repository: string; tags: string[]; digest: string; removed: boolean; why: string | null };

/** Keeps the newest tags and used images, and deletes the rest unless it is a dry run. Faults: CONTROL_AWAY, unless `withoutControl` is set; those of the registry. */
export async function removeOldImages(
  context: CommandContext,
  words: { keep: number; dryRun: boolean; withoutControl: boolean },
): Promise<RetainedImage[]> {
  const { keep, dryRun, withoutControl } = words;
  const { settings } = loadSettings(context);
  const { folder, storage } = registryFolders(settings);
  const used = withoutControl
    ? []
    : await localApi(context)<ImagesInUse>("GET", "/admin/images-in-use").then(({ references }) => references, explainControlAway);
  const since = context.clock.now() - IN_FLIGHT_MS;
  const { kept, removable } = retain(loadStoredImages(storage), { keep, used, since, names: (digest) => referencedDigests(storage, digest) });
  if (!dryRun && removable.length > 0) await deleteAll();
  return [
    ...removable.map(({ repository, digest, tags }) => ({ repository, tags: [...tags], digest, removed: true, why: null })),
    ...kept.map(({ repository, tag, digest, why }) => ({ repository, tags: tag === undefined ? [] : [tag], digest, removed: false, why })),
  ];

  /** Through the running registry, or through one that is started for it. */
  async function deleteAll(): Promise<void> {
    const socket = openRuntime(context, settings).registrySocket;
    const log = openLog({ level: "error", name: "registry" });
    const path = context.env["PATH"] ?? "";
    const image = registryImage(settings);
    const own = await openDistribution({ folder, storage, socket, path, image, level: "error", clock: context.clock, log }).catch(
      (error: unknown) => {
        if (error instanceof Fault && error.code === "DATA_FOLDER_IN_USE") return undefined;
        throw error;
      },
    );
    try {
      for (const { repository, digest } of removable) await deleteManifest({ socketPath: socket, clock: context.clock }, repository, digest);
    } finally {
      await own?.close();
    }
  }
}

type ImagesInUse = { references: string[] };

function explainControlAway(error: unknown): never {
  if (error instanceof Fault && error.code === "CONTROL_AWAY")
    throw new Fault("CONTROL_AWAY", `${error.message} Only control knows which images containers use; --without-control keeps none of them.`, {
      cause: error,
    });
  throw error;
}

/** A dry run only reads. Otherwise the running registry collects; without one, the folder is locked meanwhile. */
export async function collectLocalGarbage(context: CommandContext, dryRun: boolean): Promise<CollectedGarbage> {
  const { settings } = loadSettings(context);
  const folders = registryFolders(settings);
  const collected = dryRun ? undefined : await requestCollection(openRuntime(context, settings).registryAdminSocket, context.clock);
  return collected ?? (await collectHere());

  async function collectHere(): Promise<CollectedGarbage> {
    const { folder, storage } = folders;
    if (!existsSync(storage)) return { blobs: [], bytes: 0 };
    // A dry run may be another user's, and writes nothing to the folder.
    const at = dryRun ? mkdtempSync(join(tmpdir(), "berth-garbage-")) : folder;
    const unlock = dryRun ? () => rmSync(at, { recursive: true, force: true }) : ownFolders(folder, storage);
    try {
      const image = registryImage(settings);
      const distribution = await findDistribution(context.env["PATH"] ?? "", image && { ...image, owner: at, mounts: [at, storage] });
      if (!dryRun) {
        endLeftovers(folder);
        await distribution.command.clear();
      }
      return await collectGarbage({ folder: at, storage, distribution, dryRun });
    } finally {
      unlock();
    }
  }
}
