import type { V1Deployment, V1OwnerReference, V1Secret, V1Service } from "@kubernetes/client-node";
import type { Spec } from "../driver.ts";
import { OURS, selector, writeMeta, NAMES } from "./labels.ts";
import { podSpec } from "./pod-spec.ts";
import { RESOURCES, type Resource } from "./resources.ts";

/** What images are pulled with: the names of Secrets that are there, and what goes into one of the service's own. */
export type PullWith = { existing: readonly string[]; own: string | undefined };

/** The objects of one service as they are applied. `owner` has the cluster remove an object with the Deployment, should somebody else remove that. */
export function definition(spec: Spec, pull: PullWith) {
  const { service } = spec;
  const meta = (name: string, owner?: V1OwnerReference) => ({
    name,
    ...writeMeta(service, spec.labels, spec.port),
    ...(owner ? { ownerReferences: [owner] } : {}),
  });
  const head = (resource: Resource) => ({ apiVersion: RESOURCES[resource].apiVersion, kind: RESOURCES[resource].kind });
  const secrets = [...pull.existing, ...(pull.own === undefined ? [] : [NAMES.pull(service)])];
  return {
    /**
     * Variables stand in a Secret, since everybody who may look at Deployments would read them there. It also keeps Kubernetes from replacing
     * `$(NAME)` in them, which other engines pass on as it is.
     */
    variables: (owner?: V1OwnerReference): V1Secret => ({
      ...head("secrets"),
      metadata: meta(NAMES.variables(service), owner),
      type: "Opaque",
      data: encoded(spec.env),
    }),
    pull: (owner?: V1OwnerReference): V1Secret | undefined =>
      pull.own === undefined
        ? undefined
        : {
            ...head("secrets"),
            metadata: meta(NAMES.pull(service), owner),
            type: "kubernetes.io/dockerconfigjson",
            data: encoded({ ".dockerconfigjson": pull.own }),
          },
    /** Undefined where nothing is exposed: there would be nothing to send to. */
    service: (owner?: V1OwnerReference): V1Service | undefined =>
      spec.port === undefined
        ? undefined
        : {
            ...head("services"),
            metadata: meta(NAMES.service(service), owner),
            spec: { selector: { ...selector(service), ...OURS }, ports: [{ name: "app", port: spec.port, targetPort: spec.port, protocol: "TCP" }] },
          },
    deployment: (): V1Deployment => ({
      ...head("deployments"),
      metadata: meta(NAMES.deployment(service)),
      spec: {
        replicas: 1,
        // Never two at once: what is replaced ends first.
        strategy: { type: "Recreate" },
        // Another generation is another Deployment: none is kept to go back to.
        revisionHistoryLimit: 0,
        selector: { matchLabels: { ...selector(service), ...OURS } },
        template: { metadata: writeMeta(service, spec.labels, spec.port), spec: podSpec(spec, secrets) },
      },
    }),
  };
}

export type Definition = ReturnType<typeof definition>;

export function ownerOf(deployment: V1Deployment): V1OwnerReference {
  const { name = "", uid = "" } = deployment.metadata ?? {};
  return { apiVersion: RESOURCES.deployments.apiVersion, kind: RESOURCES.deployments.kind, name, uid };
}

function encoded(values: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, Buffer.from(value).toString("base64")]));
}
