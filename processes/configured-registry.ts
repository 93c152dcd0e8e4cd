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
import type { Upstream } from "../gateway/registry/upstream/upstream.ts";

type RegistryDeps = { clock: Clock; log: Log };
type Opening = RegistryDeps & { signal: AbortSignal };

/** These ask Docker Hub by themselves, or nobody: after the engine's own images. "ask" is one of the first two. */
const WITHOUT_HUB: readonly (DriverName | "ask")[] = ["docker", "swarm", "ask", "process"];

/**
 * Where control looks images up: ECR through Amazon's API on ECS, then the registry that is set up, then Docker Hub. Undefined where nothing is set
 * up for this driver. Opened when first asked, and tried again where that fails: control starts while the registry or AWS is away.
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
  /** What opens them may take long, or nobody wait for it any more. */
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
    // Only the proxy is known: it lets everybody pull.
    const asked = url === undefined && !ecrMode ? { url: namedAs, username: undefined, password: undefined, ecrMode } : settings.registry;
    const { openRegistryHttp, openUpstream, upstreamSource } = await load();
    const upstream = await openUpstream({ ...asked, url: asked.url, awsRegion: settings.awsRegion }, opening);
    const login = async (signal: AbortSignal) =>
      ecrMode ? parseBasic(await upstream.authorization({ repository: undefined, actions: [] }, signal)) : parseLogin(asked);
    return upstreamSource(upstream, { http: openRegistryHttp(opening), namedAs, login });
  };
  const ecr = async (opening: Opening) => {
    const { ecrSource, openEcrApi } = await load();
    return ecrSource(await openEcrApi({ region: settings.awsRegion ?? ecsOptions(settings).region, clock: opening.clock }), opening);
  };
  const ecs = driver === "ecs";
  return [
    ...(ecs ? [ecr] : []),
    // On ECS it would be the same ECR, asked in a way that the roles there may not.
    ...((url !== undefined || ecrMode || namedAs !== undefined) && !(ecs && ecrMode) ? [configured] : []),
    ...(WITHOUT_HUB.includes(driver) ? [] : [async (opening: Opening) => (await load()).hubSource(opening)]),
  ];
}

/** Of a registry of berth's own, images are asked for where engines of this machine trust one without TLS. */
function ownProxy({ registry, registryPort, tlsCert }: Settings): string | undefined {
  return registry.kind === "embedded" && registryPort !== 0 && tlsCert === undefined ? `127.0.0.1:${registryPort}` : undefined;
}

/**
 * The registry that this berth's proxy stands before, for people to look into; undefined where there is none. Opened when it is first asked: its
 * client costs tens of megabytes, and ECR has to be asked where it is.
 */
export function registryBrowser(deps: { settings: Settings; runtime: RuntimeFolder; clock: Clock; log: Log }): RegistryBrowser | undefined {
  const { settings, runtime, clock, log } = deps;
  const { kind, url, ecrMode } = settings.registry;
  const isOwn = kind === "embedded";
  if (!isOwn && url === undefined && !ecrMode) return undefined;
  const closing = new AbortController();
  let opening: Promise<RegistryBrowser> | undefined;

  const open = async (): Promise<RegistryBrowser> => {
    const [{ openRegistryHttp }, { openUpstream }, { openBrowser }] = await Promise.all([
      import("../gateway/registry/upstream/upstream.ts"),
      import("../gateway/registry/upstream/open-upstream.ts"),
      import("../gateway/registry/browse/open-browser.ts"),
    ]);
    if (isOwn)
      return openBrowser({
        upstream: ownUpstream(runtime.registrySocket),
        http: openRegistryHttp({ clock, socketPath: runtime.registrySocket }),
        clock,
      });
    const asked = { ...settings.registry, awsRegion: settings.awsRegion, tokenFile: undefined };
    return openBrowser({ upstream: await openUpstream(asked, { clock, log, signal: closing.signal }), http: openRegistryHttp({ clock }), clock });
  };
  /** One that could not be opened is opened anew by the next question. */
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

/** The registry of berth's own, behind its socket. It asks nobody who they are: nobody else reaches its socket. */
export function ownUpstream(socketPath: string): Upstream {
  return {
    target: { socketPath },
    host: "localhost",
    basePath: "",
    nameOf: (repository) => repository,
    authorization: () => undefined,
    refused: async () => undefined,
    close: async () => {},
  };
}
