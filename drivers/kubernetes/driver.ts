import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Driver, Registry } from "../driver.ts";
import { openCluster } from "./cluster.ts";
import { deploy } from "./deploy.ts";
import { destroy } from "./destroy.ts";
import { events } from "./events.ts";
import { logs } from "./logs.ts";
import { isServiceName } from "../labels.ts";
import { inspect, list } from "./observe.ts";
import { readDockerAuth } from "./pull-secret.ts";
import { resolve } from "./resolve.ts";

/** Some clusters make machines as they are needed. Below a start's own limit in the field (55 s), so that whoever waits is told why. */
const PATIENCE_MS = 45_000;

export type KubernetesOptions = {
  /** Path of a kubeconfig; where left out, berth runs in the cluster. */
  kubeconfig?: string | undefined;
  /** Of all that is made; where left out, that of the kubeconfig's context or of berth's own pod. */
  namespace?: string | undefined;
  /** The name of a Secret, or a Docker config.json, plain or in base64. */
  dockerAuth?: string | undefined;
  /** Where images are looked for, and what nodes sign in there with. */
  registry?: Registry | undefined;
  /** Hosts at which a registry that a package names may be, whatever their addresses. */
  registryHosts?: readonly string[];
  /** How long the cluster may go on trying what it says it cannot do yet. */
  patienceMs?: number;
  /** Put before the path of the service account's files. */
  root?: string | undefined;
};

/** A Kubernetes cluster as the orchestrator. Opens no connection until it is asked something. Faults: SETTINGS_INVALID. */
export function kubernetesDriver(options: KubernetesOptions & { clock: Clock; log: Log }): Driver {
  const { clock, log, registry, patienceMs = PATIENCE_MS } = options;
  const cluster = openCluster(options, clock);
  const tools = { log, registry, registryHosts: options.registryHosts ?? [], patienceMs, auth: readDockerAuth(options.dockerAuth) };
  return {
    name: "kubernetes",
    // The name of a Service leads to its own pods alone, whatever address they have; a pod's address may be any other pod's once it has gone.
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
    logs: async function* (service, which, call) {
      if (isServiceName(service)) yield* logs(cluster, service, which, call);
    },
    events: (call) => events(cluster, log, call),
    close: async () => {},
  };
}
