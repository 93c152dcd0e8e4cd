import { execFile } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import { isSea } from "node:sea";
import { Fault } from "../../lib/fault.ts";
import type { ImageRun } from "./run-image.ts";

/** CNCF Distribution, the registry program, as it was found on this machine. */
export type DistributionProgram = {
  /** Its path, or its image. */
  program: string;
  version: string;
  lacks: readonly string[];
  command: DistributionCommand;
};

/** How it is run: `args` come before its own words. */
type DistributionCommand = {
  file: string;
  args: readonly string[];
  env: NodeJS.ProcessEnv;
  /** What ends it at once, where nobody can wait for it any more. */
  end: NodeJS.Signals;
  /** Removes what was left behind that is no process of ours. */
  clear(): Promise<void>;
};

/** As upstream names it, and as Debian does. */
const NAMES = ["registry", "docker-registry"];
const ASK_MS = 5_000;
/** An image has to be there first. */
const PULL_MS = 10 * 60_000;
/** What version 2 does not know; both came with 3. */
const LACKING_IN_2 = ["referrers", "sha512 digests"];

/**
 * The newest major version on the PATH, the first of several; else the image, where there is an engine. Faults: REGISTRY_PROGRAM_MISSING.
 * Another program of the same name is no registry: it is known by what it answers to `--version`.
 */
export async function findDistribution(path: string, image?: ImageRun): Promise<DistributionProgram> {
  const programs = NAMES.flatMap((name) => path.split(delimiter).map((folder) => join(folder || ".", name))).filter(isProgram);
  const asked = await Promise.all(programs.map((program) => askVersion(program, commandOf(program), ASK_MS)));
  const [best] = asked.flatMap((one) => (one instanceof Error ? [] : [one])).toSorted((a, b) => major(b) - major(a));
  if (best) return best;
  const found = image && (await askVersion(`image ${image.image}`, imageCommand(image), PULL_MS));
  if (found && !(found instanceof Error)) return found;
  const others = programs.length === 0 ? "" : ` (${programs.join(", ")} is not it)`;
  const noImage = found === undefined ? "" : ` Its image cannot be run instead: ${found.message}`;
  throw new Fault(
    "REGISTRY_PROGRAM_MISSING",
    `The registry of berth's own needs CNCF Distribution, as \`registry\` or \`docker-registry\` on the PATH${others}: install Debian's package docker-registry, or a release of version 3 from https://github.com/distribution/distribution/releases.${noImage}`,
  );
}

/** Every REGISTRY_ variable would change its configuration, and version 3 would send traces to a port of this machine. */
const ENV = { OTEL_TRACES_EXPORTER: "none" };

function commandOf(file: string): DistributionCommand {
  return { file, args: [], env: ENV, end: "SIGKILL", clear: async () => {} };
}

/** Killed outright, its runner could not end the container. */
function imageCommand(run: ImageRun): DistributionCommand {
  const args = [isSea() ? "registry-image" : join(import.meta.dirname, "run-image.ts"), JSON.stringify(run)];
  const clear = () =>
    new Promise<void>((resolve, reject) => {
      execFile(process.execPath, args, { env: {} }, (error, _stdout, stderr) =>
        error ? reject(new Fault("REGISTRY_FAILED", stderr.trim() || error.message, { cause: error })) : resolve(),
      );
    });
  return { file: process.execPath, args, env: {}, end: "SIGTERM", clear };
}

/** `registry github.com/distribution/distribution/v3 v3.0.0`, `docker-registry github.com/docker/distribution 2.8.3+ds1`. */
function readVersion(said: string): string | undefined {
  return /\/distribution(?:\/v\d+)? v?(\d+\.\d+\S*)/.exec(said)?.[1];
}

function askVersion(program: string, command: DistributionCommand, timeout: number): Promise<DistributionProgram | Error> {
  return new Promise((resolve) => {
    execFile(command.file, [...command.args, "--version"], { timeout, killSignal: command.end, env: command.env }, (error, stdout, stderr) => {
      const version = readVersion(stdout);
      if (version === undefined) resolve(new Error(stderr.trim() || (error?.message ?? "it does not say which version it is.")));
      else resolve({ program, version, lacks: Number.parseInt(version, 10) < 3 ? LACKING_IN_2 : [], command });
    });
  });
}

function major({ version }: DistributionProgram): number {
  return Number.parseInt(version, 10);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
