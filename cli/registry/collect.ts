import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Collected, collectGarbage } from "../../processes/distribution/collect-garbage.ts";
import { findDistribution } from "../../processes/distribution/find-distribution.ts";
import { endLeftovers } from "../../processes/distribution/leftover-process.ts";
import { askToCollect } from "../../processes/distribution/maintenance.ts";
import { ownFolders } from "../../processes/distribution/open-distribution.ts";
import { registryFolders, registryImage } from "../../processes/registry.ts";
import { type Here, runtimeHere, settingsHere } from "../command-context.ts";

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
