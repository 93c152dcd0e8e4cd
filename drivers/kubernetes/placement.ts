import type { V1PodSpec, V1Toleration, V1TopologySpreadConstraint } from "@kubernetes/client-node";
import type { Host, Spec } from "../driver.ts";
import type { MachinePlatform } from "../image-config.ts";

/** What the settings add to the pods of one host: which nodes they may run on, and how. Each field is as in a pod's spec. */
export type PodPlacement = {
  nodeSelector?: Readonly<Record<string, string>> | undefined;
  tolerations?: readonly V1Toleration[] | undefined;
  /** Without a `labelSelector`, all pods of berth in the namespace count. */
  topologySpread?: readonly V1TopologySpreadConstraint[] | undefined;
  runtimeClass?: string | undefined;
  priorityClass?: string | undefined;
  /** Such as `sidecar.istio.io/inject: "false"`. */
  annotations?: Readonly<Record<string, string>> | undefined;
};

export type HostPlacements = Partial<Record<Host, PodPlacement>>;

/** The server's own parts take from the block of plugins' containers what their block does not set. */
export function placementOf(placements: HostPlacements, { host = "cvm" }: Pick<Spec, "host">): PodPlacement {
  const { cvm = {}, datagrok = {} } = placements;
  if (host === "cvm") return cvm;
  return { ...cvm, ...Object.fromEntries(Object.entries(datagrok).filter(([, value]) => value !== undefined)) };
}

/** The label of nodes that names their processor: https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-arch */
const ARCHITECTURE = "kubernetes.io/arch";

/** The platform of all nodes that pods may run on; undefined if the settings do not say it. */
export function nodePlatform(placements: HostPlacements): MachinePlatform | undefined {
  const [cvm, datagrok] = (["cvm", "datagrok"] as const).map((host) => placementOf(placements, { host }).nodeSelector?.[ARCHITECTURE]);
  return cvm === undefined || cvm !== datagrok
    ? undefined
    : { platform: `linux/${cvm}`, setting: `${ARCHITECTURE} in BERTH_KUBERNETES_CVM_NODE_SELECTOR` };
}

export function placedSpec(placement: PodPlacement, ours: Readonly<Record<string, string>>): Partial<V1PodSpec> {
  const { nodeSelector, tolerations, topologySpread, runtimeClass, priorityClass } = placement;
  return {
    ...(nodeSelector ? { nodeSelector: { ...nodeSelector } } : {}),
    ...(tolerations ? { tolerations: [...tolerations] } : {}),
    ...(topologySpread
      ? { topologySpreadConstraints: topologySpread.map((one) => Object.assign({ labelSelector: { matchLabels: { ...ours } } }, one)) }
      : {}),
    ...(runtimeClass === undefined ? {} : { runtimeClassName: runtimeClass }),
    ...(priorityClass === undefined ? {} : { priorityClassName: priorityClass }),
  };
}
