import { execFile } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import { isSea } from "node:sea";
import { Fault } from "../../lib/fault.ts";
import { type RegistryStorage, storageConfig } from "./registry-storage.ts";
import type { EngineAddress } from "../../drivers/engine/engine.ts";
import type { LogLevel } from "../../lib/log.ts";

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
  /** The signal that ends it at once. */
  end: NodeJS.Signals;
  /** Removes what was left behind that is no process of ours. */
  clear(): Promise<void>;
};

/** An image of it on a Docker engine. `mounts` are folders at the same path in the container; `owner` names whose containers they are. */
export type ImageRun = {
  image: string;
  engine: EngineAddress;
  owner: string;
  mounts: readonly string[];
  /** It has the network of the machine, to reach its storage. Otherwise none: its clients use a socket. */
  hasNetwork?: boolean;
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
 * Another program of the same name is no registry: it is known by what it answers to `--version`. `env`: further variables of the program.
 */
export async function findDistribution(path: string, image?: ImageRun, env: NodeJS.ProcessEnv = {}): Promise<DistributionProgram> {
  const programs = NAMES.flatMap((name) => path.split(delimiter).map((folder) => join(folder || ".", name))).filter(isProgram);
  const candidates = await Promise.all(programs.map((program) => loadVersion(program, commandOf(program, env), ASK_MS)));
  const [best] = candidates.flatMap((one) => (one instanceof Error ? [] : [one])).toSorted((a, b) => major(b) - major(a));
  if (best) return best;
  const fromImage = image && (await loadVersion(`image ${image.image}`, imageCommand(image), PULL_MS));
  if (fromImage && !(fromImage instanceof Error)) return fromImage;
  const others = programs.length === 0 ? "" : ` (${programs.join(", ")} is not it)`;
  const noImage = fromImage === undefined ? "" : ` Its image cannot be run instead: ${fromImage.message}`;
  throw new Fault(
    "REGISTRY_PROGRAM_MISSING",
    `The registry of berth's own needs CNCF Distribution, as \`registry\` or \`docker-registry\` on the PATH${others}: install Debian's package docker-registry, or a release of version 3 from https://github.com/distribution/distribution/releases.${noImage}`,
  );
}

/** Every REGISTRY_ variable would change its configuration, and version 3 would send traces to a port of this machine. */
const ENV = { OTEL_TRACES_EXPORTER: "none" };

function commandOf(file: string, env: NodeJS.ProcessEnv): DistributionCommand {
  return { file, args: [], env: { ...env, ...ENV }, end: "SIGKILL", clear: async () => {} };
}

/** Killed outright, its runner could not end the container. */
function imageCommand(run: ImageRun): DistributionCommand {
  const args = [...imageRunner(), JSON.stringify(run)];
  const clear = () =>
    new Promise<void>((resolve, reject) => {
      execFile(process.execPath, args, { env: {} }, (error, _stdout, stderr) =>
        error ? reject(new Fault("REGISTRY_FAILED", stderr.trim() || error.message, { cause: error })) : resolve(),
      );
    });
  return { file: process.execPath, args, env: {}, end: "SIGTERM", clear };
}

/** In the executable and in the npm package, all files are one, which has a command for it. */
function imageRunner(): string[] {
  if (isSea()) return ["registry-image"];
  if (import.meta.filename.endsWith(".cjs")) return [import.meta.filename, "registry-image"];
  return [join(import.meta.dirname, "run-image.ts")];
}

/** `registry github.com/distribution/distribution/v3 v3.0.0`, `docker-registry github.com/docker/distribution 2.8.3+ds1`. */
function parseVersion(output: string): string | undefined {
  return /\/distribution(?:\/v\d+)? v?(\d+\.\d+\S*)/.exec(output)?.[1];
}

function loadVersion(program: string, command: DistributionCommand, timeout: number): Promise<DistributionProgram | Error> {
  return new Promise((resolve) => {
    execFile(command.file, [...command.args, "--version"], { timeout, killSignal: command.end, env: command.env }, (error, stdout, stderr) => {
      const version = parseVersion(stdout);
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

/** How long Distribution may finish open requests when it stops, in milliseconds. */
const DRAIN_MS = 30_000;
/** How long it takes at most to end, in milliseconds: then it is ended by force. */
export const DISTRIBUTION_ENDS_MS = DRAIN_MS + 2_000;

type DistributionConfig = {
  /** Where blobs and manifests are. */
  storage: RegistryStorage;
  /** The Unix socket that it listens on. Only this user's proxy can open it, so it needs no credentials. */
  socket: string;
  /** Signs the state of uploads, so that one can be resumed after a restart. */
  secret: string;
  /** It takes no pushes and no deletes: 405. */
  readOnly: boolean;
  level: LogLevel;
};

/** Distribution knows no level that says nothing: what it then says is thrown away by our own log. */
const LEVELS: Record<LogLevel, string> = { debug: "debug", info: "info", warn: "warn", error: "error", silent: "error" };

/** The text of its configuration file, the same for version 2.8 and 3. It is read as YAML, and every JSON document is YAML. */
export function distributionConfig({ storage, socket, secret, readOnly, level }: DistributionConfig): string {
  return JSON.stringify({
    version: 0.1,
    log: { formatter: "json", level: LEVELS[level], accesslog: { disabled: true } },
    storage: {
      ...storageConfig(storage),
      delete: { enabled: true },
      // Uploads that were begun and left are removed after a week.
      maintenance: { uploadpurging: { enabled: true, age: "168h", interval: "24h", dryrun: false }, readonly: { enabled: readOnly } },
    },
    http: {
      net: "unix",
      addr: socket,
      secret,
      // It has no address that a client could use: its Location headers are relative.
      relativeurls: true,
      draintimeout: `${DRAIN_MS}ms`,
    },
  });
}
