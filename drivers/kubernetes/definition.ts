import type {
  V1Container,
  V1Deployment,
  V1OwnerReference,
  V1PodSpec,
  V1ResourceRequirements,
  V1Secret,
  V1SecurityContext,
  V1Service,
} from "@kubernetes/client-node";
import { type Labels, type Spec, STOP_GRACE_SECONDS } from "../driver.ts";
import { parseLabels, readPort as portOf, writeLabels } from "../labels.ts";
import { type Resource, RESOURCES } from "./cluster.ts";
import { placedSpec, type PodPlacement } from "./placement.ts";
import { type PodSecurity, securityContexts } from "./security.ts";

/** Pull credentials: the names of existing Secrets, and the content of the service's own Secret. */
export type PullWith = { existing: readonly string[]; own: string | undefined };

/** The objects of one service as they are created. */
export function definition(spec: Spec, { pull, security, placement }: { pull: PullWith; security: PodSecurity; placement: PodPlacement }) {
  const { service } = spec;
  const meta = (name: string) => ({ name, ...writeMeta(service, spec.labels, spec.port) });
  const head = (resource: Resource) => ({ apiVersion: RESOURCES[resource].apiVersion, kind: RESOURCES[resource].kind });
  const secrets = [...pull.existing, ...(pull.own === undefined ? [] : [NAMES.pull(service)])];
  return {
    /**
     * Variables are in a Secret, because every user who may read Deployments could read them there. It also keeps Kubernetes from replacing `$(NAME)` in
     * them, which other engines do not.
     */
    variables: (): V1Secret => ({
      ...head("secrets"),
      metadata: meta(NAMES.variables(service)),
      type: "Opaque",
      data: encoded(spec.env),
    }),
    pull: (): V1Secret | undefined =>
      pull.own === undefined
        ? undefined
        : {
            ...head("secrets"),
            metadata: meta(NAMES.pull(service)),
            type: "kubernetes.io/dockerconfigjson",
            data: encoded({ ".dockerconfigjson": pull.own }),
          },
    /** Undefined without a port. */
    service: (): V1Service | undefined =>
      spec.port === undefined
        ? undefined
        : {
            ...head("services"),
            metadata: meta(NAMES.service(service)),
            spec: { selector: { ...selector(service), ...OURS }, ports: [{ name: "app", port: spec.port, targetPort: spec.port, protocol: "TCP" }] },
          },
    deployment: (): V1Deployment => ({
      ...head("deployments"),
      metadata: meta(NAMES.deployment(service)),
      spec: {
        replicas: 1,
        // Never two at once: the old pod ends first.
        strategy: { type: "Recreate" },
        // Another generation is another Deployment: no rollback needs a revision.
        revisionHistoryLimit: 0,
        selector: { matchLabels: { ...selector(service), ...OURS } },
        template: { metadata: podMeta(spec, placement), spec: Object.assign(podSpec(spec, secrets, security), placedSpec(placement, OURS)) },
      },
    }),
  };
}

/** berth's own annotations win: it reads them back. */
function podMeta({ service, labels, port }: Spec, { annotations: configured }: PodPlacement) {
  const meta = writeMeta(service, labels, port);
  return { ...meta, annotations: { ...configured, ...meta.annotations } };
}

export function ownerOf({ metadata }: Pick<V1Deployment, "metadata">): V1OwnerReference {
  const { name = "", uid = "" } = metadata ?? {};
  return { apiVersion: RESOURCES.deployments.apiVersion, kind: RESOURCES.deployments.kind, name, uid };
}

function encoded(values: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, Buffer.from(value).toString("base64")]));
}

/** The container's name within its pod; injected ones, such as a mesh's, have others. */
export const CONTAINER = "app";

const SHM = "shm";

export function podSpec(spec: Spec, pullSecrets: readonly string[], security: PodSecurity): V1PodSpec {
  const contexts = securityContexts(security);
  return {
    automountServiceAccountToken: false,
    // Else the container's environment would name every Service of the namespace.
    enableServiceLinks: false,
    restartPolicy: "Always",
    terminationGracePeriodSeconds: spec.shutdownGraceSeconds ?? STOP_GRACE_SECONDS,
    securityContext: contexts.pod,
    ...(pullSecrets.length === 0 ? {} : { imagePullSecrets: pullSecrets.map((name) => ({ name })) }),
    ...(spec.shmMb === 0 ? {} : { volumes: [{ name: SHM, emptyDir: { medium: "Memory", sizeLimit: `${spec.shmMb}Mi` } }] }),
    containers: [container(spec, contexts.container)],
  };
}

function container(spec: Spec, securityContext: V1SecurityContext): V1Container {
  return {
    name: CONTAINER,
    image: spec.image,
    // The name has a digest if the registry has one.
    imagePullPolicy: "IfNotPresent",
    env: Object.keys(spec.env).map((name) => ({ name, valueFrom: { secretKeyRef: { name: NAMES.variables(spec.service), key: name } } })),
    resources: resources(spec),
    // The status of an ended container then has its log tail, even if the log can no longer be read.
    terminationMessagePolicy: "FallbackToLogsOnError",
    securityContext,
    ...(spec.shmMb === 0 ? {} : { volumeMounts: [{ name: SHM, mountPath: "/dev/shm" }] }),
    ...(spec.port === undefined ? {} : listening(spec.port)),
  };
}

/** The kubelet probes once a second at most. A Service sends only to a ready pod. */
function listening(port: number): Pick<V1Container, "ports" | "readinessProbe"> {
  return {
    ports: [{ name: "app", containerPort: port, protocol: "TCP" }],
    readinessProbe: { tcpSocket: { port }, periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 3 },
  };
}

/**
 * Requests equal limits, so that a node is never overcommitted. The disk is an exception, because a package's default is far more than it uses: a pod
 * beyond that limit is evicted.
 */
function resources({ cpu, memoryMb, gpu, storageGb }: Spec): V1ResourceRequirements {
  // A limit of 0 is none.
  const both = { cpu: `${Math.max(1, Math.round(cpu * 1_000))}m`, memory: `${memoryMb}Mi` };
  return {
    requests: { ...both, ...(storageGb > 0 ? { "ephemeral-storage": "0" } : {}) },
    limits: { ...both, ...(storageGb > 0 ? { "ephemeral-storage": `${storageGb}Gi` } : {}), ...(gpu > 0 ? { "nvidia.com/gpu": String(gpu) } : {}) },
  };
}

/** On every object of berth, whichever store it belongs to. Lists and watches are filtered by it. */
export const OURS = { "app.kubernetes.io/managed-by": "berth" } as const;
/** The service. A Deployment selects its pods by it. */
export const SERVICE = "berth.service";

export const SELECT_OURS = Object.entries(OURS)
  .map(([key, value]) => `${key}=${value}`)
  .join(",");

/** A label's value: at most 63 characters, a letter or digit at both ends. https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/ */
const LABEL_VALUE = /^(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$/;

type Meta = { labels?: Record<string, string> | undefined; annotations?: Record<string, string> | undefined } | undefined;

/** Annotations take any text, and berth reads them back. Labels have the same values as far as they are valid, for users who filter by them. */
export function writeMeta(
  service: string,
  labels: Labels,
  port: number | undefined,
): { labels: Record<string, string>; annotations: Record<string, string> } {
  const annotations = writeLabels(labels, port);
  const valid = Object.fromEntries(Object.entries(annotations).filter(([, value]) => LABEL_VALUE.test(value)));
  return { labels: { ...valid, ...selector(service), ...OURS }, annotations };
}

export function selector(service: string): Record<string, string> {
  return { [SERVICE]: service };
}

export function selectService(service: string): string {
  return `${SELECT_OURS},${SERVICE}=${service}`;
}

/** The same without objects of other stores and containers, whose ids are values of labels. */
export function selectOwnService(service: string, { store, container }: Pick<Labels, "store" | "container">): string {
  return `${selectService(service)},berth.store=${store},berth.container=${container}`;
}

export function serviceOf(meta: Meta): string | undefined {
  return meta?.labels?.[SERVICE];
}

/** Undefined for an object that berth did not create. */
export function readLabels(meta: Meta): Labels | undefined {
  const isOurs = Object.entries(OURS).every(([key, value]) => meta?.labels?.[key] === value);
  return isOurs ? parseLabels(meta?.annotations) : undefined;
}

export function readPort(meta: Meta): number | undefined {
  return portOf(meta?.annotations);
}

/** The names of a service's objects. A service's name has no dot, so the names are unique. */
export const NAMES = {
  deployment: (service: string) => service,
  service: (service: string) => service,
  variables: (service: string) => `${service}.env`,
  pull: (service: string) => `${service}.pull`,
};
