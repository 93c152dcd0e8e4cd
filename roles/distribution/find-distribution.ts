import { execFile } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import { Fault } from "../../fault.ts";

/** CNCF Distribution, the registry program, as it was found on this machine. */
export type Distribution = { program: string; version: string; lacks: readonly string[] };

/** As upstream names it, and as Debian does. */
const NAMES = ["registry", "docker-registry"];
const ASK_MS = 5_000;
/** What version 2 does not know; both came with 3. */
const LACKING_IN_2 = ["referrers", "sha512 digests"];

/**
 * The newest major version on the PATH, the first of several. Faults: REGISTRY_PROGRAM_MISSING. Another program of the same name is no
 * registry: it is known by what it answers to `--version`.
 */
export async function findDistribution(path: string): Promise<Distribution> {
  const programs = NAMES.flatMap((name) => path.split(delimiter).map((folder) => join(folder || ".", name))).filter(isProgram);
  const found = (await Promise.all(programs.map(askVersion))).filter((one) => one !== undefined);
  const [best] = found.toSorted((a, b) => major(b) - major(a));
  if (best) return best;
  const others = programs.length === 0 ? "" : ` (${programs.join(", ")} is not it)`;
  throw new Fault(
    "REGISTRY_PROGRAM_MISSING",
    `The registry of berth's own needs CNCF Distribution, as \`registry\` or \`docker-registry\` on the PATH${others}: install Debian's package docker-registry, or a release of version 3 from https://github.com/distribution/distribution/releases.`,
  );
}

/** `registry github.com/distribution/distribution/v3 v3.0.0`, `docker-registry github.com/docker/distribution 2.8.3+ds1`. */
export function readVersion(said: string): string | undefined {
  return /\/distribution(?:\/v\d+)? v?(\d+\.\d+\S*)/.exec(said)?.[1];
}

function askVersion(program: string): Promise<Distribution | undefined> {
  return new Promise((resolve) => {
    execFile(program, ["--version"], { timeout: ASK_MS, killSignal: "SIGKILL", env: {} }, (_error, stdout) => {
      const version = readVersion(stdout);
      resolve(version === undefined ? undefined : { program, version, lacks: Number.parseInt(version, 10) < 3 ? LACKING_IN_2 : [] });
    });
  });
}

function major({ version }: Distribution): number {
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
