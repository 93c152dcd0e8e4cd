import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Driver, Registry } from "../driver.ts";
import { isServiceName } from "../labels.ts";
import { openCluster } from "./cluster.ts";
import { deploy } from "./deploy.ts";
import { destroy } from "./destroy.ts";
import { events } from "./events.ts";
import { logs } from "./logs.ts";
import { inspect, list } from "./observe.ts";
import { parseDockerAuth } from "./pull-secret.ts";
import { resolve } from "./resolve.ts";
import { type CAPABILITIES, createNamespaceSecurity } from "./security.ts";
import { usage } from "./usage.ts";

/** Some clusters add machines on demand. Below the usual limit of a start (55 s), so that the reason reaches the waiting clients. */
const PATIENCE_MS = 45_000;

export type KubernetesOptions = {
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
  const tools = {
    log,
    registry,
    registryHosts: options.registryHosts ?? [],
    patienceMs,
    gpuPatienceMs,
    auth: parseDockerAuth(options.dockerAuth),
    security,
  };
  return {
    name: "kubernetes",
    // A Service's name leads only to its own pods. A pod's address may be another pod's after its end.
    ...(cluster.inside ? {} : { watchedAddresses: true }),
    resolve: (image, call) => resolve(cluster, image, tools, call),
    deploy: async (spec, call) => {
      call.signal.throwIfAborted();
      if (!isServiceName(spec.service))
        throw new Fault("SPEC_REFUSED", `"${spec.service.slice(0, 100)}" is not a DNS label, which a service's name must be.`);
      return deploy(cluster, spec, tools, call);
    },
    destroy: async (service, { signal }) => (isServiceName(service) ? destroy(cluster, service, signal) : undefined),
    inspect: async (service, call) => (isServiceName(service) ? inspect(cluster, service, call) : undefined),
    list: (call) => list(cluster, call),
    logs: async function* (service, options, call) {
      if (isServiceName(service)) yield* logs(cluster, service, options, call);
    },
    usage: async (service, { signal }) => (isServiceName(service) ? usage(cluster, service, signal) : undefined),
    events: (call) => events(cluster, log, call),
    close: async () => {},
  };
}
