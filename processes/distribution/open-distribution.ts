import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import { backoffDelay } from "../../lib/backoff.ts";
import { lock, privateFile } from "../../control/store/data-folder.ts";
import { makeFolder } from "../../lib/make-folder.ts";
import { Fault } from "../../lib/fault.ts";
import { raceAbort } from "../../lib/deadline.ts";
import type { Log, LogLevel } from "../../lib/log.ts";
import { DISTRIBUTION_ENDS_MS, distributionConfig, type DistributionProgram, findDistribution, type ImageRun } from "./distribution-program.ts";
import { type RegistryStorage, storageName } from "./registry-storage.ts";
import { superviseDistribution, endLeftovers, processFile } from "./supervise-distribution.ts";

export type DistributionImage = Pick<ImageRun, "image" | "engine">;

/** A registry of berth's own: Distribution, kept running on a Unix socket. */
export type OwnRegistry = {
  distribution: DistributionProgram;
  folder: string;
  storage: RegistryStorage;
  /**
   * Runs `work` while reads go on and nothing can be pushed or deleted (405): what was being written has ended by then. Faults: those of
   * `work`, and REGISTRY_BUSY where this is going on already.
   */
  whileReadOnly<R>(work: () => Promise<R>): Promise<R>;
  /** True from before the first write is refused until after the last. */
  isReadOnly(): boolean;
  /** Lets it finish open requests. Called after the proxy has closed. */
  close(): Promise<void>;
};

/** Who connected just before another one took over waits to be accepted by the one that was there, and would be reset with its socket. */
const ACCEPTED_MS = 250;
/** How soon it is tried again to take pushes, where that failed after garbage was collected. */
const RETRY = { firstMs: 1_000, longestMs: 60_000 };

type Mode = "writable" | "readonly";
type SupervisedDistribution = { ready: Promise<void>; end(): Promise<void> };

/**
 * Faults: REGISTRY_PROGRAM_MISSING; DATA_FOLDER_IN_USE where another berth's registry has the storage; DATA_FOLDER_UNUSABLE;
 * REGISTRY_FAILED where Distribution does not start, and then its log says why.
 */
export async function openDistribution(options: {
  /** For its configuration. */
  folder: string;
  /** For the images. */
  storage: RegistryStorage;
  /** Signs the state of uploads; undefined: its own, in the folder. */
  secret?: string | undefined;
  /** Further variables of the program. */
  env?: NodeJS.ProcessEnv;
  /** Where it answers. */
  socket: string;
  /** PATH. */
  path: string;
  /** Where it is not there, this is run on this engine. */
  image?: DistributionImage | undefined;
  level: LogLevel;
  /** After which silence Distribution is killed and started again; undefined: never. */
  watchdogMs?: number | undefined;
  clock: Clock;
  log: Log;
}): Promise<OwnRegistry> {
  const { folder, storage, socket, level, watchdogMs, clock, log } = options;
  const unlock = ownFolders(folder, storage);
  const { path, image } = options;
  const run = image && distributionImage(image, { owner: folder, mounts: [folder, dirname(socket)], storage });
  const distribution = await findDistribution(path, run, options.env).catch((error: unknown) => {
    unlock();
    throw error;
  });
  const running = new Set<SupervisedDistribution>();
  const keep = (mode: Mode): SupervisedDistribution => {
    const listen = `${socket}.${mode}`;
    const configFile = join(folder, `${mode}.yml`);
    const config = distributionConfig({ storage, socket: listen, secret: options.secret ?? secretOf(folder), readOnly: mode === "readonly", level });
    writeFileSync(configFile, config, { mode: 0o600 });
    const child = superviseDistribution({ distribution, configFile, pidFile: processFile(folder, mode), listen, socket, watchdogMs, clock, log });
    let ended: Promise<void> | undefined;
    const kept: SupervisedDistribution = {
      ready: child.ready,
      end: () => (ended ??= child.stop(DISTRIBUTION_ENDS_MS).then(() => void running.delete(kept))),
    };
    running.add(kept);
    return kept;
  };
  for (const pid of endLeftovers(folder)) log.warn({ pid }, "ended a registry process that a killed berth left behind");
  await distribution.command.clear();
  let current = keep("writable");
  const closing = new AbortController();
  const close = async () => {
    closing.abort(new Fault("REGISTRY_FAILED", "The registry ends."));
    await Promise.all([...running].map((one) => one.end()));
    for (const mode of ["writable", "readonly"] as const) rmSync(processFile(folder, mode), { force: true });
    rmSync(socket, { force: true });
    unlock();
  };
  /** The other takes over in one step; then the one that was there ends, with its last request. Where it cannot, the one that was there stays. */
  const turn = async (mode: Mode) => {
    closing.signal.throwIfAborted();
    const next = keep(mode);
    try {
      await raceAbort(next.ready, closing.signal);
    } catch (cause) {
      await next.end();
      throw cause;
    }
    const last = current;
    current = next;
    await clock.sleep(ACCEPTED_MS);
    await last.end();
  };
  /** Repeated until it succeeds: meanwhile every push is refused. */
  const turnBack = async () => {
    for (let failures = 1; ; failures++) {
      try {
        return await turn("writable");
      } catch (err) {
        closing.signal.throwIfAborted();
        const delay = backoffDelay(RETRY, failures);
        log.error({ err, retryInMs: delay }, "the registry cannot be made writable again: pushes are refused until it can");
        await clock.sleep(delay, closing.signal);
      }
    }
  };
  try {
    await current.ready;
  } catch (cause) {
    await close();
    throw new Fault("REGISTRY_FAILED", `The registry (${distribution.program} ${distribution.version}) does not start: its log says why.`, { cause });
  }
  const { program, version, lacks } = distribution;
  log.info(
    { program, version, storage: storageName(storage), ...(lacks.length === 0 ? {} : { lacks }) },
    `the registry is Distribution ${version}${lackingIn(distribution)}`,
  );

  let isReadOnly = false;
  return {
    distribution,
    folder,
    storage,
    whileReadOnly: async (work) => {
      if (isReadOnly) throw new Fault("REGISTRY_BUSY", "Garbage is being collected already.");
      isReadOnly = true;
      try {
        await turn("readonly");
        try {
          return await work();
        } finally {
          await turnBack();
        }
      } finally {
        isReadOnly = false;
      }
    },
    isReadOnly: () => isReadOnly,
    close,
  };
}

function lackingIn({ lacks }: DistributionProgram): string {
  return lacks.length === 0 ? "" : `, which knows no ${lacks.join(" and no ")}; version 3 does, and is taken where it is on the PATH`;
}

/**
 * Makes the folders, for this user only, and locks the storage, so that no process collects garbage while another one accepts pushes. Shared storage is not
 * locked: registries of other machines use it at the same time. Faults: DATA_FOLDER_IN_USE, DATA_FOLDER_UNUSABLE.
 */
export function ownFolders(folder: string, storage: RegistryStorage): () => void {
  const images = storage.kind === "folder" ? storage.folder : folder;
  try {
    makeFolder(folder);
    if (storage.kind === "folder" && storage.isShared) makeFolder(images, 0o777);
    else makeFolder(images);
    const locked = storage.isShared ? folder : images;
    return lock(privateFile(join(locked, "berth.lock")), locked);
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw new Fault("DATA_FOLDER_UNUSABLE", `The registry's folder ${images} cannot be used: ${(error as Error).message}.`, { cause: error });
  }
}

/** How the image runs on a storage. */
export function distributionImage(
  image: DistributionImage,
  { owner, mounts, storage }: { owner: string; mounts: readonly string[]; storage: RegistryStorage },
): ImageRun {
  const more = storage.kind === "folder" ? [storage.folder] : [];
  return { ...image, owner, mounts: [...mounts, ...more], hasNetwork: storage.kind === "s3" };
}

function secretOf(folder: string): string {
  const file = join(folder, "secret");
  if (!existsSync(file)) writeFileSync(file, randomBytes(32).toString("base64url"), { mode: 0o600 });
  return readFileSync(file, "utf8");
}
