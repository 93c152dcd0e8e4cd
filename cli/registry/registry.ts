import { Fault } from "../../lib/fault.ts";
import { JSON_OPTION } from "../server/server-command.ts";
import { formatTable } from "../terminal/format.ts";
import { defineVerb, type Verbs } from "../command.ts";
import { collectLocalGarbage, removeOldImages } from "./cleanup.ts";
import { CONTENT_VERBS } from "./contents.ts";

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
    options: { ...JSON_OPTION, ...DRY_RUN },
    run: async ({ context, options, screen }) => {
      const dryRun = options["dry-run"] ?? false;
      const { blobs, bytes } = await collectLocalGarbage(context, dryRun);
      if (options.json) return screen.json({ removed: !dryRun, blobs: blobs.length, bytes });
      if (blobs.length === 0) return screen.print("There is no garbage.");
      screen.print(`${dryRun ? "Would remove" : "Removed"} ${blobs.length} layers and manifests, ${(bytes / 1_000_000).toFixed(1)} MB.`);
    },
  }),
  retain: defineVerb({
    words: "",
    summary:
      "keep the newest tags of each repository and the images that containers use, and remove the rest; images without a tag stay for one day after their push",
    options: {
      ...JSON_OPTION,
      keep: { value: "<number>", summary: "how many tags to keep per repository" },
      ...DRY_RUN,
      "without-control": { summary: "run without a berth on this machine: keep no image for containers" },
    },
    run: async ({ context, options, screen }) => {
      if (options.keep === undefined || !/^[1-9]\d{0,5}$/.test(options.keep))
        throw new Fault("SETTINGS_INVALID", "--keep takes a number of at least 1.\nUsage: berth registry retain --keep <number> [options]");
      const dryRun = options["dry-run"] ?? false;
      const images = await removeOldImages(context, { keep: Number(options.keep), dryRun, withoutControl: options["without-control"] ?? false });
      if (options.json) return screen.json(images.map((image) => ({ ...image, removed: image.removed && !dryRun })));
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
    },
  }),
};
