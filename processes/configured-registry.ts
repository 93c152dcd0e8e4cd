import type { Clock } from "../lib/clock.ts";
import type { Settings } from "../conf/settings.ts";
import type { Call, DriverName, Registry } from "../drivers/driver.ts";
import { parseBasic, parseLogin } from "../lib/registry-client/registry-login.ts";
import type { UpstreamSource, ImageRegistry } from "../gateway/registry/upstream/image-registry.ts";
import { parseRegistryAddress } from "../gateway/registry/upstream/registry-address.ts";
import { raceAbort } from "../lib/deadline.ts";
import type { Log } from "../lib/log.ts";
import { ecsOptions } from "./open-driver.ts";
import { Fault } from "../lib/fault.ts";
import type { RegistryBrowser } from "../gateway/contract.ts";
import type { RuntimeFolder } from "./runtime-folder.ts";

type RegistryDeps = { clock: Clock; log: Log };
type Opening = RegistryDeps & { signal: AbortSignal };

/** The engines of these ask Docker Hub themselves, or have no registry. "ask" is one of the first two. */
const WITHOUT_HUB: readonly (DriverName | "ask")[] = ["docker", "swarm", "ask", "process"];

/**
 * Where control looks images up: ECR through Amazon's API on ECS, then the registry that is set up, then Docker Hub. Undefined where nothing is set
 * up for this driver. Opened by the first call, and by the next one if that fails: control starts while the registry or AWS is away.
 * Faults, at once: SETTINGS_INVALID.
 */
export function openConfiguredRegistry(
  settings: Settings,
  driver: DriverName | "ask",
  tools: RegistryDeps,
): (Registry & { close(): Promise<void> }) | undefined {
  if (settings.registry.url !== undefined) parseRegistryAddress(settings.registry.url);
  parseLogin(settings.registry);
  const opens = opensFor(settings, driver);
  if (opens.length === 0) return undefined;
  let opened: ImageRegistry | undefined;
  let opening: Promise<ImageRegistry> | undefined;
  const closing = new AbortController();

  const openAll = async () => {
    const { openImageRegistry } = await load();
    const sources: UpstreamSource[] = [];
    try {
      for (const open of opens) sources.push(await open({ ...tools, signal: closing.signal }));
    } catch (error) {
      await Promise.all(sources.map((source) => source.close()));
      throw error;
    }
    return (opened = openImageRegistry(sources));
  };
  /** Opening may take long: each caller waits only until its own signal. */
  const open = async ({ signal }: Call) =>
    opened ??
    raceAbort(
      (opening ??= openAll().finally(() => {
        opening = undefined;
      })),
      signal,
    );

  return {
    resolve: async (ref, call) => (await open(call)).resolve(ref, call),
    fullNames: (ref) => opened?.fullNames(ref) ?? [],
    login: async (host, call) => (await open(call)).login(host, call),
    close: async () => {
      closing.abort(new Error("Closing."));
      await opening?.catch(() => {});
      await opened?.close();
    },
  };
}

/** Their clients cost a tenth of a second and tens of megabytes: who asks no registry does without. */
const load = async () => {
  const [{ openRegistryHttp }, { openEcrApi }, sources, { openUpstream }] = await Promise.all([
    import("../gateway/registry/upstream/upstream.ts"),
    import("../gateway/registry/upstream/ecr-api.ts"),
    import("../gateway/registry/upstream/image-registry.ts"),
    import("../gateway/registry/upstream/open-upstream.ts"),
  ]);
  return { openRegistryHttp, openEcrApi, openUpstream, ...sources };
};

function opensFor(settings: Settings, driver: DriverName | "ask"): ((opening: Opening) => Promise<UpstreamSource>)[] {
  const { url, ecrMode } = settings.registry;
  const { registryProxyHost: host, registryProxyPort: port } = settings.dockerSettings;
  const namedAs = host === "" ? ownProxy(settings) : host.includes(":") ? host : `${host}:${port}`;
  const configured = async (opening: Opening) => {
    // Only the proxy is configured: it allows public pulls.
    const registry = url === undefined && !ecrMode ? { url: namedAs, username: undefined, password: undefined, ecrMode } : settings.registry;
    const { openRegistryHttp, openUpstream, upstreamSource } = await load();
    const upstream = await openUpstream({ ...registry, url: registry.url, awsRegion: settings.awsRegion }, opening);
    const login = async (signal: AbortSignal) =>
      ecrMode ? parseBasic(await upstream.authorization({ repository: undefined, actions: [] }, signal)) : parseLogin(registry);
    return upstreamSource(upstream, { http: openRegistryHttp(opening), namedAs, login });
  };
  const ecr = async (opening: Opening) => {
    const { ecrSource, openEcrApi } = await load();
    return ecrSource(await openEcrApi({ region: settings.awsRegion ?? ecsOptions(settings).region, clock: opening.clock }), opening);
  };
  const ecs = driver === "ecs";
  return [
    ...(ecs ? [ecr] : []),
    // On ECS it is the same ECR, by an API for which the roles lack the rights.
    ...((url !== undefined || ecrMode || namedAs !== undefined) && !(ecs && ecrMode) ? [configured] : []),
    ...(WITHOUT_HUB.includes(driver) ? [] : [async (opening: Opening) => (await load()).hubSource(opening)]),
  ];
}

/** berth's own registry, at the address that engines of this machine trust without TLS. */
function ownProxy({ registry, registryPort, tlsCert }: Settings): string | undefined {
  return registry.kind === "embedded" && registryPort !== 0 && tlsCert === undefined ? `127.0.0.1:${registryPort}` : undefined;
}

/**
 * The registry behind this berth's proxy, for the console; undefined if there is none. Opened by the first call: its client costs tens of megabytes, and
 * ECR has to name its host.
 */
export function registryBrowser(deps: { settings: Settings; runtime: RuntimeFolder; clock: Clock; log: Log }): RegistryBrowser | undefined {
  const { settings, runtime, clock, log } = deps;
  const { kind, url, ecrMode } = settings.registry;
  const isOwn = kind === "embedded";
  if (!isOwn && url === undefined && !ecrMode) return undefined;
  const closing = new AbortController();
  let opening: Promise<RegistryBrowser> | undefined;

  const open = async (): Promise<RegistryBrowser> => {
    const [{ openRegistryHttp, socketUpstream }, { openUpstream }, { openBrowser }] = await Promise.all([
      import("../gateway/registry/upstream/upstream.ts"),
      import("../gateway/registry/upstream/open-upstream.ts"),
      import("../gateway/registry/browse/open-browser.ts"),
    ]);
    if (isOwn)
      return openBrowser({
        upstream: socketUpstream(runtime.registrySocket),
        http: openRegistryHttp({ clock, socketPath: runtime.registrySocket }),
        clock,
      });
    const upstream = { ...settings.registry, awsRegion: settings.awsRegion, tokenFile: undefined };
    return openBrowser({ upstream: await openUpstream(upstream, { clock, log, signal: closing.signal }), http: openRegistryHttp({ clock }), clock });
  };
  /** If opening fails, the next call opens it again. */
  const opened = (signal: AbortSignal) => {
    opening ??= open().catch((error: unknown) => {
      opening = undefined;
      throw error;
    });
    return raceAbort(opening, signal);
  };
  return {
    repositories: async (signal) => (await opened(signal)).repositories(signal),
    tags: async (repository, signal) => (await opened(signal)).tags(repository, signal),
    image: async (repository, reference, signal) => (await opened(signal)).image(repository, reference, signal),
    remove: async (repository, digest, signal) => (await opened(signal)).remove(repository, digest, signal),
    close: async () => {
      closing.abort(new Fault("INTERNAL", "berth ends."));
      await (await opening?.catch(() => undefined))?.close();
    },
  };
}
