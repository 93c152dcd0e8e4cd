import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Fault } from "../../lib/fault.ts";
import { unusableReason, waitUntilValidated } from "../containers/revalidate.ts";
import { REGISTRY_OPTION, registryHostOf } from "../registry/open-v2.ts";
import { JSON_OPTION, SERVER_OPTIONS, selectServer, type SelectedServer } from "../server/server-command.ts";
import { openProgressLine, type ProgressLine } from "../terminal/screen.ts";
import { defineVerb, type Verbs } from "../command.ts";
import type { Clock } from "../../lib/clock.ts";
import type { ImageOnWire } from "../server/find-entity.ts";
import type { ServerClient } from "../server/server-client.ts";
import { type PreparedImage, prepareImage } from "./prepare-image.ts";
import { type DockerCommand, createDockerCommand } from "./open-docker.ts";
import { uploadPackage } from "./upload-package.ts";
import { type Definition, defineContainers, type PackageJson, readPackageJson } from "../../control/packages/publish/definitions.ts";
import { findFolders } from "../../control/packages/publish/folders.ts";
import { readText } from "../../control/packages/publish/author-files.ts";

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

/** What became of a package: for programs as it is. `how` is `named` of an image that is published elsewhere. */
type PublishReport = {
  name: string;
  version: string;
  release: boolean;
  images: { folder: string; name: string; image: string; how: PreparedImage["how"] | "named"; status: string | null }[];
  containers: { name: string; id: string }[];
  warnings: string[];
};

/** What a server says of what it took; a Datagrok server says less. */
/** Each asks about its image several times a second. */
const MAX_PARALLEL = 8;

type PublishResponse = { images?: ImageOnWire[]; containers?: { name: string; id: string }[]; warnings?: string[] } | undefined;

type PublishDeps = {
  folder: string;
  release: boolean;
  suffix: string | undefined;
  rebuild: boolean;
  wait: boolean;
  server: SelectedServer;
  registry: string | undefined;
  /** Of this publish alone. */
  temp: string;
  env: NodeJS.ProcessEnv;
  progress: ProgressLine;
  /** Called for each completed step, and for each warning. */
  step(sentence: string): void;
  clock: Clock;
  signal: AbortSignal;
};

/**
 * Builds, pushes and uploads, as the publishing client of a Datagrok server does. `unusable` are images that the server cannot run: the package is published all
 * the same. Faults: PACKAGE_INVALID and SETTINGS_INVALID before anything was done; those of docker, the registry and the server.
 */
export async function publishPackage(deps: PublishDeps): Promise<{ report: PublishReport; unusable: ImageOnWire[] }> {
  const { folder, release, server, registry, progress, step, clock, signal } = deps;
  await loadPackage(folder, undefined, signal);
  progress.update(`signing in to ${server.name}`);
  const login = await loginOf(server);
  const { json, definitions, warnings } = await loadPackage(folder, release ? undefined : login, signal);
  for (const warning of warnings) step(`Note: ${warning}`);
  // Whose package it is, before anything is built for it.
  await server.asDeveloper("GET", `/packages/dev/${json.name}/timestamps`);

  const docker = once(() => openDockerFor(deps));
  const images: PreparedImage[] = [];
  const buildDeps = { packageName: json.name, version: release ? json.version : login, rebuild: deps.rebuild, registry, server, docker, progress };
  for (const definition of definitions.filter(isBuilt)) {
    const brought = await prepareImage(definition, buildDeps);
    images.push(brought);
    step(brought.how === "built" ? `Built ${registry === undefined ? "" : "and pushed "}${brought.image}.` : `${brought.image} has not changed.`);
  }
  const zip = join(deps.temp, "package.zip");
  const published = await uploadPackage<PublishResponse>({ ...deps, name: json.name, images, zip });
  const taken = published?.images ?? [];
  const response = (published?.warnings ?? []).filter((warning) => !warnings.includes(warning));
  for (const warning of response) step(`Note: ${warning}`);
  const onStatus = ({ name, status }: ImageOnWire) => progress.update(`${name}: ${status}`);
  const validated = deps.wait
    ? await atOnce(MAX_PARALLEL, taken, (image) => waitUntilValidated({ server, hear: onStatus, clock, signal }, image))
    : taken;

  const report: PublishReport = {
    name: json.name,
    version: json.version,
    release,
    images: definitions.map((definition) => {
      const brought = images.find((one) => one.folder === definition.folder);
      const status = validated.find(({ name }) => name === definition.image)?.status ?? null;
      return { folder: definition.folder, name: definition.image, image: brought?.image ?? definition.ref, how: brought?.how ?? "named", status };
    }),
    containers: (published?.containers ?? definitions.map(({ name }) => ({ name, id: "" }))).map(({ name, id }) => ({ name, id })),
    warnings: [...warnings, ...response],
  };
  return { report, unusable: validated.filter(({ status }) => status === "error") };
}

async function loginOf(server: Pick<ServerClient, "call">): Promise<string> {
  const { login } = await server.call<{ login?: string }>("GET", "/users/current");
  if (login !== undefined) return login;
  throw new Fault("INTERNAL", "The server does not say who is signed in.");
}

/** Elsewhere an image without a registry could not be had. Faults: SETTINGS_INVALID, ENGINE_UNREACHABLE, those of signing in to the registry. */
async function openDockerFor({ server, registry, env, temp, progress, clock, signal }: PublishDeps): Promise<DockerCommand> {
  if (registry === undefined && !server.isLocal)
    throw new Fault("SETTINGS_INVALID", `No registry is known for ${server.name}: name it by --registry, or as registry in the config file.`);
  const docker = await createDockerCommand({ env, config: join(temp, "docker"), clock, signal });
  if (registry === undefined) return docker;
  progress.update(`signing in to ${registry}`);
  await docker.login(registry, server.key);
  return docker;
}

function once<T>(open: () => Promise<T>): () => Promise<T> {
  let opened: Promise<T> | undefined;
  return () => (opened ??= open());
}

/** Does the work for each item, for so many at once; the results in the items' order. */
async function atOnce<T, R>(count: number, items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async () => {
    for (let at = next++; at < items.length; at = next++) results[at] = await work(items[at] as T);
  };
  await Promise.all(Array.from({ length: Math.min(count, items.length) }, worker));
  return results;
}

/** A package as it lies in a folder, read by the same rules as the server reads it when it comes. */
type LocalPackage = { json: PackageJson; definitions: Definition[]; warnings: string[] };

/** `debugLogin` is the developer's login for a debug publish. Faults: PACKAGE_INVALID, SETTINGS_INVALID where there is no package. */
async function loadPackage(folder: string, debugLogin: string | undefined, signal: AbortSignal): Promise<LocalPackage> {
  const text = await readText(join(folder, "package.json"), "package.json", signal);
  if (text === undefined) throw new Fault("SETTINGS_INVALID", `${folder} is no package: it has no package.json.`);
  const json = readPackageJson(text);
  const read = await findFolders(folder, signal);
  // What an earlier publish wrote there is not what this one makes.
  const folders = read.folders.map((one) => ({ ...one, imageJson: undefined }));
  const { definitions, warnings } = defineContainers(json, folders, debugLogin);
  if (definitions.length === 0)
    throw new Fault("PACKAGE_INVALID", [`${folder} makes no container: put a Dockerfile into dockerfiles/<name>/.`, ...read.warnings].join(" "));
  return { json, definitions, warnings: [...read.warnings, ...warnings] };
}

/** Whether there is an image to be built: the folder does not name one that is published elsewhere. */
function isBuilt({ container }: Definition): boolean {
  return container.image === undefined;
}
