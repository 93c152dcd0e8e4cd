import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { X509Certificate } from "node:crypto";
import { parse } from "yaml";
import { readSettings } from "../../conf/read-settings.ts";
import { asInPod, type ChartValues, faultsOf, lint, ofKind, podsOf, render, type Rendered } from "./chart.ts";

const ROOT = join(import.meta.dirname, "../..");
const REGISTRY = { grokRegistryProxy: { env: { REGISTRY_URL: "registry.internal" } } };
const NAMES = { host: "stand.example", consoleHost: "console.stand.example", registryHost: "registry.stand.example" };
const DATABASE = { database: { existingSecret: "stand-database" } };

async function objectsOf(values: ChartValues): Promise<Rendered[]> {
  const [rendered, complaints] = await Promise.all([render({ ...REGISTRY, ...values }), lint({ ...REGISTRY, ...values })]);
  const objects = "objects" in rendered ? rendered.objects : [];
  const faults = [...complaints, ...objects.flatMap(faultsOf)];
  if (faults.length > 0 || objects.length === 0) throw new Error(faults.join("\n") || JSON.stringify(rendered));
  return objects;
}
const existing = <T>(value: T | undefined): T => {
  if (value === undefined) throw new Error("The chart renders no such object.");
  return value;
};
const named = (objects: Rendered[], kind: string, name: string) => existing(ofKind(objects, kind).find(({ metadata }) => metadata.name === name));
const podOf = (objects: Rendered[], role: string) => existing(podsOf(objects).find(({ env }) => env["BERTH_ROLE"] === role));
/** An object's data, as a Secret or a ConfigMap has it. */
const dataOf = (object: Rendered) => object["data"] as Record<string, string>;

t.test("gateways scale by their CPU, prefer different nodes, and one at most is taken away by a drain", async (t) => {
  const objects = await objectsOf({});
  const gateway = podOf(objects, "gateway");
  t.match(named(objects, "HorizontalPodAutoscaler", "stand-gateway").spec, {
    scaleTargetRef: { kind: "Deployment", name: gateway.name },
    minReplicas: 2,
    metrics: [{ resource: { name: "cpu", target: { averageUtilization: 70 } } }],
  });
  t.equal(gateway.spec["replicas"], undefined, "an upgrade does not set back what the autoscaler decided");
  type Affinity = { podAntiAffinity: { preferredDuringSchedulingIgnoredDuringExecution: { podAffinityTerm: { topologyKey: string } }[] } };
  const terms = (gateway.pod["affinity"] as Affinity).podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution;
  t.same(
    terms.map(({ podAffinityTerm }) => podAffinityTerm.topologyKey),
    ["kubernetes.io/hostname", "topology.kubernetes.io/zone"],
  );
  const budgets = (of: Rendered[]) => ofKind(of, "PodDisruptionBudget").map(({ metadata }) => metadata.name);
  t.same(budgets(objects), ["stand-gateway", "stand-registry"], "one of a single pod would block the drain of its node");
  t.same(budgets(await objectsOf(DATABASE)), ["stand-control", "stand-gateway", "stand-registry"]);

  const fixed = await objectsOf({ gateway: { replicas: 3, autoscaling: { enabled: false }, affinity: { nodeAffinity: {} } } });
  t.same(ofKind(fixed, "HorizontalPodAutoscaler"), []);
  t.match(podOf(fixed, "gateway"), { spec: { replicas: 3 }, pod: { affinity: { nodeAffinity: {} } } });
});

t.test("gateways find control by its Service, with a token and a certificate that only they share", async (t) => {
  const objects = await objectsOf({});
  const { token = "", "tls.crt": cert = "", "ca.crt": ca = "" } = dataOf(named(objects, "Secret", "stand-gateways"));
  t.match(Buffer.from(token, "base64").toString(), /^[0-9a-f]{64}$/);
  t.equal(cert, ca);
  const { settings } = readSettings({ env: podOf(objects, "gateway").env });
  t.same(settings.control.url, ["https://stand-control.ns.svc:8443"]);
  t.ok(settings.control.wait, "a request waits while the single control process is replaced");
  const x509 = new X509Certificate(Buffer.from(cert, "base64"));
  t.ok(x509.checkHost("stand-control.ns.svc") !== undefined && Date.parse(x509.validTo) > Date.now() + 9 * 365 * 86_400_000);
  const filesOf = (role: string) => JSON.stringify(podOf(objects, role).pod.volumes.find(({ name }) => name === "gateways"));
  t.notMatch(filesOf("gateway"), /tls\.key/, "control's key is in no gateway");
  t.match(filesOf("control"), /tls\.key/);
  const service = named(objects, "Service", "stand-control");
  t.match(service.spec, { publishNotReadyAddresses: true, ports: [{ port: 8443 }] });
  t.equal(service.spec["clusterIP"], undefined, "an address that stays while the pod is replaced");

  const given = await objectsOf({ control: { tokenSecret: "own-token", tls: { issuer: { name: "internal" } } } });
  t.notOk(ofKind(given, "Secret").some(({ metadata }) => metadata.name === "stand-gateways"));
  t.match(named(given, "Certificate", "stand-control").spec, {
    secretName: "stand-control-tls",
    dnsNames: ["stand-control.ns.svc"],
    issuerRef: { name: "internal", kind: "Issuer" },
  });
  t.match(JSON.stringify(podOf(given, "gateway").pod.volumes), /own-token.*stand-control-tls/);
});

t.test("with a database control runs twice behind a headless Service, and a rollout waits for the cluster's DNS", async (t) => {
  const objects = await objectsOf({ database: { existingSecret: "stand-database", urlKey: "uri", passwordKey: "password", caKey: "ca" } });
  t.equal(named(objects, "Service", "stand-control").spec["clusterIP"], "None");
  const control = podOf(objects, "control");
  t.match(control.spec, { replicas: 2, minReadySeconds: 30, strategy: { rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } } });
  t.equal(control.container.readinessProbe.httpGet.path, "/livez", "a standby is ready too");
  t.match(control.container.env[0], { name: "POD_IP", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } });
  const files: string[] = [];
  const { settings } = readSettings({
    env: asInPod(control.env ?? {}),
    readText: (path) => (files.push(path), "postgres://berth@db.internal/berth"),
  });
  t.same(files, ["/etc/berth/database/url"]);
  t.match(settings, {
    database: { url: "postgres://berth@db.internal/berth", passwordFile: "/etc/berth/database/password", ca: "/etc/berth/database/ca.crt" },
    gateways: { host: "fd00::5", url: undefined },
  });
  const kept = named(objects, "Secret", "stand");
  t.match(Buffer.from(dataOf(kept)["BERTH_CREDENTIALS_KEY"] ?? "", "base64").toString(), /^[0-9a-f]{64}$/);
  t.equal(kept.metadata.annotations?.["helm.sh/resource-policy"], "keep");
  t.same(named(objects, "Service", "stand-console").spec["selector"], named(objects, "Service", "stand").spec["selector"]);
});

t.test(
  "the spawner and the registry proxy authenticate at the server of the release, or at the Datagrok server that it is in front of",
  async (t) => {
    const own = await objectsOf({});
    const api = "http://stand.ns.svc:8080/api";
    t.same(
      ["spawner", "registry-proxy"].map((role) => podOf(own, role).env["DATAGROK_URL"]),
      [api, api],
    );
    t.equal(podOf(own, "control").env["GROK_SPAWNER_DATAGROK_API_URL"], api);
    t.equal(podOf(own, "control").env["REGISTRY_URL"], "registry.internal", "control resolves images there");
    const url = "http://datagrok:8080/api";
    const before = await objectsOf({ server: { env: { DATAGROK_URL: url } } });
    t.same(
      ["spawner", "registry-proxy", "gateway"].map((role) => podOf(before, role).env["DATAGROK_URL"]),
      [url, url, url],
    );
  },
);

t.test("an HTTPRoute leads to the same Services as the Ingress, and neither has a time limit of its own", async (t) => {
  const values = { ingress: NAMES, httpRoute: { enabled: true, parentRefs: [{ name: "public", namespace: "gateways", sectionName: "https" }] } };
  const objects = await objectsOf(values);
  t.same(ofKind(objects, "Ingress"), []);
  for (const [host, service, port] of [
    [NAMES.host, "stand", 8080],
    [NAMES.consoleHost, "stand-console", 8081],
    [NAMES.registryHost, "stand-registry", 5000],
  ] as const)
    t.match(named(objects, "HTTPRoute", service).spec, {
      parentRefs: values.httpRoute.parentRefs,
      hostnames: [host],
      rules: [{ backendRefs: [{ name: service, port }], timeouts: { request: "0s" } }],
    });
  const { settings } = readSettings({ env: podOf(objects, "control").env });
  t.match(settings, { webRoot: "https://stand.example", consoleUrl: "https://console.stand.example", trustedProxies: ["private"] });
});

t.test("the certificate of the public names is a Secret or cert-manager's, for the Ingress and for gateways with TLS", async (t) => {
  const issued = await objectsOf({ ingress: { enabled: true, ...NAMES }, tls: { issuer: { name: "letsencrypt" } } });
  t.match(named(issued, "Certificate", "stand-tls").spec, {
    secretName: "stand-tls",
    dnsNames: Object.values(NAMES),
    issuerRef: { kind: "ClusterIssuer" },
  });
  t.same(ofKind(issued, "Ingress")[0]?.spec["tls"], [{ secretName: "stand-tls", hosts: Object.values(NAMES) }]);

  const own = await objectsOf({
    ingress: { host: NAMES.host },
    tls: { secretName: "public" },
    gateway: { tls: true, service: { type: "LoadBalancer" } },
  });
  const gateway = podOf(own, "gateway");
  t.equal(gateway.container.readinessProbe.httpGet.scheme, "HTTPS");
  t.ok(gateway.pod.volumes.some((volume) => (volume["secret"] as { secretName?: string } | undefined)?.secretName === "public"));
  const { settings } = readSettings({ env: gateway.env });
  t.match(settings, { tlsCert: "/etc/berth/tls/tls.crt", webRoot: "https://stand.example" });
  t.equal(podOf(own, "control").env["GROK_SPAWNER_DATAGROK_API_URL"], "https://stand.example/api", "the name of the certificate");
});

t.test("Prometheus finds all pods, with the project's alerts, and Grafana the dashboard", async (t) => {
  const on = { enabled: true, labels: { release: "prometheus" } };
  const objects = await objectsOf({ monitoring: { serviceMonitor: on, prometheusRule: on, dashboard: { enabled: true } } });
  const monitor = named(objects, "ServiceMonitor", "stand");
  t.match(monitor.metadata.labels, { release: "prometheus" });
  const { matchLabels } = monitor.spec["selector"] as { matchLabels: Record<string, string> };
  const service = named(objects, "Service", "stand-metrics");
  t.match(service.metadata.labels, matchLabels);
  t.match(monitor.spec["endpoints"], [{ port: "metrics" }]);
  const selector = Object.entries(service.spec["selector"] as Record<string, string>);
  for (const { labels, container, env } of podsOf(objects)) {
    t.ok(selector.every(([key, value]) => labels[key] === value));
    t.ok(container.ports.some(({ name, containerPort }) => name === "metrics" && containerPort === Number(env["BERTH_METRICS_PORT"])));
  }
  const alerts = parse(readFileSync(join(ROOT, "conf/grafana/alerts.yaml"), "utf8")) as { groups: unknown };
  t.strictSame(named(objects, "PrometheusRule", "stand").spec["groups"], alerts.groups);
  const based = await objectsOf({ monitoring: { prometheusRule: { ...on, runbookBase: "https://git.example/berth/blob/main/" } } });
  const texts = JSON.stringify(named(based, "PrometheusRule", "stand").spec["groups"]);
  t.match(texts, '"runbook_url":"https://git.example/berth/blob/main/docs/deploy/alerts.md#berthaway"');
  t.notMatch(texts, '"runbook_url":"docs/');
  const board = named(objects, "ConfigMap", "stand-dashboard");
  t.equal(board.metadata.labels["grafana_dashboard"], "1");
  t.strictSame(JSON.parse(dataOf(board)["berth.json"] ?? ""), JSON.parse(readFileSync(join(ROOT, "conf/grafana/berth.json"), "utf8")));
  t.notMatch(JSON.stringify(await objectsOf({})), /monitoring\.coreos|grafana_dashboard/);
});

/** Which labels may connect to which port, by all policies of the pod. `everyone`: any peer. */
t.test("policies: control is for gateways only, containers and pods of the release reach the API, metrics are for Prometheus", async (t) => {
  const peer = (app: string) => ({ podSelector: { matchLabels: { app } } });
  const lists = { edgeFrom: "ingress", consoleFrom: "ingress", spawnerFrom: "datagrok", registryFrom: "ci", metricsFrom: "prometheus" };
  const objects = await objectsOf({
    containers: { namespace: "plugins" },
    networkPolicy: { enabled: true, ...Object.fromEntries(Object.entries(lists).map(([list, app]) => [list, [peer(app)]])) },
  });
  type Rule = { ports: { port: number }[]; from?: { podSelector: { matchLabels: Record<string, string> }; namespaceSelector?: object }[] };
  const allowed = (name: string) =>
    (named(objects, "NetworkPolicy", name).spec["ingress"] as Rule[]).map(({ ports, from = [] }) => [
      ports[0]?.port,
      from.map(
        ({ podSelector: { matchLabels: labels } }) =>
          labels["app"] ?? labels["app.kubernetes.io/component"] ?? labels["app.kubernetes.io/managed-by"] ?? labels["app.kubernetes.io/instance"],
      ),
    ]);
  t.strictSame(allowed("stand-gateway"), [
    [8080, ["ingress", "stand"]],
    [8080, ["berth"]],
    [9464, ["prometheus"]],
  ]);
  t.strictSame(allowed("stand-control"), [
    [8081, ["ingress", "stand"]],
    [8443, ["gateway"]],
    [9464, ["prometheus"]],
  ]);
  t.strictSame(allowed("stand-spawner")[0], [8000, ["datagrok", "stand"]]);
  t.strictSame(allowed("stand-registry")[0], [5000, ["ci", "stand"]]);
  t.match(named(objects, "NetworkPolicy", "stand-gateway").spec["ingress"], [
    {},
    { from: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "plugins" } } }] },
  ]);
  t.equal(named(objects, "NetworkPolicy", "stand-containers").metadata.namespace, "plugins");

  const shared = await objectsOf({ ...DATABASE, networkPolicy: { enabled: true, edgeFrom: [peer("ingress")] } });
  const rules = named(shared, "NetworkPolicy", "stand-gateway").spec["ingress"] as Rule[];
  t.same(
    rules.map(({ from }) => from?.[0]?.podSelector.matchLabels["app"] ?? from?.[0]?.podSelector.matchLabels),
    ["ingress", { "app.kubernetes.io/managed-by": "berth" }],
    "the console at the edge's port opens it for no other",
  );
});

t.test("what the chart creates has the version of the chart as the default tag of each image", async (t) => {
  const { appVersion } = parse(readFileSync(join(ROOT, "conf/helm/Chart.yaml"), "utf8")) as { appVersion: string };
  for (const { container } of podsOf(await objectsOf({}))) t.equal(container.image, `berth:${appVersion}`);
});
