import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { findFolders, type PublishedFolder } from "../../control/packages/publish/folders.ts";
import { imageName, imageRepository, containerName, releaseTag } from "../../control/model/names.ts";
import { readinessOfHealthcheck } from "../../lib/image-healthcheck.ts";
import { zipOf } from "../fixtures/berth.ts";
import { eventually } from "../fixtures/eventually.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { callContainer, type DatabaseUser } from "./call-container.ts";
import { findLookUps } from "./look-ups.ts";
import type { PackageServer } from "./open-server.ts";
import type { PackageTarball } from "./read-tarball.ts";
import { buildFolderImage, type FolderImage } from "./stand-in-images.ts";
import type { TrialRow } from "./print-table.ts";

const IMAGE_MS = 120_000;

type Connection = { parameters?: { db?: string }; credentials?: { parameters?: { login?: string; password?: string } } };

/** A row for each folder, and the look-ups in the package's own code that find none of its containers. */
export type PackageTrial = { rows: TrialRow[]; missing: string[] };

/** Publishes one package as the publishing client does, then starts, calls and stops each of its containers. */
export async function tryPackage(server: PackageServer, base: string, tarball: PackageTarball, signal: AbortSignal): Promise<PackageTrial> {
  const cleanups: (() => void)[] = [];
  const root = tempFolder({ teardown: (act: () => void) => cleanups.push(act) });
  const { name } = tarball;
  try {
    for (const [path, content] of tarball.files) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), content);
    }
    const { folders } = await findFolders(root, signal);
    const rows = new Map(folders.map((folder) => [folder, emptyRow(tarball, folder)]));
    const images = new Map<PublishedFolder, FolderImage>();
    for (const [folder, row] of rows) {
      await recordFailure(row, async () => {
        const image = await buildAndPush(server, base, tarball, folder);
        images.set(folder, image);
        row.replaced = image.replaced;
        row.kind = image.standIn.kind + (image.standIn.webSockets.length > 0 ? ", WebSocket" : "");
        row.port = portCell(image, folder);
      });
    }
    const published = await publish(server, tarball, folders);
    for (const [folder, row] of rows) {
      row.warnings = published.filter((warning) => warning.startsWith(pathIn(folder.folder))).join(" ");
      const image = images.get(folder);
      if (image === undefined) continue;
      const container = containerName(name, folder.folder);
      await recordFailure(row, () => tryContainer(server, container, { folder, image, files: tarball.files }, row));
      if (row.failed !== "") row.failed += ` ${await explainAndStop(server, container)}`;
    }
    return { rows: [...rows.values()], missing: await checkLookUps(server, tarball, [...rows.values()]) };
  } catch (error) {
    return { rows: [{ ...emptyRow(tarball, { folder: "" }), folder: "", failed: messageOf(error) }], missing: [] };
  } finally {
    for (const act of cleanups) act();
  }
}

/** `folder` is empty for a Dockerfile directly in `dockerfiles/`. */
function pathIn(folder: string, file = ""): string {
  return ["dockerfiles", folder, file].filter((part) => part !== "").join("/");
}

async function buildAndPush(
  server: PackageServer,
  base: string,
  { name, version, files }: PackageTarball,
  folder: PublishedFolder,
): Promise<FolderImage> {
  const below = `${pathIn(folder.folder)}/`;
  const isSource = (path: string) => path.startsWith(below) && /\.(?:py|[cm]?[jt]s)$/.test(path);
  const sources = new Map([...files].filter(([path]) => isSource(path)).map(([path, content]) => [path.slice(below.length), content.toString()]));
  const image = imageName(name, folder.folder);
  const ref = `berth-test/packages-${image}:${process.pid}`;
  const built = await buildFolderImage(server.engine.docker, { ref, base, folder: folder.at, dockerfile: folder.dockerfile, sources });
  await server.push(ref, ownImage(name, version, folder));
  return built;
}

function ownImage(name: string, version: string, { folder, hash }: PublishedFolder): string {
  return `${imageRepository(imageName(name, folder))}:${releaseTag(version, hash)}`;
}

/** Uploads the ZIP that the publishing client makes. Returns the warnings. */
async function publish(server: PackageServer, { name, version, files }: PackageTarball, folders: readonly PublishedFolder[]): Promise<string[]> {
  const zip: Record<string, string | Uint8Array> = Object.fromEntries(files);
  for (const folder of folders)
    zip[pathIn(folder.folder, "image.json")] = JSON.stringify({
      image: ownImage(name, version, folder),
      fallback: false,
      requestedVersion: version,
    });
  const { berth } = server;
  const response = await fetch(`${berth.api}/packages/dev/${name}?debug=false&rebuild=false&dropDb=false`, {
    method: "POST",
    headers: { authorization: `Dev ${berth.key}` },
    body: await zipOf(zip),
  });
  const answer = (await response.json()) as { warnings?: string[]; message?: string };
  if (response.status !== 200 || answer.warnings === undefined) throw new Error(`the publish is refused: ${response.status} ${answer.message}`);
  return answer.warnings;
}

/** Waits for the image, starts the container as its users would, calls it, reads its log, and stops it. */
async function tryContainer(
  { berth, engine }: PackageServer,
  name: string,
  { folder, image, files }: { folder: PublishedFolder; image: FolderImage; files: PackageTarball["files"] },
  row: TrialRow,
): Promise<void> {
  const judged = await eventually(
    `the image of ${name} to be validated`,
    async () => {
      const entity = await berth.container(name);
      return ["ready", "error"].includes(entity.dockerfile.status) ? entity : undefined;
    },
    IMAGE_MS,
  );
  if (judged.dockerfile.status === "error") throw new Error(`the image is not ready: ${judged.dockerfile.logs}`);
  const { id, serviceName } = judged;
  const { kind } = image.standIn;

  const call = () => callContainer(berth, id, image.standIn, databaseUser(files));
  const begun = performance.now();
  const wakes = kind !== "worker" && folder.container.config.onDemand;
  if (wakes) row.response = await call();
  else {
    const started = await berth.call(`/docker/containers/${id}/run?awaitStart=true`);
    if (started.status >= 400) throw new Error(`run: ${started.status} ${messageIn(await started.text())}`);
  }
  const by = wakes ? (kind === "database" ? "a TCP connection" : "a request") : "run";
  row.started = `${((performance.now() - begun) / 1_000).toFixed(1)} s by ${by}`;
  if (!wakes) row.response = await call();
  const { status, note } = await berth.container(name);
  if (status !== "started") throw new Error(`its status is ${status} after the start`);
  row.readiness = [...(kind === "worker" ? [] : [readinessCell(image)]), ...(note ? [note] : [])].join("; ");

  const logs = await eventually("its log", async () => (await berth.call(`/docker/containers/${id}/logs?limit=10000`)).text());
  row.logs = `${logs.trim().split("\n").length} lines`;
  await berth.call(`/docker/containers/${id}/stop?awaitStop=true`);
  const stopped = await berth.container(name);
  const left = await engine.docker.listContainers({ filters: { name: [serviceName] } });
  if (left.length > 0) throw new Error(`it runs after the stop; its status is ${stopped.status}`);
  row.stopped = stopped.status;
}

/** Why berth has it in its state, after a failure; and nothing of it is left running. */
async function explainAndStop({ berth }: PackageServer, name: string): Promise<string> {
  try {
    const { id } = await berth.container(name);
    const { why } = (await (await berth.call(`/docker/containers/${id}/explain`)).json()) as { why: string };
    await berth.call(`/docker/containers/${id}/stop?awaitStop=true`);
    return `berth explain: ${why}`;
  } catch (error) {
    return messageOf(error);
  }
}

/** Each look-up of the package's own code must find one of its containers first, as its plugin takes the first one. */
async function checkLookUps({ berth }: PackageServer, { name, clientSources }: PackageTarball, rows: readonly TrialRow[]): Promise<string[]> {
  const missing: string[] = [];
  const own = new Map(rows.map((row) => [containerName(name, row.folder === ROOT ? "" : row.folder), row]));
  for (const { filter, path } of findLookUps(clientSources, name)) {
    const response = await berth.call(`/docker/containers?text=${encodeURIComponent(encodeURIComponent(filter))}`);
    const [first] = (await response.json()) as { name: string }[];
    const row = own.get(first?.name ?? "");
    if (row) row.lookUps = [row.lookUps, `\`${filter}\``].filter((text) => text !== "").join(", ");
    else missing.push(`${name} ${path}: \`${filter}\` finds ${first?.name ?? "nothing"}`);
  }
  return missing;
}

/** How the table names a Dockerfile directly in `dockerfiles/`. */
const ROOT = "(root)";
const CELLS = ["keys", "kind", "port", "readiness", "started", "response", "logs", "stopped", "lookUps", "warnings", "replaced", "failed"] as const;
const NOTHING = Object.fromEntries(CELLS.map((cell) => [cell, ""])) as Record<(typeof CELLS)[number], string>;

function emptyRow({ name, version, files }: PackageTarball, { folder }: Pick<PublishedFolder, "folder">): TrialRow {
  const text = files.get(pathIn(folder, "container.json"))?.toString() ?? "";
  const keys = text.trim() === "" ? {} : (JSON.parse(text) as Record<string, unknown>);
  const pairs = Object.entries(keys).map(([key, value]) => `${key} ${typeof value === "object" ? JSON.stringify(value) : String(value)}`);
  return { ...NOTHING, package: name, version, folder: folder === "" ? ROOT : folder, keys: pairs.join(", ") };
}

/** As the connection of the package says that leads to one of its containers: its `server` ends in `<DockerContainer>}`. */
function databaseUser(files: PackageTarball["files"]): DatabaseUser {
  for (const [path, content] of files) {
    if (!path.startsWith("connections/") || !content.includes("<DockerContainer>")) continue;
    const { parameters = {}, credentials } = JSON.parse(content.toString()) as Connection;
    const { login = "", password = "" } = credentials?.parameters ?? {};
    return { user: login, password, database: parameters.db ?? "" };
  }
  return { user: "postgres", password: "", database: "postgres" };
}

function readinessCell({ standIn, config: { Healthcheck } }: FolderImage): string {
  if (Healthcheck?.Test) {
    const asRequest = readinessOfHealthcheck({ test: Healthcheck.Test });
    return asRequest === undefined ? "HEALTHCHECK" : `HEALTHCHECK, as GET ${asRequest.path}`;
  }
  return standIn.kind === "database" ? "port, then sessions" : "port";
}

function portCell({ standIn, config }: FolderImage, folder: PublishedFolder): string {
  const exposed = Object.keys(config.ExposedPorts ?? {}).map((port) => Number.parseInt(port, 10));
  const declared = folder.container.config.port ?? exposed[0];
  if (standIn.kind === "worker") return `none; EXPOSE ${declared ?? "none"}`;
  return standIn.port === declared ? `${standIn.port}` : `${standIn.port} (${standIn.portFrom}); EXPOSE ${declared ?? "none"}`;
}

async function recordFailure(row: TrialRow, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    row.failed = messageOf(error);
  }
}

/** Of an error of the API, the sentence and the log tail. */
function messageIn(text: string): string {
  try {
    const { message = "", innerMessage = "" } = JSON.parse(text) as { message?: string; innerMessage?: string };
    return `${message} ${innerMessage}`.trim();
  } catch {
    return text;
  }
}

function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n").slice(0, 1).join(" ").slice(0, 300);
}
