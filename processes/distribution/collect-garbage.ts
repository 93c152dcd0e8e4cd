import { execFile } from "node:child_process";
import { rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Fault } from "../../lib/fault.ts";
import { distributionConfig } from "./distribution-config.ts";
import type { Distribution } from "./find-distribution.ts";
import { processFile, rememberProcess } from "./leftover-process.ts";
import { blobFile } from "./stored-images.ts";

/** What no manifest refers to, and how many bytes of the disk that is. */
export type Collected = { blobs: string[]; bytes: number };

const LONGEST_OUTPUT = 256 * 1_048_576;

/**
 * Distribution's own garbage collection over its files. Nothing may be written meanwhile, but for a dry run: a layer that was just pushed, and
 * whose manifest is still to come, would be garbage. `folder` is for its configuration. Faults: REGISTRY_FAILED.
 */
export async function collectGarbage(options: { distribution: Distribution; folder: string; storage: string; dryRun: boolean }): Promise<Collected> {
  const { distribution, folder, storage, dryRun } = options;
  const configFile = join(folder, "garbage.yml");
  rmSync(configFile, { force: true });
  writeFileSync(configFile, distributionConfig({ storage, socket: "", secret: "", readOnly: false, level: "warn" }), { mode: 0o600 });
  const dry = await run(distribution, ["garbage-collect", "--dry-run", configFile], undefined);
  const blobs = [...dry.matchAll(/blob eligible for deletion: (sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})/g)].map(([, digest = ""]) => digest);
  const bytes = blobs.reduce((sum, digest) => sum + sizeOf(join(storage, blobFile(digest))), 0);
  if (!dryRun) await run(distribution, ["garbage-collect", configFile], processFile(folder, "garbage"));
  return { blobs, bytes };
}

/** What deletes is written down, so that it can be ended where we are killed: nothing may be pushed while it runs. */
function run({ command }: Distribution, words: string[], pidFile: string | undefined): Promise<string> {
  return new Promise((resolve, reject) => {
    const { file, args, env } = command;
    const child = execFile(file, [...args, ...words], { env, maxBuffer: LONGEST_OUTPUT }, (error, stdout, stderr) => {
      process.off("exit", end);
      if (pidFile !== undefined) rmSync(pidFile, { force: true });
      // Nothing was pushed yet.
      if (error && /Path not found: \/docker\/registry\/v2\/repositories/.test(stdout + stderr)) return resolve("");
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
