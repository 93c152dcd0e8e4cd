import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Fault } from "../../lib/fault.ts";
import { unusableReason } from "../containers/revalidate.ts";
import { REGISTRY_OPTION, registryHostOf } from "../registry/registry-address.ts";
import { JSON_OPTION, SERVER_OPTIONS, selectServer } from "../server/server-command.ts";
import { openProgressLine } from "../terminal/progress.ts";
import { defineVerb, type Verbs } from "../command.ts";
import { publishPackage } from "./publish-package.ts";

const DETAILS = `As grok publish does, for packages whose containers are what matters: of JavaScript it builds nothing, and sends what lies there.
Each folder in dockerfiles/ makes an image and a container. An image whose folder has not changed since it was published is not built again.
A debug publish tags images with your login, and each one replaces the one before; a release tags them with the version and what they are built of.
docker login is done in a folder of its own: who you are signed in as elsewhere stays as it is.
Without a registry, images are built and tagged on this machine's engine, for a berth that runs on it.`;

const MAX_NAMED = 10;

export const verbs: Verbs = {
  "": defineVerb({
    words: "[<folder>]",
    summary: "build a package's images, push them and publish the package; without a folder, the one where you are",
    details: DETAILS,
    options: {
      ...SERVER_OPTIONS,
      ...REGISTRY_OPTION,
      ...JSON_OPTION,
      debug: { summary: "publish for yourself only; the default" },
      release: { summary: "for everybody" },
      suffix: { value: "<text>", summary: "suffix of the debug version" },
      rebuild: { summary: "build every image, also those that have not changed" },
      "no-wait": { summary: "do not wait until the server has found the images" },
    },
    completes: "folders",
    run: async ({ context, words: [folder = "."], options, screen, signal }) => {
      const { debug, release = false, suffix, rebuild = false, json } = options;
      if (debug && release) throw new Fault("SETTINGS_INVALID", "--debug and --release exclude each other.");
      const { clock, env } = context;
      const server = selectServer(context, options);
      const registry = registryHostOf(context, server, options.registry);
      const progress = openProgressLine(screen, clock);
      const step = (sentence: string) => {
        progress.close();
        if (!json) screen.note(sentence);
      };
      const temp = mkdtempSync(join(tmpdir(), "berth-publish-"));
      try {
        const wait = !options["no-wait"];
        const what = { folder: resolve(folder), release, suffix, rebuild, wait, server, registry };
        const { report, unusable } = await publishPackage({ ...what, temp, env, progress, step, clock, signal });
        progress.close();
        if (json) screen.json(report);
        else screen.print(`Published ${report.name} ${report.version} to ${server.name}: ${namesOf(report.containers)}.`);
        if (unusable.length > 0) throw new Fault("IMAGE_NOT_FOUND", unusable.map(unusableReason).join("\n"));
      } finally {
        progress.close();
        rmSync(temp, { recursive: true, force: true });
      }
    },
  }),
};

/** All of a few; of many their number and the first three. */
function namesOf(containers: readonly { name: string }[]): string {
  const names = containers.map(({ name }) => name);
  if (names.length <= MAX_NAMED) return names.join(", ");
  return `${names.length} containers: ${names.slice(0, 3).join(", ")} and ${names.length - 3} more`;
}
