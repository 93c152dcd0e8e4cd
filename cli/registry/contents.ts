import { Fault } from "../../lib/fault.ts";
import { suggestion } from "../../conf/suggestion.ts";
import type { CommandContext } from "../command-context.ts";
import { JSON_OPTION, SERVER_OPTIONS, selectServer, type ServerOptions } from "../server/server-command.ts";
import { oneLine, formatTable } from "../terminal.ts";
import { defineVerb, type Verbs } from "../command.ts";
import { openV2, type V2, REGISTRY_OPTION, registryHostOf } from "./open-v2.ts";
import { MANIFEST_TYPES } from "../../lib/registry-client/registry-client.ts";
import { isRepository } from "../../gateway/registry/authorize.ts";
import { DIGEST_PATTERN, isDigest } from "../../lib/registry-client/digest.ts";

const OPTIONS = { ...SERVER_OPTIONS, ...REGISTRY_OPTION, ...JSON_OPTION } as const;

/** `berth registry ls`, `tags`, `inspect` and `rm`, for any registry. */
export const CONTENT_VERBS: Verbs = {
  ls: defineVerb({
    words: "[<word>]",
    summary: "list a registry's repositories, or those with a word in their names",
    options: OPTIONS,
    run: async ({ context, words: [word = ""], options, screen }) => {
      const names = await listRepositories(selectRegistry(context, options));
      const meant = names.filter((name) => name.includes(word));
      if (options.json) screen.json(meant);
      else screen.print(meant.length === 0 ? "There are no repositories." : meant.map(oneLine).join("\n"));
    },
  }),
  tags: defineVerb({
    words: "<repository>",
    summary: "list a repository's tags and their images",
    options: OPTIONS,
    run: async ({ context, words: [word = ""], options, screen }) => {
      const v2 = selectRegistry(context, options);
      const { repository } = parseImageArgument(word);
      const tags = (await withSuggestion(v2, repository, () => v2.pages(`/${repository}/tags/list`, "tags"))).toSorted();
      const images = [];
      for (const tag of tags) images.push({ tag, ...(await inspectImage(v2, repository, tag)) });
      if (options.json) return screen.json(images);
      if (images.length === 0) return screen.print(`${repository} has no tags.`);
      const rows = images.map(({ tag, digest, bytes, platforms }) => [tag, digest.slice(0, 19), megabytes(bytes), platforms.join(" ") || "-"]);
      screen.print(formatTable(["TAG", "DIGEST", "SIZE", "PLATFORMS"], rows, screen));
    },
  }),
  inspect: defineVerb({
    words: "<repository:tag>",
    summary: "show an image's digest, layers and configuration; variables by name only",
    options: OPTIONS,
    run: async ({ context, words: [word = ""], options, screen }) => {
      const v2 = selectRegistry(context, options);
      const { repository, reference = "latest" } = parseImageArgument(word);
      const image = await withSuggestion(v2, repository, () => inspectImage(v2, repository, reference));
      if (options.json) return screen.json({ repository, reference, ...image });
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
  rm: defineVerb({
    words: "<repository:tag>",
    summary: "remove an image and all its tags; berth registry gc frees the disk space",
    options: { ...OPTIONS, yes: { summary: "remove it; without this option only show it" } },
    run: async ({ context, words: [word = ""], options, screen }) => {
      const v2 = selectRegistry(context, options);
      const { repository, reference } = parseImageArgument(word);
      if (reference === undefined) throw new Fault("SETTINGS_INVALID", `Name a tag or a digest: ${repository}:<tag>.`);
      const { digest } = await withSuggestion(v2, repository, () => inspectImage(v2, repository, reference));
      // A registry deletes by digest, and with it every tag of that digest.
      const tags = [];
      for (const tag of await v2.pages(`/${repository}/tags/list`, "tags"))
        if ((await inspectImage(v2, repository, tag)).digest === digest) tags.push(tag);
      if (options.yes) await v2.delete(`/${repository}/manifests/${digest}`);
      if (options.json) return screen.json({ repository, digest, tags, removed: options.yes ?? false });
      const named = `${repository}@${digest.slice(0, 19)}${tags.length === 0 ? "" : ` (${tags.join(", ")})`}`;
      screen.print(options.yes ? `Removed ${named}.` : `Nothing was removed. Add --yes to remove ${named}.`);
    },
  }),
};

/** Faults: SETTINGS_INVALID if no registry is known. */
function selectRegistry(context: CommandContext, serverOptions: ServerOptions & { registry?: string }): V2 {
  const server = selectServer(context, serverOptions);
  const host = registryHostOf(context, server, serverOptions.registry);
  if (host === undefined)
    throw new Fault("SETTINGS_INVALID", `No registry is known for ${server.name}: name it by --registry, or as registry in the config file.`);
  return openV2({ host, key: server.key, clock: context.clock });
}

function listRepositories(v2: V2): Promise<string[]> {
  return v2.pages("/_catalog", "repositories");
}

/** Suggests a name if the repository does not exist. */
async function withSuggestion<T>(v2: V2, repository: string, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof Fault) || error.code !== "ENTITY_NOT_FOUND") throw error;
    const names = await listRepositories(v2).catch((): string[] => []);
    if (names.includes(repository)) throw error;
    throw new Fault("ENTITY_NOT_FOUND", `There is no repository ${repository}${suggestion(repository, names)}.`, { cause: error });
  }
}

function megabytes(bytes: number): string {
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}

/** The output of `inspect`. An image for several platforms has their sizes, but no configuration. */
type InspectedImage = {
  digest: string;
  mediaType: string;
  bytes: number;
  platforms: string[];
  layers: { digest: string; bytes: number }[];
  created: string | null;
  ports: string[];
  command: string[];
  /** Only names: values may be secrets. */
  variables: string[];
};

type InspectedBlob = { digest: string; size: number; mediaType?: string };
type InspectedManifest = {
  mediaType?: string;
  config?: InspectedBlob;
  layers?: InspectedBlob[];
  manifests?: (InspectedBlob & { platform?: { os?: string; architecture?: string } })[];
};
type InspectedConfig = {
  os?: string;
  architecture?: string;
  created?: string;
  config?: { ExposedPorts?: object; Entrypoint?: string[]; Cmd?: string[]; Env?: string[] };
};

/** Faults: ENTITY_NOT_FOUND, and those of the registry. */
async function inspectImage(v2: V2, repository: string, reference: string): Promise<InspectedImage> {
  const { content, digest = reference } = await v2.get<InspectedManifest>(`/${repository}/manifests/${reference}`, MANIFEST_TYPES);
  if (!isDigest(digest)) throw new Fault("REGISTRY_FAILED", `The registry returns no digest for ${repository}:${reference}.`);
  const layers = (content.layers ?? []).map((layer) => ({ digest: layer.digest, bytes: layer.size }));
  const mediaType = content.mediaType ?? "";
  const nothing = { created: null, ports: [], command: [], variables: [] };
  if (Array.isArray(content.manifests)) {
    const platforms = content.manifests.map((entry) => platformOf(entry?.platform ?? {})).filter((one) => one !== "");
    return { digest, mediaType, bytes: sizeOf(content.manifests), platforms, layers, ...nothing };
  }
  const bytes = sizeOf(content.layers ?? []) + (content.config?.size ?? 0);
  // An artifact that is no image has another configuration, or none.
  const config =
    content.config && (await v2.get<InspectedConfig | undefined>(`/${repository}/blobs/${content.config.digest}`).catch(() => undefined))?.content;
  if (!config) return { digest, mediaType, bytes, platforms: [], layers, ...nothing };
  const { ExposedPorts = {}, Entrypoint, Cmd, Env } = config.config ?? {};
  return {
    digest,
    mediaType,
    bytes,
    platforms: [platformOf(config)].filter((one) => one !== ""),
    layers,
    created: config.created ?? null,
    ports: Object.keys(ExposedPorts ?? {}),
    command: [...(Entrypoint ?? []), ...(Cmd ?? [])],
    variables: (Env ?? []).map((pair) => pair.split("=", 1)[0] ?? ""),
  };
}

function platformOf({ os, architecture }: { os?: string; architecture?: string }): string {
  return os === undefined || architecture === undefined ? "" : `${os}/${architecture}`;
}

function sizeOf(described: readonly InspectedBlob[]): number {
  return described.reduce((sum, blob) => sum + (blob?.size ?? 0), 0);
}

/** `reference` is a tag or a digest; undefined if there is none. */
type ImageArgument = { repository: string; reference: string | undefined };

const IMAGE_ARGUMENT = new RegExp(`^(.+?)(?::([\\w.-]{1,128})|@(${DIGEST_PATTERN}))?$`);

/** `datagrok/x`, `datagrok/x:tag` or `datagrok/x@sha256:…`. Faults: SETTINGS_INVALID. */
function parseImageArgument(word: string): ImageArgument {
  const [, repository = "", tag, digest] = IMAGE_ARGUMENT.exec(word) ?? [];
  if (isRepository(repository)) return { repository, reference: tag ?? digest };
  throw new Fault("SETTINGS_INVALID", `${JSON.stringify(word)} is no image name. Write one such as datagrok/demo-square:1.0.0.`);
}
