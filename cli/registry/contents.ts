import { Fault } from "../../lib/fault.ts";
import { suggestion } from "../../conf/suggestion.ts";
import type { Here } from "../command-context.ts";
import { JSON_OPTION, SERVER_OPTIONS, serverOf } from "../server/server-command.ts";
import type { Said } from "../server/choose-server.ts";
import { oneLine } from "../terminal/text.ts";
import { textTable } from "../terminal/text-table.ts";
import { verb, type Verbs } from "../command.ts";
import { readImageName, imageOf } from "./inspect.ts";
import { openV2, type V2 } from "./open-v2.ts";
import { REGISTRY_OPTION, registryOf } from "./registry-address.ts";

const OPTIONS = { ...SERVER_OPTIONS, ...REGISTRY_OPTION, ...JSON_OPTION } as const;

/** `berth registry ls`, `tags`, `inspect` and `rm`, by the API of registries, whichever it is. */
export const CONTENTS: Verbs = {
  ls: verb({
    words: "[<word>]",
    says: "lists a registry's repositories, or those with a word in their names",
    options: OPTIONS,
    run: async ({ here, words: [word = ""], given, screen }) => {
      const names = await repositories(openHere(here, given));
      const meant = names.filter((name) => name.includes(word));
      if (given.json) screen.json(meant);
      else screen.print(meant.length === 0 ? "There are no repositories." : meant.map(oneLine).join("\n"));
    },
  }),
  tags: verb({
    words: "<repository>",
    says: "lists a repository's tags, and what they point to",
    options: OPTIONS,
    run: async ({ here, words: [word = ""], given, screen }) => {
      const v2 = openHere(here, given);
      const { repository } = readImageName(word);
      const tags = (await found(v2, repository, () => v2.pages(`/${repository}/tags/list`, "tags"))).toSorted();
      const images = [];
      for (const tag of tags) images.push({ tag, ...(await imageOf(v2, repository, tag)) });
      if (given.json) return screen.json(images);
      if (images.length === 0) return screen.print(`${repository} has no tags.`);
      const rows = images.map(({ tag, digest, bytes, platforms }) => [tag, digest.slice(0, 19), megabytes(bytes), platforms.join(" ") || "-"]);
      screen.print(textTable(["TAG", "DIGEST", "SIZE", "PLATFORMS"], rows, screen));
    },
  }),
  inspect: verb({
    words: "<repository:tag>",
    says: "says what an image is: its digest, layers and configuration; variables by name alone",
    options: OPTIONS,
    run: async ({ here, words: [word = ""], given, screen }) => {
      const v2 = openHere(here, given);
      const { repository, reference = "latest" } = readImageName(word);
      const image = await found(v2, repository, () => imageOf(v2, repository, reference));
      if (given.json) return screen.json({ repository, reference, ...image });
      const { digest, bytes, platforms, layers, created, ports, command, variables } = image;
      const facts = [
        ["digest", digest],
        ["platforms", platforms.join(" ")],
        ["size", `${megabytes(bytes)} in ${layers.length} layers`],
        ["built", created ?? ""],
        ["ports", ports.join(" ")],
        ["command", command.join(" ")],
        ["variables", variables.join(" ")],
      ].flatMap(([name = "", fact = ""]) => (fact === "" ? [] : [`  ${screen.paint("dim", name.padEnd(11))}${oneLine(fact)}`]));
      screen.print([screen.paint("bold", `${repository}:${reference}`), ...facts].join("\n"));
    },
  }),
  rm: verb({
    words: "<repository:tag>",
    says: "removes an image, with all tags that point to it; its room comes back by berth registry gc",
    options: { ...OPTIONS, yes: { says: "do it, and not only say what would go" } },
    run: async ({ here, words: [word = ""], given, screen }) => {
      const v2 = openHere(here, given);
      const { repository, reference } = readImageName(word);
      if (reference === undefined) throw new Fault("SETTINGS_INVALID", `Name a tag or a digest: ${repository}:<tag>.`);
      const { digest } = await found(v2, repository, () => imageOf(v2, repository, reference));
      // A registry deletes by digest alone, and every other tag on it goes too.
      const tags = [];
      for (const tag of await v2.pages(`/${repository}/tags/list`, "tags"))
        if ((await imageOf(v2, repository, tag)).digest === digest) tags.push(tag);
      if (given.yes) await v2.delete(`/${repository}/manifests/${digest}`);
      if (given.json) return screen.json({ repository, digest, tags, removed: given.yes ?? false });
      const named = `${repository}@${digest.slice(0, 19)}${tags.length === 0 ? "" : ` (${tags.join(", ")})`}`;
      screen.print(given.yes ? `Removed ${named}.` : `Nothing was removed yet: say --yes to remove ${named}.`);
    },
  }),
};

/** Faults: SETTINGS_INVALID where no registry is known. */
function openHere(here: Here, said: Said & { registry?: string }): V2 {
  const server = serverOf(here, said);
  const host = registryOf(here, server, said.registry);
  if (host === undefined)
    throw new Fault("SETTINGS_INVALID", `No registry is known for ${server.name}: name it by --registry, or as registry in the config file.`);
  return openV2({ host, key: server.key, clock: here.clock });
}

function repositories(v2: V2): Promise<string[]> {
  return v2.pages("/_catalog", "repositories");
}

/** Says what is there, where the repository is not. */
async function found<T>(v2: V2, repository: string, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof Fault) || error.code !== "ENTITY_NOT_FOUND") throw error;
    const names = await repositories(v2).catch((): string[] => []);
    if (names.includes(repository)) throw error;
    throw new Fault("ENTITY_NOT_FOUND", `There is no repository ${repository}${suggestion(repository, names)}.`, { cause: error });
  }
}

function megabytes(bytes: number): string {
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}
