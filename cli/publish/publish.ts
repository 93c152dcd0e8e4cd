import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { readText } from "../../control/packages/publish/author-files.ts";
import { defineContainers, type Definition, type PackageJson, readPackageJson } from "../../control/packages/publish/definitions.ts";
import { findFolders } from "../../control/packages/publish/folders.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { defineVerb, type Verbs } from "../command.ts";
import { unusableReason, waitUntilValidated } from "../containers/actions.ts";
import { publishWarnings } from "../containers/explain.ts";
import { REGISTRY_OPTION, registryHostOf } from "../registry/open-v2.ts";
import type { ImageOnWire, ServerClient } from "../server/server-client.ts";
import { JSON_OPTION, type SelectedServer, selectServer, SERVER_OPTIONS } from "../server/server-command.ts";
import { openProgressLine, type ProgressLine } from "../terminal.ts";
import { createDockerCommand, type DockerCommand, type PreparedImage, prepareImage } from "./prepare-image.ts";
import { uploadPackage } from "./upload-package.ts";

const DETAILS = `Works like grok publish, for packages with containers. It builds no JavaScript, and sends the files as they are.
Each folder in dockerfiles/ makes an image and a container. berth does not build an image again if its folder has not changed.
A debug publish tags images with your login and replaces the previous one. A release tags them with the version and a content hash.
docker login uses a separate folder, so that your own logins stay.
Without a registry, berth builds and tags images on this machine's engine, for a berth that runs on it.
In a CI job without a key, it exchanges the job's identity token for one: see berth publishers.
A berth that runs plain processes, as npm start does, needs no images: it runs the command of the Dockerfile in its folder.`;

const MAX_NAMED = 10;

export const verbs: Verbs = {
  "": defineVerb({
    words: "[<folder>]",
    summary: "build a package's images, push them and publish the package in a folder; the default is the working folder",
    details: DETAILS,
    options: {
      ...SERVER_OPTIONS,
      ...REGISTRY_OPTION,
      ...JSON_OPTION,
      debug: { summary: "publish for yourself only; the default" },
      release: { summary: "publish for everybody" },
      suffix: { value: "<text>", summary: "suffix of the debug version" },
      rebuild: { summary: "build every image, also unchanged ones" },
      "no-wait": { summary: "return immediately; do not wait until the server has validated the images" },
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

/** All names of a few containers; the number and three names of many. */
function namesOf(containers: readonly { name: string }[]): string {
  const names = containers.map(({ name }) => name);
  if (names.length <= MAX_NAMED) return names.join(", ");
  return `${names.length} containers: ${names.slice(0, 3).join(", ")} and ${names.length - 3} more`;
}

/** The result, also as JSON. `how` is `named` for an image that is published elsewhere. */
type PublishReport = {
  name: string;
  version: string;
  release: boolean;
  images: { folder: string; name: string; image: string; how: PreparedImage["how"] | "named"; status: string | null }[];
  containers: { name: string; id: string }[];
  warnings: string[];
};

/** Each polls its image several times a second. */
const MAX_PARALLEL = 8;

/** A Datagrok server sends fewer fields. */
type PublishResponse = { images?: ImageOnWire[]; containers?: { name: string; id: string }[]; warnings?: string[] } | undefined;

type PublishDeps = {
  folder: string;
  release: boolean;
  suffix: string | undefined;
  rebuild: boolean;
  wait: boolean;
  server: SelectedServer;
  registry: string | undefined;
  /** A folder of this publish. */
  temp: string;
  env: NodeJS.ProcessEnv;
  progress: ProgressLine;
  /** Called for each completed step, and for each warning. */
  step(sentence: string): void;
  clock: Clock;
  signal: AbortSignal;
};

/**
 * Builds, pushes and uploads, as the publishing client of a Datagrok server does. `unusable` images failed validation: the package is published anyway.
 * Faults: PACKAGE_INVALID and SETTINGS_INVALID before anything was done; those of docker, the registry and the server.
 */
async function publishPackage(deps: PublishDeps): Promise<{ report: PublishReport; unusable: ImageOnWire[] }> {
  const { folder, release, server, registry, progress, step, clock, signal } = deps;
  await loadPackage(folder, undefined, signal);
  progress.update(`signing in to ${server.name}`);
  const login = await loginOf(server);
  const { json, definitions, warnings } = await loadPackage(folder, release ? undefined : login, signal);
  for (const warning of warnings) step(`Note: ${warning}`);
  // Check the owner of the package before the build.
  await server.asDeveloper("GET", `/packages/dev/${json.name}/timestamps`);

  const toBuild = (await runsPlainProcesses(server)) ? [] : definitions.filter(isBuilt);
  if (toBuild.length < definitions.filter(isBuilt).length) step(`${server.name} runs plain processes, without isolation: no image is built.`);
  const docker = once(() => openDockerFor(deps));
  const images: PreparedImage[] = [];
  const buildDeps = {
    packageName: json.name,
    version: release ? json.version : login,
    rebuild: deps.rebuild,
    registry,
    server,
    docker,
    env: deps.env,
    progress,
  };
  for (const definition of toBuild) {
    const prepared = await prepareImage(definition, buildDeps);
    images.push(prepared);
    step(prepared.how === "built" ? `Built ${registry === undefined ? "" : "and pushed "}${prepared.image}.` : `${prepared.image} has not changed.`);
  }
  if (images.some(({ how }) => how === "unchanged")) step("Note: images are built for changed folders alone. For a new base image, add --rebuild.");
  const zip = join(deps.temp, "package.zip");
  const published = await uploadPackage<PublishResponse>({ ...deps, name: json.name, images, zip });
  const taken = published?.images ?? [];
  const response = (published?.warnings ?? []).filter((warning) => !warnings.includes(warning));
  for (const warning of response) step(`Note: ${warning}`);
  const onStatus = ({ name, status }: ImageOnWire) => progress.update(`${name}: ${status}`);
  const validated = deps.wait ? await atOnce(MAX_PARALLEL, taken, (image) => waitUntilValidated({ server, onStatus, clock, signal }, image)) : taken;

  // What only the server's engine shows, such as another platform.
  const later = [...new Set(validated.flatMap(({ logs }) => publishWarnings(logs ?? "")))].filter(
    (warning) => ![...warnings, ...response].includes(warning) && !/^And \d+ more\.$/.test(warning),
  );
  for (const warning of later) step(`Note: ${warning}`);

  const report: PublishReport = {
    name: json.name,
    version: json.version,
    release,
    images: definitions.map((definition) => {
      const prepared = images.find((one) => one.folder === definition.folder);
      const status = validated.find(({ name }) => name === definition.image)?.status ?? null;
      return { folder: definition.folder, name: definition.image, image: prepared?.image ?? definition.ref, how: prepared?.how ?? "named", status };
    }),
    containers: (published?.containers ?? definitions.map(({ name }) => ({ name, id: "" }))).map(({ name, id }) => ({ name, id })),
    warnings: [...warnings, ...response, ...later],
  };
  return { report, unusable: validated.filter(({ status }) => status === "error") };
}

async function loginOf(server: Pick<ServerClient, "call">): Promise<string> {
  const { login } = await server.call<{ login?: string }>("GET", "/users/current");
  if (login !== undefined) return login;
  throw new Fault("INTERNAL", "The server does not return the login.");
}

/** Only administrators learn the driver, and a Datagrok server has no such route: then images are built. */
async function runsPlainProcesses(server: Pick<ServerClient, "call">): Promise<boolean> {
  try {
    return (await server.call<{ backend?: { driver?: string } }>("GET", "/admin/stand")).backend?.driver === "process";
  } catch (error) {
    if (error instanceof Fault) return false;
    throw error;
  }
}

/** Another machine cannot pull an image without a registry. Faults: SETTINGS_INVALID, ENGINE_UNREACHABLE, those of signing in to the registry. */
async function openDockerFor({ server, registry, env, temp, progress, clock, signal }: PublishDeps): Promise<DockerCommand> {
  if (registry === undefined && !server.isLocal)
    throw new Fault("SETTINGS_INVALID", `No registry is known for ${server.name}: name it by --registry, or as registry in the config file.`);
  const docker = await createDockerCommand({ env, config: join(temp, "docker"), clock, signal });
  if (registry === undefined) return docker;
  progress.update(`signing in to ${registry}`);
  await docker.login(registry, await server.key());
  return docker;
}

function once<T>(open: () => Promise<T>): () => Promise<T> {
  let opened: Promise<T> | undefined;
  return () => (opened ??= open());
}

/** Runs `work` for `count` items at a time; results are in the order of the items. */
async function atOnce<T, R>(count: number, items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async () => {
    for (let at = next++; at < items.length; at = next++) results[at] = await work(items[at] as T);
  };
  await Promise.all(Array.from({ length: Math.min(count, items.length) }, worker));
  return results;
}

/** A package in a folder, read by the server's own rules. */
type LocalPackage = { json: PackageJson; definitions: Definition[]; warnings: string[] };

/** `debugLogin` is the developer's login for a debug publish. Faults: PACKAGE_INVALID, SETTINGS_INVALID where there is no package. */
async function loadPackage(folder: string, debugLogin: string | undefined, signal: AbortSignal): Promise<LocalPackage> {
  const text = await readText(join(folder, "package.json"), "package.json", signal);
  if (text === undefined)
    throw new Fault("SETTINGS_INVALID", `There is no package.json in ${folder}. Name the folder of a package, or write one with berth init.`);
  const json = readPackageJson(text);
  const read = await findFolders(folder, signal);
  // Ignore the image.json of an earlier publish.
  const folders = read.folders.map((one) => ({ ...one, imageJson: undefined }));
  const { definitions, warnings } = defineContainers(json, folders, debugLogin);
  if (definitions.length === 0)
    throw new Fault("PACKAGE_INVALID", [`${folder} makes no container: put a Dockerfile into dockerfiles/<name>/.`, ...read.warnings].join(" "));
  return { json, definitions, warnings: [...read.warnings, ...warnings] };
}

/** False if the folder names an image that is published elsewhere. */
function isBuilt({ container }: Definition): boolean {
  return container.image === undefined;
}
