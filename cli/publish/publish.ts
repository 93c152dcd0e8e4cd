import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Fault } from "../../lib/fault.ts";
import { whyUnusable } from "../containers/revalidate.ts";
import { REGISTRY_OPTION, registryOf } from "../registry/registry-address.ts";
import { JSON_OPTION, SERVER_OPTIONS, serverOf } from "../server/server-command.ts";
import { openProgress } from "../terminal/progress.ts";
import { verb, type Verbs } from "../command.ts";
import { publishPackage } from "./publish-package.ts";

const MORE = `As grok publish does, for packages whose containers are what matters: of JavaScript it builds nothing, and sends what lies there.
Each folder in dockerfiles/ makes an image and a container. An image whose folder has not changed since it was published is not built again.
A debug publish tags images with your login, and each one replaces the one before; a release tags them with the version and what they are built of.
docker login is done in a folder of its own: who you are signed in as elsewhere stays as it is.
Without a registry, images are built and tagged on this machine's engine, for a berth that runs on it.`;

const MAX_NAMED = 10;

export const verbs: Verbs = {
  "": verb({
    words: "[<folder>]",
    says: "build a package's images, push them and publish the package; without a folder, the one where you are",
    more: MORE,
    options: {
      ...SERVER_OPTIONS,
      ...REGISTRY_OPTION,
      ...JSON_OPTION,
      debug: { says: "for yourself to try: what is meant where neither is said" },
      release: { says: "for everybody" },
      suffix: { takes: "<text>", says: "told to the server, which puts it behind a debug version" },
      rebuild: { says: "build every image, also those that have not changed" },
      "no-wait": { says: "do not wait until the server has found the images" },
    },
    completes: "folders",
    run: async ({ here, words: [folder = "."], given, screen, signal }) => {
      const { debug, release = false, suffix, rebuild = false, json } = given;
      if (debug && release) throw new Fault("SETTINGS_INVALID", "--debug and --release exclude each other.");
      const { clock, env } = here;
      const server = serverOf(here, given);
      const registry = registryOf(here, server, given.registry);
      const progress = openProgress(screen, clock);
      const step = (sentence: string) => {
        progress.clear();
        if (!json) screen.tell(sentence);
      };
      const temp = mkdtempSync(join(tmpdir(), "berth-publish-"));
      try {
        const wait = !given["no-wait"];
        const what = { folder: resolve(folder), release, suffix, rebuild, wait, server, registry };
        const { report, unusable } = await publishPackage({ ...what, temp, env, progress, step, clock, signal });
        progress.clear();
        if (json) screen.json(report);
        else screen.print(`Published ${report.name} ${report.version} to ${server.name}: ${namesOf(report.containers)}.`);
        if (unusable.length > 0) throw new Fault("IMAGE_NOT_FOUND", unusable.map(whyUnusable).join("\n"));
      } finally {
        progress.clear();
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
