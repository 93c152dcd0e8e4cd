import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fault } from "../fault.ts";
import { openLog } from "../log.ts";
import { type Collected, collectGarbage } from "../roles/distribution/collect-garbage.ts";
import { deleteManifest } from "../roles/distribution/delete-manifest.ts";
import { findDistribution } from "../roles/distribution/find-distribution.ts";
import { endLeftovers } from "../roles/distribution/leftover.ts";
import { askToCollect } from "../roles/distribution/maintenance.ts";
import { openDistribution, ownFolders } from "../roles/distribution/open-distribution.ts";
import { retain } from "../roles/distribution/retention.ts";
import { namedIn, storedImages } from "../roles/distribution/stored-images.ts";
import { registryFolders, registryImage, runRegistry } from "../roles/registry.ts";
import { untilOver } from "../roles/until-told.ts";
import { begin, callHere, countHere, type Here, runtimeHere, settingsHere } from "./here.ts";
import { addressOf } from "./serve.ts";
import { textTable } from "./text-table.ts";
import { VERSION } from "./version.ts";
import { readWords } from "./read-words.ts";

export const usage = `Usage: berth registry                             a registry of berth's own, with its proxy in front
       berth registry gc [--dry-run]              removes layers that no image has any more; nothing can be pushed meanwhile
       berth registry retain --keep <N> [--dry-run] [--without-control]
                                                  keeps the N tags of each repository that were pushed last, and what containers use;
                                                  images that no tag points to any more go a day after they were pushed`;

/** An image without a tag may be part of a push that goes on for so long. */
const IN_FLIGHT_MS = 24 * 3_600_000;

/** `berth registry` */
export async function run(here: Here): Promise<void> {
  const [verb, ...words] = here.args;
  if (verb === undefined) return runRole(here);
  if (verb === "gc") return console.log(await collect(here, readOptions(words, ["dry-run"])));
  if (verb === "retain") return console.log(await runRetain(here, readOptions(words, ["dry-run", "keep", "without-control"])));
  throw new Fault("SETTINGS_INVALID", `There is no "berth registry ${verb}".\n${usage}`);
}

async function runRole(here: Here): Promise<void> {
  const { settings, log } = begin(here, "registry");
  if (settings.registry.url !== undefined || settings.registry.ecrMode)
    throw new Fault(
      "SETTINGS_INVALID",
      "berth registry brings a registry, REGISTRY_URL or ECR_MODE names another: unset these, or run berth registry-proxy in front of that one.",
    );
  const { metrics } = await countHere(here, settings, "registry", log);
  const handle = await here.parent?.handle();
  await untilOver(async () => {
    const registry = await runRegistry({
      settings,
      runtime: runtimeHere(here, settings),
      withControl: here.parent !== undefined || settings.datagrok.url === undefined,
      path: here.env["PATH"] ?? "",
      handle,
      clock: here.clock,
      log,
      metrics,
      version: VERSION,
    });
    if (registry.port !== undefined)
      console.log(`berth ${VERSION} registry at ${addressOf({ ...settings, edgeHost: settings.registryHost }, registry.port)}`);
    return registry;
  }, here.parent);
}

/** A dry run reads alone; else whoever keeps the registry running does it, or where nobody does, nobody may start it meanwhile. */
async function collect(here: Here, { "dry-run": dryRun = false }: Words): Promise<string> {
  const { settings } = settingsHere(here);
  const folders = registryFolders(settings);
  const asked = dryRun ? undefined : await askToCollect(runtimeHere(here, settings).registryAdminSocket);
  const { blobs, bytes } = asked ?? (await collectHere());
  if (blobs.length === 0) return "There is no garbage.";
  return `${dryRun ? "Would remove" : "Removed"} ${blobs.length} layers and manifests, ${megabytes(bytes)} MB.`;

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

async function runRetain(here: Here, words: Words): Promise<string> {
  const keep = Number(words.keep);
  if (words.keep === undefined || !/^[1-9]\d{0,5}$/.test(words.keep))
    throw new Fault("SETTINGS_INVALID", `--keep takes a number from 1 on.\n${usage}`);
  const { settings } = settingsHere(here);
  const { folder, storage } = registryFolders(settings);
  const used = words["without-control"]
    ? []
    : await callHere(here)<InUse>("GET", "/admin/images-in-use").then(({ references }) => references, unlessAway);
  const since = here.clock.now() - IN_FLIGHT_MS;
  const { kept, doomed } = retain(storedImages(storage), { keep, used, since, names: (digest) => namedIn(storage, digest) });
  const rows = [
    ...doomed.map(({ repository, digest, tags }) => [repository, tags.join(" ") || "-", shown(digest), words["dry-run"] ? "would go" : "removed"]),
    ...kept.map(({ repository, tag = "-", digest, why }) => [repository, tag, shown(digest), `kept: ${why}`]),
  ];
  if (rows.length === 0) return "There are no images.";
  if (!words["dry-run"] && doomed.length > 0) await deleteAll();
  const after = doomed.length === 0 || words["dry-run"] ? "" : "\n\nThe disk gets its room back by: berth registry gc";
  return textTable(["REPOSITORY", "TAGS", "DIGEST", ""], rows) + after;

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

type Words = { "dry-run"?: boolean; "without-control"?: boolean; keep?: string };

function readOptions(args: string[], names: (keyof Words)[]): Words {
  const options = Object.fromEntries(names.map((name) => [name, { type: name === "keep" ? ("string" as const) : ("boolean" as const) }]));
  return readWords({ args, options }, usage).values;
}

function shown(digest: string): string {
  return digest.slice(0, "sha256:".length + 12);
}

function megabytes(bytes: number): string {
  return (bytes / 1_000_000).toFixed(1);
}
