import { execFile } from "node:child_process";
import { join } from "node:path";
import { validate as deployment } from "kubernetes-models/_schemas/IoK8sApiAppsV1Deployment";
import { validate as autoscaler } from "kubernetes-models/_schemas/IoK8sApiAutoscalingV2HorizontalPodAutoscaler";
import { validate as configMap } from "kubernetes-models/_schemas/IoK8sApiCoreV1ConfigMap";
import { validate as claim } from "kubernetes-models/_schemas/IoK8sApiCoreV1PersistentVolumeClaim";
import { validate as pod } from "kubernetes-models/_schemas/IoK8sApiCoreV1Pod";
import { validate as secret } from "kubernetes-models/_schemas/IoK8sApiCoreV1Secret";
import { validate as service } from "kubernetes-models/_schemas/IoK8sApiCoreV1Service";
import { validate as account } from "kubernetes-models/_schemas/IoK8sApiCoreV1ServiceAccount";
import { validate as ingress } from "kubernetes-models/_schemas/IoK8sApiNetworkingV1Ingress";
import { validate as policy } from "kubernetes-models/_schemas/IoK8sApiNetworkingV1NetworkPolicy";
import { validate as budget } from "kubernetes-models/_schemas/IoK8sApiPolicyV1PodDisruptionBudget";
import { validate as role } from "kubernetes-models/_schemas/IoK8sApiRbacV1Role";
import { validate as binding } from "kubernetes-models/_schemas/IoK8sApiRbacV1RoleBinding";
import { parseAllDocuments } from "yaml";
import { strictFaults } from "../fixtures/kubernetes/strict.ts";
import { HELM } from "../run/helm.ts";

export const CHART = join(import.meta.dirname, "../../conf/helm");
/** Schemas of custom resources, by their files: not all of their packages export them. */
const MODELS = join(import.meta.dirname, "../../node_modules/@kubernetes-models");
const customSchema = async (path: string) => ((await import(join(MODELS, `${path}.js`))) as { validate(data: unknown): boolean }).validate;
const PROMETHEUS = "prometheus-operator/_schemas/ComGithubPrometheusOperatorPrometheusOperatorPkgApisMonitoringV1";
const SCHEMAS: Record<string, (data: unknown) => boolean> = {
  HorizontalPodAutoscaler: autoscaler,
  PodDisruptionBudget: budget,
  ConfigMap: configMap,
  Pod: pod,
  ServiceMonitor: await customSchema(`${PROMETHEUS}ServiceMonitor`),
  PrometheusRule: await customSchema(`${PROMETHEUS}PrometheusRule`),
  HTTPRoute: await customSchema("gateway-api/_schemas/IoK8sSigsGatewayApiApisV1HTTPRoute"),
  Certificate: await customSchema("cert-manager/_schemas/ComGithubCertManagerCertManagerPkgApisCertmanagerV1Certificate"),
  Deployment: deployment,
  PersistentVolumeClaim: claim,
  Secret: secret,
  Service: service,
  ServiceAccount: account,
  Ingress: ingress,
  NetworkPolicy: policy,
  Role: role,
  RoleBinding: binding,
};

type Meta = { name: string; namespace?: string; labels: Record<string, string>; annotations?: Record<string, string> };
export type Rendered = { kind: string; metadata: Meta; spec: Record<string, unknown>; [more: string]: unknown };
type ChartContainer = {
  image: string;
  env: { name: string; value?: string; valueFrom?: object }[];
  envFrom?: { secretRef: { name: string } }[];
  ports: { name: string; containerPort: number }[];
  readinessProbe: { httpGet: { path: string; port: string; scheme: string } };
  volumeMounts: { name: string; mountPath: string }[];
  [more: string]: unknown;
};
export type Pod = {
  serviceAccountName: string;
  containers: [ChartContainer];
  volumes: { name: string; [kind: string]: unknown }[];
  [more: string]: unknown;
};

/** Values as a person would write them into a file. */
export type ChartValues = Record<string, unknown>;

/** What Helm makes of the chart, or the first line of why it does not. */
export async function render(values: ChartValues): Promise<{ objects: Rendered[] } | { refused: string }> {
  const { code, out, stderr } = await helm(["template", "stand", CHART, "--namespace", "ns", "--values", "-"], values);
  if (code !== 0) return { refused: stderr };
  return { objects: parseAllDocuments(out).flatMap((document) => (document.toJS() as Rendered | null) ?? []) };
}

export async function lint(values: ChartValues): Promise<string[]> {
  const { code, out, stderr } = await helm(["lint", "--strict", CHART, "--values", "-"], values);
  if (code === 0) return [];
  const complaints = out.split("\n").filter((line) => /^\[(?:ERROR|WARNING)\]/.test(line));
  return complaints.length > 0 ? complaints : [`helm lint ended with ${code}: ${stderr}`];
}

function helm(args: string[], values: ChartValues): Promise<{ code: number; out: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = execFile(HELM, args, { timeout: 60_000, maxBuffer: 1 << 24 }, (error, out, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), out, stderr });
    });
    child.stdin?.end(JSON.stringify(values));
  });
}

/** What an API server would refuse of it. */
export const faultsOf = (one: Rendered) =>
  strictFaults(one.kind, one, SCHEMAS[one.kind]).map((fault) => `${one.kind} ${one.metadata.name}: ${fault}`);

export const ofKind = (objects: Rendered[], kind: string) => objects.filter((one) => one.kind === kind);

/** The variables as a kubelet expands them. */
export const asInPod = (env: Record<string, string>, address = "fd00::5") =>
  Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value.replaceAll("$(POD_IP)", address)]));

export function podsOf(objects: Rendered[]) {
  return ofKind(objects, "Deployment").map(({ metadata, spec }) => {
    const template = spec["template"] as { metadata: Meta; spec: Pod };
    const [container] = template.spec.containers;
    const env = Object.fromEntries(container.env.map(({ name, value = "" }) => [name, value]));
    return { name: metadata.name, spec, labels: template.metadata.labels, meta: template.metadata, pod: template.spec, container, env };
  });
}
