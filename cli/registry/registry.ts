import { Fault } from "../../lib/fault.ts";
import { JSON_OPTION } from "../server/server-command.ts";
import { formatTable } from "../terminal.ts";
import { defineVerb, throwFaults, type Verbs } from "../command.ts";
import { CONTENT_VERBS } from "./contents.ts";
import { openLog } from "../../lib/log.ts";
import { deleteManifest, type CollectedGarbage, collectGarbage, requestCollection } from "../../processes/distribution/maintenance.ts";
import { distributionImage, openDistribution, ownFolders } from "../../processes/distribution/open-distribution.ts";
import { parseTagRule, retainImages, type TagRule } from "../../processes/distribution/retention.ts";
import { registryPlace, storageEnvironment, storageName } from "../../processes/distribution/registry-storage.ts";
import { registryImage } from "../../processes/registry.ts";
import { localApi, type CommandContext, openRuntime, loadSettings } from "../command-context.ts";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findDistribution } from "../../processes/distribution/distribution-program.ts";
import { endLeftovers } from "../../processes/distribution/supervise-distribution.ts";

const DRY_RUN = { "dry-run": { summary: "only show what would be removed" } } as const;

export const verbs: Verbs = {
  "": defineVerb({
    words: "",
    summary: "run berth's own registry behind its proxy",
    options: {},
    run: async ({ context }) => (await import("../run-process.ts")).runRegistryProcess(context),
  }),
  ...CONTENT_VERBS,
  gc: defineVerb({
    words: "",
    summary: "remove layers without an image from berth's own registry on this machine; pushes are refused meanwhile",
    options: {
      ...JSON_OPTION,
      ...DRY_RUN,
      alone: { summary: "with BERTH_REGISTRY_STORAGE: no other machine's registry takes pushes to that storage meanwhile" },
    },
    run: async ({ context, options, screen }) => {
      const dryRun = options["dry-run"] ?? false;
      const { blobs, bytes } = await collectLocalGarbage(context, { dryRun, isAlone: options.alone ?? false });
      if (options.json) return screen.json({ removed: !dryRun, blobs: blobs.length, bytes });
      if (blobs.length === 0) return screen.print("There is no garbage.");
      const size = bytes === null ? "" : `, ${(bytes / 1_000_000).toFixed(1)} MB`;
      screen.print(`${dryRun ? "Would remove" : "Removed"} ${blobs.length} layers and manifests${size}.`);
    },
  }),
  retain: defineVerb({
    words: "",
    summary:
      "remove images by the rules of BERTH_REGISTRY_RETENTION, or with --keep all but the newest tags of each repository; images that containers or kept versions use stay, and images without a tag for one day after their push",
    options: {
      ...JSON_OPTION,
      keep: { value: "<number>", summary: "how many tags to keep per repository" },
      ...DRY_RUN,
      "without-control": { summary: "run without a berth on this machine: keep no image for containers" },
    },
    run: async ({ context, options, screen }) => {
      const rules = rulesOf(context, options.keep);
      const dryRun = options["dry-run"] ?? false;
      const { images, faults } = await removeOldImages(context, { rules, dryRun, withoutControl: options["without-control"] ?? false });
      if (options.json) {
        screen.json(images.map((image) => ({ ...image, removed: image.removed && !dryRun })));
        return throwFaults(faults);
      }
      if (images.length === 0) return screen.print("There are no images.");
      const rows = images.map(({ repository, tags, digest, removed, why }) => {
        return [
          repository,
          tags.join(" ") || "-",
          digest.slice(0, "sha256:".length + 12),
          removed ? (dryRun ? "would go" : "removed") : `kept: ${why}`,
        ];
      });
      screen.print(formatTable(["REPOSITORY", "TAGS", "DIGEST", ""], rows, screen));
      if (!dryRun && images.some(({ removed }) => removed)) screen.print("\nTo free the disk space: berth registry gc");
      throwFaults(faults);
    },
  }),
};

/** The rules of the settings, or with `keep` one for all repositories. Faults: SETTINGS_INVALID. */
function rulesOf(context: CommandContext, keep: string | undefined): TagRule[] {
  const configured = loadSettings(context).settings.registry.retention.map(parseTagRule);
  if (keep === undefined && configured.length > 0) return configured;
  if (keep === undefined || !/^[1-9]\d{0,5}$/.test(keep))
    throw new Fault(
      "SETTINGS_INVALID",
      "--keep takes a number of at least 1; without it, BERTH_REGISTRY_RETENTION needs rules.\nUsage: berth registry retain --keep <number> [options]",
    );
  return [
    { repositories: "**", tags: "*", keep: Number(keep), days: undefined },
    { repositories: "**", tags: undefined, keep: undefined, days: 1 },
  ];
}

type RetainedImage = { repository: string; tags: string[]; digest: string; removed: boolean; why: string | null };

/**
 * Keeps the newest tags and used images, and deletes the rest unless it is a dry run. `faults`: why images could not be deleted. Faults: CONTROL_AWAY, unless
 * `withoutControl` is set; those of opening the registry.
 */
async function removeOldImages(
  context: CommandContext,
  words: { rules: readonly TagRule[]; dryRun: boolean; withoutControl: boolean },
): Promise<{ images: RetainedImage[]; faults: Fault[] }> {
  const { rules, dryRun, withoutControl } = words;
  const { settings } = loadSettings(context);
  const { folder, storage: place } = registryPlace(settings);
  if (place.kind !== "folder")
    throw new Fault(
      "SETTINGS_INVALID",
      `\`berth registry retain\` knows only from a folder when a tag was pushed, and the images are in ${storageName(place)}: delete images with \`berth registry rm\`.`,
    );
  const storage = place.folder;
  const used = withoutControl
    ? []
    : await localApi(context)<ImagesInUse>("GET", "/admin/images-in-use").then(({ references }) => references, explainControlAway);
  const policy = { rules, used, now: context.clock.now() };
  const faults: Fault[] = [];
  const judged = await retainImages(storage, { ...policy, dryRun: true, remove: async () => {} });
  const { kept, removable, failures } = dryRun || judged.removable.length === 0 ? judged : await removeAll();
  const images = [
    ...removable.map(({ repository, digest, tags }) => ({ repository, tags: [...tags], digest, removed: true, why: null })),
    ...failures.map(({ repository, why }) => ({ repository, tags: [], digest: "", removed: false, why })),
    ...kept.map(({ repository, tag, digest, why }) => ({ repository, tags: tag === undefined ? [] : [tag], digest, removed: false, why })),
  ];
  return { images, faults };

  /** Through the running registry, or through one that is started for it. Each is judged again then: it may have been pushed meanwhile. */
  async function removeAll(): ReturnType<typeof retainImages> {
    const socket = openRuntime(context, settings).registrySocket;
    const log = openLog({ level: "error", name: "registry" });
    const path = context.env["PATH"] ?? "";
    const image = registryImage(settings);
    const own = await openDistribution({ folder, storage: place, socket, path, image, level: "error", clock: context.clock, log }).catch(
      (error: unknown) => {
        if (error instanceof Fault && error.code === "DATA_FOLDER_IN_USE") return undefined;
        throw error;
      },
    );
    try {
      return await retainImages(storage, { ...policy, dryRun: false, remove });
    } finally {
      await own?.close();
    }

    async function remove(repository: string, digest: string): Promise<void> {
      try {
        await deleteManifest({ socketPath: socket, clock: context.clock }, repository, digest);
      } catch (error) {
        if (error instanceof Fault) faults.push(error);
        throw error;
      }
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
async function collectLocalGarbage(context: CommandContext, { dryRun, isAlone }: { dryRun: boolean; isAlone: boolean }): Promise<CollectedGarbage> {
  const { settings } = loadSettings(context);
  const place = registryPlace(settings);
  if (place.storage.isShared && !dryRun && !isAlone)
    throw new Fault(
      "SETTINGS_INVALID",
      `${storageName(place.storage)} may have registries of several machines, and a push to another one would lose layers. Stop the others, or send pushes to this machine only; then run \`berth registry gc --alone\`.`,
    );
  const collected = dryRun ? undefined : await requestCollection(openRuntime(context, settings).registryAdminSocket, context.clock);
  return collected ?? (await collectHere());

  async function collectHere(): Promise<CollectedGarbage> {
    const { folder, storage } = place;
    if (storage.kind === "folder" && !existsSync(storage.folder)) return { blobs: [], bytes: 0 };
    // A dry run may be another user's, and writes nothing to the folder.
    const at = dryRun ? mkdtempSync(join(tmpdir(), "berth-garbage-")) : folder;
    const unlock = dryRun ? () => rmSync(at, { recursive: true, force: true }) : ownFolders(folder, storage);
    try {
      const image = registryImage(settings);
      const run = image && distributionImage(image, { owner: at, mounts: [at], storage });
      const distribution = await findDistribution(context.env["PATH"] ?? "", run, storageEnvironment(storage, context.env));
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
