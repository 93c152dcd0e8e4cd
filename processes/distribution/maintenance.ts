import { once } from "node:events";
import { rmSync, chmodSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultData } from "../../lib/fault.ts";
import { type HttpFailure, requestSocket } from "../../lib/http-client.ts";
import type { Log } from "../../lib/log.ts";
import type { OwnRegistry } from "./open-distribution.ts";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { distributionConfig, type DistributionProgram } from "./distribution-program.ts";
import { processFile, rememberProcess } from "./supervise-distribution.ts";
import type { RegistryStorage } from "./registry-storage.ts";
import { blobFile } from "./stored-images.ts";

/** How long a collection may take: it reads every manifest there is. */
const LONGEST_MS = 6 * 3_600_000;

/**
 * Collects garbage of the running registry on request: only the process that supervises it can refuse writes meanwhile. It listens on a Unix socket in a
 * folder of this user alone.
 */
export async function openMaintenance(options: { socket: string; registry: OwnRegistry; log: Log }): Promise<{ close(): Promise<void> }> {
  const { socket, registry, log } = options;
  const server = createServer((request, answer) => {
    request.resume();
    if (request.method !== "POST" || request.url !== "/garbage") return void answer.writeHead(404).end();
    void collect().catch((error: unknown) => {
      const fault =
        error instanceof Fault ? error : new Fault("REGISTRY_FAILED", "Garbage cannot be collected: berth's log says why.", { cause: error });
      if (fault.code !== "REGISTRY_BUSY") log.error({ err: error }, "garbage cannot be collected");
      answer.writeHead(fault.status).end(JSON.stringify(fault.toJSON()));
    });
    async function collect(): Promise<void> {
      const result = await registry.whileReadOnly(() => {
        log.info({}, "garbage is collected: nothing can be pushed or deleted meanwhile");
        return collectGarbage({ ...registry, dryRun: false });
      });
      log.info({ blobs: result.blobs.length, bytes: result.bytes }, "garbage was collected");
      answer.end(JSON.stringify(result));
    }
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

/** What no manifest refers to, and how many bytes of the disk that is; null: the storage is no folder. */
export type CollectedGarbage = { blobs: string[]; bytes: number | null };

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
}): Promise<CollectedGarbage> {
  const { distribution, folder, storage, dryRun } = options;
  const configFile = join(folder, "garbage.yml");
  rmSync(configFile, { force: true });
  writeFileSync(configFile, distributionConfig({ storage, socket: "", secret: "", readOnly: false, level: "warn" }), { mode: 0o600 });
  const dry = await run(distribution, ["garbage-collect", "--dry-run", configFile], undefined);
  const blobs = [...dry.matchAll(/blob eligible for deletion: (sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})/g)].map(([, digest = ""]) => digest);
  const bytes = storage.kind === "folder" ? blobs.reduce((sum, digest) => sum + sizeOf(join(storage.folder, blobFile(digest))), 0) : null;
  if (!dryRun) await run(distribution, ["garbage-collect", configFile], processFile(folder, "garbage"));
  return { blobs, bytes };
}

/** What deletes is written down, so that it can be ended where we are killed: nothing may be pushed while it runs. */
function run({ command }: DistributionProgram, words: string[], pidFile: string | undefined): Promise<string> {
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
    const end = () => void child.kill(command.end);
    process.once("exit", end);
    if (pidFile !== undefined && child.pid !== undefined) rememberProcess(pidFile, child.pid);
  });
}

function sizeOf(file: string): number {
  try {
    return statSync(file).size;
  } catch {
    return 0;
  }
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
  throw failed(`the registry answered ${reply.status}`);
}
