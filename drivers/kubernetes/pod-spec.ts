import type { V1Container, V1PodSpec, V1ResourceRequirements } from "@kubernetes/client-node";
import type { Spec } from "../driver.ts";
import { NAMES } from "./labels.ts";

/** The container's name within its pod; injected ones, such as a mesh's, have others. */
export const CONTAINER = "app";

/** How long a container has between SIGTERM and SIGKILL, in seconds. */
export const STOP_GRACE_S = 10;

const SHM = "shm";

/**
 * One pod as restricted as an arbitrary image allows. Not `runAsNonRoot`: whether an image runs as root is its own affair, and most do; so a namespace
 * must allow the pod security standard `baseline`. https://kubernetes.io/docs/concepts/security/pod-security-standards/
 */
export function podSpec(spec: Spec, pullSecrets: readonly string[]): V1PodSpec {
  return {
    automountServiceAccountToken: false,
    // Else every Service of the namespace would be named in the container's environment.
    enableServiceLinks: false,
    restartPolicy: "Always",
    terminationGracePeriodSeconds: STOP_GRACE_S,
    securityContext: { seccompProfile: { type: "RuntimeDefault" } },
    ...(pullSecrets.length === 0 ? {} : { imagePullSecrets: pullSecrets.map((name) => ({ name })) }),
    ...(spec.shmMb === 0 ? {} : { volumes: [{ name: SHM, emptyDir: { medium: "Memory", sizeLimit: `${spec.shmMb}Mi` } }] }),
    containers: [container(spec)],
  };
}

function container(spec: Spec): V1Container {
  return {
    name: CONTAINER,
    image: spec.image,
    // The image is named by its digest, or as immutably as it can be.
    imagePullPolicy: "IfNotPresent",
    env: Object.keys(spec.env).map((name) => ({ name, valueFrom: { secretKeyRef: { name: NAMES.variables(spec.service), key: name } } })),
    resources: resources(spec),
    // What it wrote last comes with the fact that it ended, even where its log can no longer be read.
    terminationMessagePolicy: "FallbackToLogsOnError",
    securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"], add: ["NET_BIND_SERVICE"] } },
    ...(spec.shmMb === 0 ? {} : { volumeMounts: [{ name: SHM, mountPath: "/dev/shm" }] }),
    ...(spec.port === undefined ? {} : listening(spec.port)),
  };
}

/** The kubelet asks once a second at most; a Service sends to a pod that is ready only. */
function listening(port: number): Pick<V1Container, "ports" | "readinessProbe"> {
  return {
    ports: [{ name: "app", containerPort: port, protocol: "TCP" }],
    readinessProbe: { tcpSocket: { port }, periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 3 },
  };
}

/**
 * What is asked for is what is reserved, so that a node never holds more than it has; except for the disk, of which a package's default
 * is far more than it uses: there the limit is the point beyond which the pod is evicted.
 */
function resources({ cpu, memoryMb, gpu, storageGb }: Spec): V1ResourceRequirements {
  const both = { cpu: `${Math.round(cpu * 1_000)}m`, memory: `${memoryMb}Mi` };
  return {
    requests: { ...both, ...(storageGb > 0 ? { "ephemeral-storage": "0" } : {}) },
    limits: { ...both, ...(storageGb > 0 ? { "ephemeral-storage": `${storageGb}Gi` } : {}), ...(gpu > 0 ? { "nvidia.com/gpu": String(gpu) } : {}) },
  };
}
