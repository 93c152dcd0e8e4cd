import type { CreateServiceOptions } from "dockerode";
import type { Spec } from "../driver.ts";
import type { Reach } from "../engine/reach.ts";
import { parseReference } from "../image.ts";
import { writeLabels } from "../labels.ts";
import { ownHealthPort } from "../ready.ts";
import type { SwarmCluster } from "./cluster.ts";

const MB = 1024 * 1024;
const SECOND = 1_000_000_000;

/** How long a container has between SIGTERM and SIGKILL. */
export const STOP_GRACE_MS = 10_000;

/** `alsoOn`: further networks of every service. `nodeRole`: the role of nodes for containers without a host. `pidsLimit`: the processes and threads of one container. */
export type SwarmSite = { network: string; alsoOn: readonly string[]; nodeRole: string; pidsLimit: number };

/**
 * The body of the create call. Control is the supervisor: Swarm restarts nothing, and has no health check, which would delay the start and end containers
 * without notice. The service's name resolves to its task directly (`dnsrr`): a virtual address would drop connections that are silent for 15 minutes,
 * as IPVS does.
 */
export function definition(spec: Spec, site: SwarmSite, way: Reach, cluster: SwarmCluster): CreateServiceOptions {
  const labels = writeLabels(spec.labels, spec.port);
  const size = { NanoCPUs: Math.round(spec.cpu * 1e9), MemoryBytes: spec.memoryMb * MB };
  const gpus = spec.gpu > 0 ? [{ DiscreteResourceSpec: { Kind: gpuKind(cluster), Value: spec.gpu } }] : undefined;
  const shm = { Type: "tmpfs", Source: "", Target: "/dev/shm", TmpfsOptions: { SizeBytes: spec.shmMb * MB, Mode: 0o1777 } };
  const publishes = way === "published" && spec.port !== undefined;
  const published = publishes ? [spec.port, ownHealthPort(spec)].filter((port) => port !== undefined) : [];
  const body = {
    Name: spec.service,
    Labels: labels,
    TaskTemplate: {
      ContainerSpec: {
        Image: spec.image,
        Env: Object.entries(spec.env).map(([name, value]) => `${name}=${value}`),
        Labels: labels,
        Mounts: spec.shmMb > 0 ? [shm] : [],
        StopGracePeriod: (STOP_GRACE_MS / 1000) * SECOND,
        Healthcheck: { Test: ["NONE"] },
        // With raw sockets a container answers ARP for its neighbours, and reads what gateways send them.
        CapabilityDrop: ["CAP_NET_RAW"],
        // The node's machine, for APIs that listen there; its engine fills in the address.
        Hosts: ["host-gateway host.docker.internal"],
        // Engines before API 1.44 ignore it.
        Privileges: { NoNewPrivileges: true },
      },
      // Reserved as well as limited, so that the scheduler knows which node has the capacity.
      Resources: { Limits: { ...size, Pids: site.pidsLimit }, Reservations: { ...size, ...(gpus ? { GenericResources: gpus } : {}) } },
      RestartPolicy: { Condition: "none", MaxAttempts: 0 },
      Placement: { Constraints: constraintsFor(spec.image, spec.host ?? site.nodeRole, cluster) },
      Networks: [site.network, ...site.alsoOn].map((network) => ({ Target: network })),
    },
    Mode: { Replicated: { Replicas: 1 } },
    UpdateConfig: { Parallelism: 1, Order: "stop-first", FailureAction: "pause" },
    EndpointSpec: {
      Mode: "dnsrr",
      // Only on the task's node, on any free port: the routing mesh would accept for a task that does not.
      ...(publishes ? { Ports: published.map((port) => ({ Protocol: "tcp" as const, TargetPort: port, PublishMode: "host" as const })) } : {}),
    },
  };
  return body as CreateServiceOptions;
}

/**
 * The placement of a service's task, as constraints of Swarm: on nodes whose label `role` is the host's name, if any node has that label. An image that was
 * built on this engine runs only here.
 */
export function constraintsFor(image: string, host: string, { self, nodes }: SwarmCluster): string[] {
  return [
    ...(nodes.some(({ labels }) => labels["role"] === host) ? [`node.labels.role==${host}`] : []),
    ...(parseReference(image).kind === "id" && nodes.length > 1 ? [`node.id==${self}`] : []),
  ];
}

/** The nodes' name of GPUs (`node-generic-resources`). Without GPUs it is `gpu`, so that the scheduler reports them as missing. */
export function gpuKind({ nodes }: Pick<SwarmCluster, "nodes">): string {
  return nodes.flatMap(({ resources }) => resources).find(isGpuKind) ?? "gpu";
}

export function isGpuKind(kind: string): boolean {
  return /gpu/i.test(kind);
}
