import { isIP } from "node:net";
import type { V1Pod } from "@kubernetes/client-node";
import { parseJson } from "../../lib/parse-json.ts";
import type { Address } from "../driver.ts";

/**
 * Network plugins annotate a pod with its address when they set up its network, before its container starts. The kubelet reports the address up to a second
 * later, because it looks at its containers once a second. A plugin that clears its annotation has taken the address back.
 */
const HOST_ANNOTATIONS: Readonly<Record<string, (value: string) => string | undefined>> = {
  // Calico.
  "cni.projectcalico.org/podIP": firstOfList,
  // Amazon's VPC CNI with ANNOTATE_POD_IP.
  "vpc.amazonaws.com/pod-ips": firstOfList,
  // Kube-OVN.
  "ovn.kubernetes.io/ip_address": firstOfList,
  // OVN-Kubernetes.
  "k8s.ovn.org/pod-networks": ovnAddress,
};

/**
 * The pod's own, inside the cluster too: nodes need up to a second until a Service leads anywhere, and its name is not known at once. The Service is for
 * other pods.
 */
export function addressOf(port: number | undefined, pod: V1Pod | undefined): Address | undefined {
  const host = hostOf(pod);
  return host !== undefined && port !== undefined ? { host, port } : undefined;
}

/** Undefined if nothing has reported the address yet, or its plugin has taken it back. */
export function hostOf(pod: V1Pod | undefined): string | undefined {
  if (pod === undefined || isHostWithdrawn(pod)) return undefined;
  return pod.status?.podIP ?? annotationsOf(pod).map(({ value, hostIn }) => validHost(hostIn(value)))[0];
}

/** The plugin has taken the address back; the kubelet may not know yet. */
export function isHostWithdrawn(pod: V1Pod): boolean {
  return annotationsOf(pod).some(({ value }) => value === "");
}

function annotationsOf({ metadata }: V1Pod): { value: string; hostIn(value: string): string | undefined }[] {
  return Object.entries(HOST_ANNOTATIONS).flatMap(([name, hostIn]) => {
    const value = metadata?.annotations?.[name];
    return value === undefined ? [] : [{ value, hostIn }];
  });
}

/** With or without the length of a prefix. */
function validHost(text = ""): string | undefined {
  const [host = ""] = text.trim().split("/", 1);
  return isIP(host) === 0 ? undefined : host;
}

function firstOfList(value: string): string | undefined {
  return value.split(",", 1)[0];
}

/** `{"default":{"ip_addresses":["10.244.0.5/24"],…}}` */
function ovnAddress(value: string): string | undefined {
  const first = (parseJson(value) as { default?: { ip_addresses?: unknown[] } } | null | undefined)?.default?.ip_addresses?.[0];
  return typeof first === "string" ? first : undefined;
}
