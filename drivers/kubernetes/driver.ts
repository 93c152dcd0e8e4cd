import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Call, Driver, ImageSource, Observed, Registry, ResolvedImage, Spec } from "../driver.ts";
import { type ImageConfig, placeOf, readImageConfig } from "../image-config.ts";
import { parseReference } from "../image.ts";
import { isServiceName } from "../labels.ts";
import { type KubernetesApi, openCluster } from "./cluster.ts";
import { destroy, type KubernetesTools } from "./create-destroy.ts";
import { deploy } from "./deploy.ts";
import { events } from "./events.ts";
import { openExec } from "./exec.ts";
import { logs } from "./logs.ts";
import { type ExistingServices, inspect, list, usage } from "./observe.ts";
import { type HostPlacements, nodePlatform, placementOf } from "./placement.ts";
import { describeAuth, loginAt, parseDockerAuth } from "./pull-secret.ts";
import { type CAPABILITIES, createNamespaceSecurity } from "./security.ts";

/** Some clusters add machines on demand. Below the usual limit of a start (55 s), so that the reason reaches the waiting clients. */
const PATIENCE_MS = 45_000;

export type KubernetesOptions = HostPlacements & {
  /** Path of a kubeconfig. If undefined, berth runs in the cluster. */
  kubeconfig?: string | undefined;
  /** Of all objects. By default the namespace of the kubeconfig's context or of berth's own pod. */
  namespace?: string | undefined;
  /** The name of a Secret, or a Docker config.json, plain or in base64. */
  dockerAuth?: string | undefined;
  /** Resolves images, and has the logins with which nodes pull. */
  registry?: Registry | undefined;
  /** A registry that a package names may be on these hosts, whatever their addresses. */
  registryHosts?: readonly string[];
  /** What containers may do; by default `default`. */
  capabilities?: (typeof CAPABILITIES)[number];
  /** How long the cluster may retry a start that fails for now. */
  patienceMs?: number;
  /** The same for a start that lacks a GPU; by default `patienceMs`. */
  gpuPatienceMs?: number;
  /** Prefix of the paths of the service account's files. */
  root?: string | undefined;
};

/** A Kubernetes cluster as the orchestrator. Opens no connection before the first call. Faults: SETTINGS_INVALID. */
export function kubernetesDriver(options: KubernetesOptions & { clock: Clock; log: Log }): Driver {
  const { clock, log, registry, patienceMs = PATIENCE_MS, gpuPatienceMs = patienceMs } = options;
  const cluster = openCluster(options, clock);
  const security = createNamespaceSecurity(options.capabilities ?? "default", clock, log);
  const existing: ExistingServices = new Map();
  const tools = {
    log,
    registry,
    registryHosts: options.registryHosts ?? [],
    patienceMs,
    gpuPatienceMs,
    auth: parseDockerAuth(options.dockerAuth),
    security,
    placementOf: (spec: Spec) => placementOf(options, spec),
    machine: nodePlatform(options),
    existing,
  };
  const noteExisting = (service: string, observed: Observed | undefined) => {
    if (!observed) existing.delete(service);
    else if (!existing.has(service)) existing.set(service, undefined);
    return observed;
  };
  return {
    name: "kubernetes",
    replicas: {},
    // A pod's address may be another pod's after its end.
    watchedAddresses: true,
    resolve: (image, call) => resolve(cluster, image, tools, call),
    deploy: async (spec, call) => {
      call.signal.throwIfAborted();
      if (!isServiceName(spec.service))
        throw new Fault("SPEC_REFUSED", `"${spec.service.slice(0, 100)}" is not a DNS label, which a service's name must be.`);
      const deployment = await deploy(cluster, spec, tools, call);
      existing.set(spec.service, deployment.instance);
      return deployment;
    },
    destroy: async (service, { signal, owner }) => {
      if (!isServiceName(service)) return;
      await destroy(cluster, service, signal, owner);
      existing.delete(service);
    },
    inspect: async (service, call) => (isServiceName(service) ? noteExisting(service, await inspect(cluster, service, existing, call)) : undefined),
    list: async (call) => {
      const all = await list(cluster, existing, call);
      const listed = new Set(all.map(({ service }) => service));
      for (const service of existing.keys()) if (!listed.has(service)) existing.delete(service);
      for (const observed of all) noteExisting(observed.service, observed);
      return all;
    },
    logs: async function* (service, options, call) {
      if (isServiceName(service)) yield* logs(cluster, service, options, call);
    },
    usage: async (service, { signal }) => (isServiceName(service) ? usage(cluster, service, signal) : undefined),
    exec: async (service, options, call) => (isServiceName(service) ? openExec(cluster, service, options, call.signal) : undefined),
    events: (call) => events(cluster, log, call),
    close: async () => {},
  };
}

/**
 * A cluster has no images of its own. The configured registries resolve a name; the image of another registry is resolved there. The result always has a
 * digest, so that a node pulls what was validated, now and after a move of the pod. Faults: those of the registries, IMAGE_NOT_FOUND,
 * IMAGE_REFERENCE_INVALID, PULL_DENIED.
 */
async function resolve(cluster: KubernetesApi, { ref }: ImageSource, tools: KubernetesTools, { signal }: Call): Promise<ResolvedImage> {
  signal.throwIfAborted();
  const named = parseReference(ref);
  if (named.kind === "id")
    throw new Fault("IMAGE_NOT_FOUND", `${ref} is the id of an image on one engine, and nodes pull from registries. Give its name in a registry.`);
  const resolved = await tools.registry?.resolve(ref, { signal });
  if (resolved) {
    const { reference, digest } = resolved;
    const place = placeOf(reference);
    const findings = await findingsOf(cluster, { ...place, version: digest, trusted: true }, tools, signal);
    return { id: `${place.host}/${place.repository}@${digest}`, digest, ...findings };
  }
  if (named.registry === undefined || (tools.registry?.fullNames(ref).length ?? 0) > 0) {
    throw new Fault("IMAGE_NOT_FOUND", `No configured registry has the image ${ref}. Push it to one, or set REGISTRY_URL.`);
  }
  const { digest, ...findings } = await readConfig(cluster, { ...placeOf(named.name), version: named.tag, trusted: false }, tools, signal);
  if (digest === undefined) throw new Fault("IMAGE_NOT_FOUND", `The registry ${named.registry} does not say which digest ${ref} has.`);
  return { id: `${named.name}@${digest}`, digest, ...findings };
}

type KubernetesImage = { host: string; repository: string; version: string; trusted: boolean };

async function readConfig(
  cluster: KubernetesApi,
  image: KubernetesImage,
  { registry, auth, registryHosts, machine }: KubernetesTools,
  signal: AbortSignal,
): Promise<ImageConfig> {
  const login = (call: Call) => loginAt(cluster, image.host, { auth, registry }, call);
  try {
    return await readImageConfig({ ...image, clock: cluster.clock, listed: registryHosts, machine, login, signal });
  } catch (error) {
    if (!(error instanceof Fault) || error.code !== "PULL_DENIED") throw error;
    throw new Fault("PULL_DENIED", `${error.message} ${describeAuth(auth)}`, { cause: error });
  }
}

/** Unknown if the registry does not let berth read them. Faults: IMAGE_NOT_FOUND. */
async function findingsOf(
  cluster: KubernetesApi,
  image: KubernetesImage,
  tools: KubernetesTools,
  signal: AbortSignal,
): Promise<Omit<ResolvedImage, "id" | "digest">> {
  try {
    const { digest: _, ...findings } = await readConfig(cluster, image, tools, signal);
    return findings;
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof Fault) || error.code === "IMAGE_NOT_FOUND") throw error;
    tools.log.debug({ image: `${image.host}/${image.repository}`, code: error.code, reason: error.message }, "image ports unreadable");
    return { exposed: [], portsUnknown: true, command: [] };
  }
}
