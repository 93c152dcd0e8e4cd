import { join } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { waitUntilValidated } from "../containers/revalidate.ts";
import type { ImageOnWire } from "../server/find-entity.ts";
import type { ServerClient } from "../server/server-client.ts";
import type { SelectedServer } from "../server/server-command.ts";
import type { ProgressLine } from "../terminal/progress.ts";
import { type PreparedImage, prepareImage } from "./prepare-image.ts";
import { type DockerCommand, createDockerCommand } from "./open-docker.ts";
import { uploadPackage } from "./upload-package.ts";
import { type Definition, defineContainers, type PackageJson, readPackageJson } from "../../control/packages/publish/definitions.ts";
import { findFolders } from "../../control/packages/publish/folders.ts";
import { readText } from "../../control/packages/publish/author-files.ts";

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
  const found = await findFolders(folder, signal);
  // What an earlier publish wrote there is not what this one makes.
  const folders = found.folders.map((one) => ({ ...one, imageJson: undefined }));
  const { definitions, warnings } = defineContainers(json, folders, debugLogin);
  if (definitions.length === 0)
    throw new Fault("PACKAGE_INVALID", [`${folder} makes no container: put a Dockerfile into dockerfiles/<name>/.`, ...found.warnings].join(" "));
  return { json, definitions, warnings: [...found.warnings, ...warnings] };
}

/** Whether there is an image to be built: the folder does not name one that is published elsewhere. */
function isBuilt({ container }: Definition): boolean {
  return container.image === undefined;
}
