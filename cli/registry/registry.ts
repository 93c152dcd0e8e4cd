import { Fault } from "../../lib/fault.ts";
import { JSON_OPTION } from "../server/server-command.ts";
import { textTable } from "../terminal/text-table.ts";
import { verb, type Verbs } from "../command.ts";
import { collect, retainHere } from "./cleanup.ts";
import { CONTENTS } from "./contents.ts";
import { runRegistry } from "../../processes/registry.ts";
import { untilOver } from "../../processes/parent.ts";
import { begin, countHere, type Here, runtimeHere } from "../command-context.ts";
import { addressOf, tellConsolePort } from "../serve.ts";
import { VERSION } from "../version.ts";

const DRY_RUN = { "dry-run": { says: "only say what would go" } } as const;

export const verbs: Verbs = {
  "": verb({
    words: "",
    says: "a registry of berth's own, with its proxy in front",
    options: {},
    run: ({ here }) => runRole(here),
  }),
  ...CONTENTS,
  gc: verb({
    words: "",
    says: "removes layers that no image has any more, of the registry of berth's own on this machine; nothing can be pushed meanwhile",
    options: { ...JSON_OPTION, ...DRY_RUN },
    run: async ({ here, given, screen }) => {
      const dryRun = given["dry-run"] ?? false;
      const { blobs, bytes } = await collect(here, dryRun);
      if (given.json) return screen.json({ removed: !dryRun, blobs: blobs.length, bytes });
      if (blobs.length === 0) return screen.print("There is no garbage.");
      screen.print(`${dryRun ? "Would remove" : "Removed"} ${blobs.length} layers and manifests, ${(bytes / 1_000_000).toFixed(1)} MB.`);
    },
  }),
  retain: verb({
    words: "",
    says: "keeps the tags of each repository that were pushed last, and what containers use; images that no tag points to any more go a day after they were pushed",
    options: {
      ...JSON_OPTION,
      keep: { takes: "<number>", says: "so many tags" },
      ...DRY_RUN,
      "without-control": { says: "where no berth runs here: nothing is kept for containers" },
    },
    run: async ({ here, given, screen }) => {
      if (given.keep === undefined || !/^[1-9]\d{0,5}$/.test(given.keep))
        throw new Fault("SETTINGS_INVALID", "--keep takes a number from 1 on.\nUsage: berth registry retain --keep <number> [options]");
      const dryRun = given["dry-run"] ?? false;
      const images = await retainHere(here, { keep: Number(given.keep), dryRun, withoutControl: given["without-control"] ?? false });
      if (given.json) return screen.json(images.map((image) => ({ ...image, removed: image.removed && !dryRun })));
      if (images.length === 0) return screen.print("There are no images.");
      const rows = images.map(({ repository, tags, digest, removed, why }) => {
        return [
          repository,
          tags.join(" ") || "-",
          digest.slice(0, "sha256:".length + 12),
          removed ? (dryRun ? "would go" : "removed") : `kept: ${why}`,
        ];
      });
      screen.print(textTable(["REPOSITORY", "TAGS", "DIGEST", ""], rows, screen));
      if (!dryRun && images.some(({ removed }) => removed)) screen.print("\nThe disk gets its room back by: berth registry gc");
    },
  }),
};

/** A registry of berth's own, with its proxy: alone, or one of the processes of `berth serve`. Faults: SETTINGS_INVALID, those of the registry. */
export async function runRole(here: Here): Promise<void> {
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
    tellConsolePort(settings, registry.consolePort);
    return registry;
  }, here.parent);
}
