import { Fault } from "../../lib/fault.ts";
import { openLog } from "../../lib/log.ts";
import { deleteManifest, type Collected, collectGarbage, askToCollect } from "../../processes/distribution/maintenance.ts";
import { openDistribution, ownFolders } from "../../processes/distribution/open-distribution.ts";
import { retain } from "../../processes/distribution/retention.ts";
import { namedIn, storedImages } from "../../processes/distribution/stored-images.ts";
import { registryFolders, registryImage } from "../../processes/registry.ts";
import { callHere, type Here, runtimeHere, settingsHere } from "../command-context.ts";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findDistribution } from "../../processes/distribution/find-distribution.ts";
import { endLeftovers } from "../../processes/distribution/leftover-process.ts";

/** An image without a tag may be part of a push that goes on for so long. */
const IN_FLIGHT_MS = 24 * 3_600_000;

export type Retained = { repository: string; tags: string[]; digest: string; removed: boolean; why: string | null };

/** Deletes what is not kept, unless it only looks. Faults: CONTROL_AWAY, unless that is not asked; those of the registry. */
export async function retainHere(here: Here, words: { keep: number; dryRun: boolean; withoutControl: boolean }): Promise<Retained[]> {
  const { keep, dryRun, withoutControl } = words;
  const { settings } = settingsHere(here);
  const { folder, storage } = registryFolders(settings);
  const used = withoutControl ? [] : await callHere(here)<InUse>("GET", "/admin/images-in-use").then(({ references }) => references, unlessAway);
  const since = here.clock.now() - IN_FLIGHT_MS;
  const { kept, doomed } = retain(storedImages(storage), { keep, used, since, names: (digest) => namedIn(storage, digest) });
  if (!dryRun && doomed.length > 0) await deleteAll();
  return [
    ...doomed.map(({ repository, digest, tags }) => ({ repository, tags: [...tags], digest, removed: true, why: null })),
    ...kept.map(({ repository, tag, digest, why }) => ({ repository, tags: tag === undefined ? [] : [tag], digest, removed: false, why })),
  ];

  /** By the registry that runs; where none does, one is started for it. */
  async function deleteAll(): Promise<void> {
    const socket = runtimeHere(here, settings).registrySocket;
    const log = openLog({ level: "error", name: "registry" });
    const path = here.env["PATH"] ?? "";
    const image = registryImage(settings);
    const own = await openDistribution({ folder, storage, socket, path, image, level: "error", clock: here.clock, log }).catch((error: unknown) => {
      if (error instanceof Fault && error.code === "DATA_FOLDER_IN_USE") return undefined;
      throw error;
    });
    try {
      for (const { repository, digest } of doomed) await deleteManifest(socket, repository, digest);
    } finally {
      await own?.close();
    }
  }
}

type InUse = { references: string[] };

function unlessAway(error: unknown): never {
  if (error instanceof Fault && error.code === "CONTROL_AWAY")
    throw new Fault("CONTROL_AWAY", `${error.message} Only control knows which images containers use; --without-control keeps none for them.`, {
      cause: error,
    });
  throw error;
}

/** A dry run reads alone; else whoever keeps the registry running does it, or where nobody does, nobody may start it meanwhile. */
export async function collect(here: Here, dryRun: boolean): Promise<Collected> {
  const { settings } = settingsHere(here);
  const folders = registryFolders(settings);
  const asked = dryRun ? undefined : await askToCollect(runtimeHere(here, settings).registryAdminSocket);
  return asked ?? (await collectHere());

  async function collectHere(): Promise<Collected> {
    const { folder, storage } = folders;
    if (!existsSync(storage)) return { blobs: [], bytes: 0 };
    // Who only looks may be another user than the one whose folder it is, and leaves nothing there.
    const at = dryRun ? mkdtempSync(join(tmpdir(), "berth-garbage-")) : folder;
    const unlock = dryRun ? () => rmSync(at, { recursive: true, force: true }) : ownFolders(folder, storage);
    try {
      const image = registryImage(settings);
      const distribution = await findDistribution(here.env["PATH"] ?? "", image && { ...image, owner: at, mounts: [at, storage] });
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
