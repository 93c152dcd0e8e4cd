import type { PodTemplate } from "../fixtures/cluster/pods.ts";
import { ofKind, podsOf, type Rendered } from "./chart.ts";

/** The chart's pods as a kubelet would start them, and its Secrets, both by name. */
export function podTemplates(objects: Rendered[]) {
  const secret = (name: string) => {
    const { data = {} } = (ofKind(objects, "Secret").find(({ metadata }) => metadata.name === name) ?? {}) as { data?: Record<string, string> };
    return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value, "base64").toString()]));
  };
  const templateOf = (role: string): PodTemplate => {
    const { env, container, pod } = podsOf(objects).find((one) => one.env["BERTH_ROLE"] === role) as ReturnType<typeof podsOf>[number];
    const { httpGet: check } = container.readinessProbe;
    const { containerPort: port = 0 } = container.ports.find(({ name }) => name === check.port) ?? {};
    const fromSecrets = Object.assign({}, ...(container.envFrom ?? []).map(({ secretRef }) => secret(secretRef.name))) as Record<string, string>;
    return { env: { ...env, ...fromSecrets }, mounts: container.volumeMounts, volumes: pod.volumes, probe: { ...check, port } };
  };
  return { templateOf, secret };
}
