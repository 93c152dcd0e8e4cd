import { once } from "node:events";
import { rmSync, chmodSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import type { RegistryGarbageDeps } from "../../control/api/api-deps.ts";
import { isoDate } from "../../control/api/entities.ts";
import type { GarbageJson, RetentionRunJson } from "../../control/api/schemas.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultData } from "../../lib/fault.ts";
import { type HttpFailure, requestSocket } from "../../lib/http-client.ts";
import type { Log } from "../../lib/log.ts";
import type { OwnRegistry } from "./open-distribution.ts";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { distributionConfig, type DistributionProgram } from "./distribution-program.ts";
import { processFile, rememberProcess } from "./supervise-distribution.ts";
import { type RegistryStorage, storageName } from "./registry-storage.ts";
import { parseTagRule, retainImages } from "./retention.ts";
import { blobFile, repairLinks, sizeOf } from "./stored-images.ts";
import { DIGEST_PATTERN } from "../../lib/registry-client/digest.ts";

/** How long a collection may take: it reads every manifest there is. */
const LONGEST_MS = 6 * 3_600_000;

/** What a collection does at the moment. */
export type GarbageProgress = Pick<NonNullable<GarbageJson["running"]>, "phase" | "deleted" | "total">;

const MOST_LARGEST = 20;

type GarbageRuns = {
  status(): GarbageJson;
  /** Begins a run; `ended` resolves with its result. Faults, at once: REGISTRY_BUSY if one runs. Faults of `ended`: those of collecting. */
  start(options: { dryRun: boolean }): { ended: Promise<CollectedGarbage> };
};

function createGarbageRuns({ registry, clock, log }: { registry: OwnRegistry; clock: Clock; log: Log }): GarbageRuns {
  const { storage } = registry;
  let running: GarbageJson["running"] = null;
  let last: GarbageJson["last"] = null;
  const collect = async (dryRun: boolean, onProgress: (progress: GarbageProgress) => void): Promise<CollectedGarbage> => {
    if (dryRun) return collectGarbage({ ...registry, dryRun, onProgress });
    onProgress({ phase: "refusing pushes", deleted: 0, total: null });
    return registry.whileReadOnly(async () => {
      log.info({}, "garbage is collected: nothing can be pushed or deleted meanwhile");
      const collected = await collectGarbage({ ...registry, dryRun, onProgress });
      log.info({ blobs: collected.blobs.length, bytes: collected.bytes }, "garbage was collected");
      onProgress({ phase: "accepting pushes", deleted: collected.blobs.length, total: collected.blobs.length });
      return collected;
    });
  };
  const end = (dryRun: boolean, { blobs, bytes, largest = [] }: CollectedGarbage, failure: string | null) => {
    last = { dryRun, endedOn: isoDate(clock.now()), blobs: blobs.length, bytes, largest, failure };
  };
  const run = async (dryRun: boolean, onProgress: (progress: GarbageProgress) => void): Promise<CollectedGarbage> => {
    try {
      const collected = await collect(dryRun, onProgress);
      end(dryRun, collected, null);
      return collected;
    } catch (error) {
      end(dryRun, { blobs: [], bytes: null }, error instanceof Fault ? error.message : "An internal error occurred: berth's log has it.");
      throw error;
    } finally {
      running = null;
    }
  };
  return {
    status: () => ({ storage: storageName(storage), isShared: storage.isShared, running, last }),
    start: ({ dryRun }) => {
      if (running) throw new Fault("REGISTRY_BUSY", `${running.dryRun ? "Garbage is being counted" : "Garbage is being collected"} already.`);
      const startedOn = isoDate(clock.now());
      const onProgress = (progress: GarbageProgress) => void (running = { ...progress, dryRun, startedOn });
      onProgress({ phase: "reading manifests", deleted: 0, total: null });
      return { ended: run(dryRun, onProgress) };
    },
  };
}

type MaintenanceOptions = {
  socket: string;
  registry: OwnRegistry;
  /** Where the registry itself answers. */
  registrySocket: string;
  clock: Clock;
  log: Log;
};

/**
 * Collects garbage and applies retention rules of the running registry on request: only the process that supervises it can refuse writes meanwhile. It listens on a Unix socket in a
 * folder of this user alone.
 */
export async function openMaintenance(options: MaintenanceOptions): Promise<{ close(): Promise<void> }> {
  const { socket, log } = options;
  const runs = createGarbageRuns(options);
  const toFault = (error: unknown) =>
    error instanceof Fault ? error : new Fault("REGISTRY_FAILED", "The registry's maintenance failed: see berth's log.", { cause: error });
  const logFailure = (error: unknown) => {
    if (toFault(error).code !== "REGISTRY_BUSY") log.error({ err: error }, "garbage cannot be collected");
  };
  const start = (dryRun: boolean) => {
    const { ended } = runs.start({ dryRun });
    ended.catch(logFailure);
    return ended;
  };
  let isRetaining = false;
  const retainOnce = async (text: string): Promise<RetentionRunJson> => {
    if (isRetaining) throw new Fault("REGISTRY_BUSY", "The rules are being applied already.");
    isRetaining = true;
    try {
      return await applyRules(options, JSON.parse(text) as RetentionRequest);
    } finally {
      isRetaining = false;
    }
  };
  const answerOf = async (route: string, request: IncomingMessage): Promise<object | undefined> => {
    switch (route) {
      case "POST /retention":
        return retainOnce(await readText(request));
      // Waits for the end.
      case "POST /garbage": {
        const { blobs, bytes } = await start(false);
        return { blobs, bytes };
      }
      case "GET /garbage":
        return runs.status();
      case "POST /garbage/dry-run":
      case "POST /garbage/start":
        void start(route === "POST /garbage/dry-run");
        return runs.status();
      default:
        return undefined;
    }
  };
  const server = createServer((request, answer) => {
    const answering = answerOf(`${request.method} ${request.url}`, request);
    request.resume();
    answering.then(
      (body) => (body ? answer.end(JSON.stringify(body)) : answer.writeHead(404).end()),
      (error: unknown) => {
        const fault = toFault(error);
        answer.writeHead(fault.status).end(JSON.stringify(fault.toJSON()));
      },
    );
  });
  server.requestTimeout = 0;
  rmSync(socket, { force: true });
  server.listen(socket);
  await once(server, "listening");
  chmodSync(socket, 0o600);
  return {
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

/** `used`: references that containers and kept versions of packages have. */
export type RetentionRequest = { rules: readonly string[]; used: readonly string[]; dryRun: boolean };

const MOST_LISTED = 200;
const MOST_FAILURES = 20;

/** Removes images of the running registry by rules. Faults: SETTINGS_INVALID, those of deleting. */
async function applyRules(
  { registry: { storage }, registrySocket, clock, log }: MaintenanceOptions,
  { rules, used, dryRun }: RetentionRequest,
): Promise<RetentionRunJson> {
  if (storage.kind !== "folder")
    throw new Fault(
      "SETTINGS_INVALID",
      `${storageName(storage)} does not show when a tag was pushed: BERTH_REGISTRY_RETENTION needs images in a folder.`,
    );
  const remove = (repository: string, digest: string) => deleteManifest({ socketPath: registrySocket, clock }, repository, digest);
  const run = await retainImages(storage.folder, { rules: rules.map(parseTagRule), used, now: clock.now(), dryRun, remove });
  const { kept, removable } = run;
  const failures = run.failures.slice(0, MOST_FAILURES).map(({ why }) => why);
  if (run.failures.length > 0) log.warn({ failures }, "retention rules leave repositories as they are");
  if (!dryRun && removable.length > 0) log.info({ images: removable.length }, "images were removed by retention rules");
  return { dryRun, endedOn: isoDate(clock.now()), removed: removable.length, kept: kept.length, images: removable.slice(0, MOST_LISTED), failures };
}

const LONGEST_REQUEST = 64 * 1_048_576;

async function readText(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of request as AsyncIterable<Buffer>) {
    size += piece.length;
    if (size > LONGEST_REQUEST) throw new Fault("REQUEST_INVALID", `The request is larger than ${LONGEST_REQUEST} bytes.`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString("utf8");
}

/** How long the rules may take: of each image that goes, one request. */
const RETENTION_MS = 30 * 60_000;

/** Has the registry of this machine apply rules. Undefined if none runs here. Faults: those of applying, REGISTRY_FAILED. */
export async function requestRetention(socketPath: string, clock: Clock, body: RetentionRequest): Promise<RetentionRunJson | undefined> {
  const toFault = ({ why, cause }: HttpFailure) => new Fault("REGISTRY_FAILED", `The registry of this machine does not answer: ${why}.`, { cause });
  const client = { socketPath, clock, maxBytes: LONGEST_REQUEST, timeoutMs: RETENTION_MS, toFault };
  const reply = await requestSocket(client, { method: "POST", url: "http://localhost/retention", body: JSON.stringify(body) });
  if (reply === undefined) return undefined;
  const result = JSON.parse(reply.text()) as RetentionRunJson | FaultData;
  if ("code" in result) throw Fault.from(result);
  return result;
}

/** Has the running berth collect garbage. Undefined if none runs. Faults: those of collecting, REGISTRY_FAILED. */
export async function requestCollection(socketPath: string, clock: Clock): Promise<CollectedGarbage | undefined> {
  const toFault = ({ cause }: HttpFailure) => new Fault("REGISTRY_FAILED", "The berth that runs ended before it had collected garbage.", { cause });
  const client = { socketPath, clock, maxBytes: LONGEST_OUTPUT, timeoutMs: LONGEST_MS, toFault };
  const reply = await requestSocket(client, { method: "POST", url: "http://localhost/garbage" });
  if (reply === undefined) return undefined;
  const result = JSON.parse(reply.text()) as CollectedGarbage | FaultData;
  if ("code" in result) throw Fault.from(result);
  return result;
}

/** A registry process answers from memory. */
const STATUS_MS = 10_000;

/** The collections of the registry that runs on this machine, from another process. */
export function createRegistryGarbage(socketPath: string, clock: Clock): RegistryGarbageDeps {
  const toFault = ({ why, cause }: HttpFailure) => new Fault("REGISTRY_FAILED", `The registry of this machine does not answer: ${why}.`, { cause });
  const call = async (method: "GET" | "POST", path: string): Promise<GarbageJson | undefined> => {
    const client = { socketPath, clock, maxBytes: MAX_BYTES, timeoutMs: STATUS_MS, toFault };
    const reply = await requestSocket(client, { method, url: `http://localhost${path}` });
    if (reply === undefined) return undefined;
    const result = JSON.parse(reply.text()) as GarbageJson | FaultData;
    if ("code" in result) throw Fault.from(result);
    return result;
  };
  return {
    status: () => call("GET", "/garbage"),
    start: ({ dryRun }) => call("POST", dryRun ? "/garbage/dry-run" : "/garbage/start"),
  };
}

/** What no manifest refers to, and how many bytes of the disk that is; null: the storage is no folder. */
export type CollectedGarbage = { blobs: string[]; bytes: number | null; largest?: { digest: string; bytes: number }[] };

const LONGEST_OUTPUT = 256 * 1_048_576;

/**
 * Distribution's own garbage collection over its storage. Nothing may be written meanwhile, but for a dry run: a layer that was just pushed, and
 * whose manifest is still to come, would be garbage. `folder` is for its configuration. Faults: REGISTRY_FAILED.
 */
export async function collectGarbage(options: {
  distribution: DistributionProgram;
  folder: string;
  storage: RegistryStorage;
  dryRun: boolean;
  onProgress?: (progress: GarbageProgress) => void;
}): Promise<CollectedGarbage> {
  const { distribution, folder, storage, dryRun, onProgress } = options;
  const configFile = join(folder, "garbage.yml");
  rmSync(configFile, { force: true });
  writeFileSync(configFile, distributionConfig({ storage, socket: "", secret: "", readOnly: false, level: "warn" }), { mode: 0o600 });
  onProgress?.({ phase: "reading manifests", deleted: 0, total: null });
  if (!dryRun && storage.kind === "folder") await repairLinks(storage.folder);
  const dry = await run(distribution, ["garbage-collect", "--dry-run", configFile], undefined).catch((error: unknown) => {
    if (!dryRun || !(error instanceof Fault) || !/invalid checksum digest|failed to retrieve manifest/.test(error.message)) throw error;
    const sentence =
      "The images have an empty link or manifest, for example after a full disk, so garbage cannot be counted. A collection repairs it.";
    throw new Fault("REGISTRY_FAILED", sentence, { cause: error });
  });
  const blobs = [...dry.matchAll(new RegExp(`blob eligible for deletion: (${DIGEST_PATTERN})`, "g"))].map(([, digest = ""]) => digest);
  const sizes = storage.kind === "folder" ? await sizesOf(storage.folder, blobs) : undefined;
  const bytes = sizes ? sizes.reduce((sum, blob) => sum + blob.bytes, 0) : null;
  const largest = sizes?.toSorted((one, other) => other.bytes - one.bytes).slice(0, MOST_LARGEST);
  if (!dryRun) {
    let deleted = 0;
    // It prints a line before it deletes a blob.
    const onOutput = (text: string) => {
      deleted = Math.min(blobs.length, deleted + (text.match(/blob eligible for deletion/g)?.length ?? 0));
      onProgress?.({ phase: "deleting", deleted, total: blobs.length });
    };
    onOutput("");
    await run(distribution, ["garbage-collect", configFile], processFile(folder, "garbage"), onOutput);
  }
  return { blobs, bytes, ...(largest ? { largest } : {}) };
}

/** What deletes is written down, so that it can be ended where we are killed: nothing may be pushed while it runs. */
function run({ command }: DistributionProgram, words: string[], pidFile: string | undefined, onOutput?: (text: string) => void): Promise<string> {
  return new Promise((resolve, reject) => {
    const { file, args, env } = command;
    const child = execFile(file, [...args, ...words], { env, maxBuffer: LONGEST_OUTPUT }, (error, stdout, stderr) => {
      process.off("exit", end);
      if (pidFile !== undefined) rmSync(pidFile, { force: true });
      // Nothing was pushed yet.
      if (error && /Path not found: \S*\/docker\/registry\/v2\/repositories/.test(stdout + stderr)) return resolve("");
      if (error) return reject(new Fault("REGISTRY_FAILED", `Distribution cannot collect garbage: ${lastLine(stderr || stdout)}`, { cause: error }));
      resolve(stdout);
    });
    if (onOutput) child.stdout?.on("data", (chunk: Buffer | string) => onOutput(String(chunk)));
    const end = () => void child.kill(command.end);
    process.once("exit", end);
    if (pidFile !== undefined && child.pid !== undefined) rememberProcess(pidFile, child.pid);
  });
}

async function sizesOf(storage: string, blobs: readonly string[]): Promise<{ digest: string; bytes: number }[]> {
  const sizes: { digest: string; bytes: number }[] = [];
  for (const digest of blobs) sizes.push({ digest, bytes: await sizeOf(join(storage, blobFile(digest))) });
  return sizes;
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1)?.slice(0, 500) ?? "";
}

const ANSWER_MS = 60_000;
const MAX_BYTES = 65_536;

/**
 * Deletes an image by its digest, and with it all of its tags; one that is not there is deleted already. Its layers stay until garbage is
 * collected. Faults: REGISTRY_FAILED, REGISTRY_BUSY while garbage is collected.
 */
export async function deleteManifest(at: { socketPath: string; clock: Clock }, repository: string, digest: string): Promise<void> {
  const failed = (why: string, cause?: unknown) => new Fault("REGISTRY_FAILED", `${repository}@${digest} cannot be deleted: ${why}.`, { cause });
  const client = { ...at, maxBytes: MAX_BYTES, timeoutMs: ANSWER_MS, toFault: ({ why, cause }: HttpFailure) => failed(why, cause) };
  const reply = await requestSocket(client, { method: "DELETE", url: `http://localhost/v2/${repository}/manifests/${digest}` });
  if (reply === undefined) throw failed("the registry does not run");
  if (reply.status === 202 || reply.status === 404) return;
  if (reply.status === 405) throw new Fault("REGISTRY_BUSY", "Garbage is being collected, so nothing can be deleted: try again after that.");
  // For example a link of this repository that a full disk left empty.
  throw failed(`the registry answered ${reply.status}${reply.status === 500 ? "; a garbage collection may repair that" : ""}`);
}
