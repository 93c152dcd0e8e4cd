import type { Settings } from "../conf/settings.ts";
import type { ControlLink } from "../gateway/feed/control-client.ts";
import type { Clock } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics/open-metrics.ts";
import { configuredKeys } from "./control-listeners.ts";
import { socketUpstream } from "../gateway/registry/upstream/upstream.ts";
import { openMaintenance } from "./distribution/maintenance.ts";
import { type DistributionImage, openDistribution } from "./distribution/open-distribution.ts";
import { registryPlace, sharedUploadSecret, storageEnvironment } from "./distribution/registry-storage.ts";
import { tagPushedAt } from "./distribution/stored-images.ts";
import type { ListeningHandle } from "./listeners.ts";
import { type RegistryProxy, runRegistryProxy } from "./registry-proxy.ts";
import type { RuntimeFolder } from "./runtime-folder.ts";

/**
 * A registry of berth's own: Distribution on a Unix socket, and the registry proxy in front, which alone reaches it.
 * Faults: those of either.
 */
export async function runRegistry(options: {
  settings: Settings;
  runtime: RuntimeFolder;
  /** Control, which makes the tokens and is notified of pushes; undefined if there is none. */
  link: ControlLink | undefined;
  /** Of this program: PATH, and what the storage needs. */
  env: NodeJS.ProcessEnv;
  handle: ListeningHandle | undefined;
  metrics: Metrics;
  version: string;
  clock: Clock;
  log: Log;
}): Promise<RegistryProxy> {
  const { settings, runtime, link, env, handle, metrics, version, clock, log } = options;
  const place = registryPlace(settings);
  const own = await openDistribution({
    ...place,
    secret: sharedUploadSecret(place.storage, configuredKeys(settings)),
    env: storageEnvironment(place.storage, env),
    socket: runtime.registrySocket,
    path: env["PATH"] ?? "",
    image: registryImage(settings),
    level: settings.logLevel,
    watchdogMs: settings.watchdogSeconds === 0 ? undefined : settings.watchdogSeconds * 1_000,
    clock,
    log,
  });
  try {
    const maintenance = await openMaintenance({
      socket: runtime.registryAdminSocket,
      registry: own,
      registrySocket: runtime.registrySocket,
      clock,
      log,
    });
    const proxied = {
      upstream: socketUpstream(runtime.registrySocket),
      isReadOnly: own.isReadOnly,
      // Only a folder shows it.
      tagPushedAt: async (repository: string, tag: string) =>
        own.storage.kind === "folder" ? tagPushedAt(own.storage.folder, repository, tag) : undefined,
    };
    const proxy = await runRegistryProxy({
      settings,
      link,
      own: proxied,
      handle,
      metrics,
      version,
      clock,
      log,
    });
    return {
      ...proxy,
      close: async () => {
        await proxy.close();
        await maintenance.close();
        await own.close();
      },
    };
  } catch (error) {
    await own.close();
    throw error;
  }
}

/** What is run where Distribution is no program on the PATH: only where berth runs containers on an engine anyway. */
export function registryImage(settings: Settings): DistributionImage | undefined {
  if (settings.driver !== "docker") return undefined;
  const { dockerHost: host, dockerTlsVerify, dockerCertPath } = settings;
  const tls = dockerTlsVerify && dockerCertPath !== undefined ? { folder: dockerCertPath } : undefined;
  return { image: settings.registry.image, engine: { host, tls } };
}
