import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { parseAllDocuments } from "yaml";
import { readSettings } from "../../conf/read-settings.ts";
import { OURS } from "../../drivers/kubernetes/definition.ts";
import { consoleSettingsFault, tcpListenerOptions } from "../../processes/listeners.ts";
import { configuredDriver, DEFAULT_SPAWNER_KEY } from "../../processes/open-driver.ts";
import { asInPod, faultsOf, lint, ofKind, podsOf, render } from "./chart.ts";
import { HELM } from "../run/helm.ts";
import { DEFAULT_REGISTRY, PLACEMENT, PUBLIC_NAMES, VALUE_SETS } from "./chart-values.ts";

const ROOT = join(import.meta.dirname, "../..");
const EMPTY_PLACEMENT = Object.fromEntries(Object.keys(PLACEMENT).map((name) => [name, undefined]));
t.test("each installation that a page shows is one that the chart takes", async (t) => {
  const pages = ["docs/quick-start.md", ...readdirSync(join(ROOT, "docs/deploy")).map((page) => `docs/deploy/${page}`)].filter((page) =>
    page.endsWith(".md"),
  );
  const commands = pages.flatMap((page) =>
    readFileSync(join(ROOT, page), "utf8")
      .replaceAll(/ \\\n */g, " ")
      .split("\n")
      .filter((line) => /^helm -n \S+ install /.test(line))
      .map((line) => ({ page, line })),
  );
  t.ok(commands.length >= 6, `${commands.length} commands`);
  const renderCommand = async ({ page, line }: { page: string; line: string }) => {
    // The page explains values in a file.
    const rendering = line.replace(/^helm (-n \S+) install/, '"$HELM" template $1').replace(/ --values \S+/, "");
    const output = promisify(execFile)("sh", ["-ec", rendering], { cwd: ROOT, env: { ...process.env, HELM }, maxBuffer: 1 << 24 });
    await t.resolves(output, `${page}: ${line}`);
  };
  await Promise.all(commands.map(renderCommand));
});

t.test("in front of a Datagrok server, which has the pages, there is no console", async (t) => {
  const rendered = await render({
    server: { env: { DATAGROK_URL: "http://datagrok:8080/api" } },
    spawner: { enabled: false },
    grokRegistryProxy: { enabled: false },
  });
  const objects = "objects" in rendered ? rendered.objects : [];
  t.strictSame(
    ofKind(objects, "Service").map(({ metadata }) => metadata.name),
    ["stand", "stand-control"],
  );
});

t.test("containers' pods are placed by the values of their host", async (t) => {
  const containers = { cvm: PLACEMENT, datagrok: { runtimeClass: "runc", tolerations: [{ operator: "Exists" }] } };
  const rendered = await render({ grokRegistryProxy: DEFAULT_REGISTRY, containers });
  const pods = podsOf("objects" in rendered ? rendered.objects : []);
  for (const { env } of pods) {
    const { settings } = readSettings({ env });
    const deploys = settings.role === "control" || settings.role === "spawner";
    t.match(settings.kubernetes.cvm, deploys ? PLACEMENT : { nodeSelector: undefined }, String(settings.role));
    if (deploys) t.strictSame(settings.kubernetes.datagrok, { ...EMPTY_PLACEMENT, ...containers.datagrok });
  }
  t.match(await render({ grokRegistryProxy: DEFAULT_REGISTRY, containers: { cvm: { nodeSelector: { a: 1 } } } }), { refused: /schema/ });
});

t.test("with IPv6 berth listens on such addresses, and control names its pod's own", async (t) => {
  for (const ipv6 of [false, true]) {
    const rendered = await render({ grokRegistryProxy: DEFAULT_REGISTRY, database: { existingSecret: "database" }, ipv6 });
    for (const { env } of podsOf("objects" in rendered ? rendered.objects : [])) {
      t.match(env, { BERTH_HOST: ipv6 ? "::" : "0.0.0.0", BERTH_METRICS_HOST: ipv6 ? "::" : "0.0.0.0" });
      t.equal(env["BERTH_GATEWAYS_HOST"], env["BERTH_ROLE"] === "control" ? "$(POD_IP)" : undefined);
    }
  }
});

t.test("TCP listeners have a Service of their own, whose name is the address that berth shows", async (t) => {
  const values = {
    grokRegistryProxy: DEFAULT_REGISTRY,
    tcp: { ports: "20000-20002", images: ["postgres:5432"] },
    networkPolicy: { enabled: true, tcpFrom: [{ podSelector: { matchLabels: { app: "grok-connect" } } }] },
  };
  const [rendered, complaints] = await Promise.all([render(values), lint(values)]);
  t.strictSame(complaints, []);
  const objects = "objects" in rendered ? rendered.objects : [];
  t.strictSame(objects.flatMap(faultsOf), [], "is what the API takes");
  const pods = podsOf(objects);
  const pod = pods.find(({ env }) => env["BERTH_ROLE"] === "gateway");
  const { settings, warnings } = readSettings({ env: pod?.env ?? {} });
  t.strictSame(warnings, []);
  const control = readSettings({ env: pods.find(({ env }) => env["BERTH_ROLE"] === "control")?.env ?? {} });
  t.strictSame(control.settings.tcp, settings.tcp, "control, which assigns them, has the same");
  const ports = [20_000, 20_001, 20_002];
  t.strictSame(tcpListenerOptions(settings), {
    ports: { first: 20_000, last: 20_002 },
    host: "stand-tcp.ns.svc",
    images: [{ name: "postgres", port: 5432 }],
  });
  t.equal(settings.tcp.host, "0.0.0.0");
  const service = ofKind(objects, "Service").find(({ metadata }) => metadata.name === "stand-tcp");
  t.match(service?.spec, { type: "ClusterIP", ports: ports.map((port) => ({ port })) });
  const selector = Object.entries(service?.spec["selector"] as Record<string, string>);
  t.ok(selector.every(([key, value]) => pod?.labels[key] === value));
  const policy = ofKind(objects, "NetworkPolicy").find(({ metadata }) => metadata.name === "stand-gateway");
  t.match((policy?.spec["ingress"] as object[] | undefined)?.at(-1), {
    ports: [{ port: 20_000, endPort: 20_002 }],
    from: values.networkPolicy.tcpFrom,
  });

  const without = await render({ grokRegistryProxy: DEFAULT_REGISTRY });
  t.notMatch(JSON.stringify(without), /-tcp|BERTH_TCP/);
  t.match(await render({ grokRegistryProxy: DEFAULT_REGISTRY, tcp: { ports: "20000-29999" } }), { refused: /1 to 250 ports/ });
});

const rulesOf = (file: string) =>
  parseAllDocuments(readFileSync(join(ROOT, "conf/kubernetes", file), "utf8"))
    .map((document) => document.toJS() as { kind: string; rules?: object[] })
    .find(({ kind }) => kind === "Role")?.rules ?? [];
const rules = rulesOf("rbac.yaml");

t.test("berth may run commands in pods where shells are on, else not", async (t) => {
  const granted = async (values: object) => {
    const rendered = await render({ grokRegistryProxy: DEFAULT_REGISTRY, ...values });
    return ofKind("objects" in rendered ? rendered.objects : [], "Role")[0]?.["rules"];
  };
  const withShells = [...rules, ...rulesOf("rbac-shell.yaml")];
  t.strictSame(await granted({ server: { env: { BERTH_SHELL: "on" } } }), withShells);
  t.strictSame(await granted({ server: { env: { BERTH_SHELL: "off" } }, control: { env: { BERTH_SHELL: "true" } } }), withShells);
  t.strictSame(await granted({ server: { env: { BERTH_SHELL: "off" } } }), rules);
});

for (const [name, { values, roles, ports }] of Object.entries(VALUE_SETS)) {
  t.test(`the chart, ${name}`, async (t) => {
    const [rendered, complaints] = await Promise.all([render(values), lint(values)]);
    t.strictSame(complaints, []);
    const objects = "objects" in rendered ? rendered.objects : [];
    t.strictSame(objects.flatMap(faultsOf), [], "is what the API takes");
    const pods = podsOf(objects);
    t.strictSame(pods.map(({ env }) => env["BERTH_ROLE"] ?? "").toSorted(), roles);

    await t.test("gives berth settings that it takes", (t) => {
      for (const { env, container } of pods) {
        const given = ofKind(objects, "Secret").flatMap(({ data }) => Object.entries(data as Record<string, string>));
        const isSetting = ([name]: [string, string]) => /^[A-Z]/.test(name) && env["BERTH_ROLE"] !== "gateway";
        const secrets = Object.fromEntries(given.filter(isSetting).map(([key, value]) => [key, Buffer.from(value, "base64").toString()]));
        const readText = (path: string) => (path === "/etc/berth/database/url" ? "postgres://berth@db.internal/berth" : "");
        const { settings, warnings } = readSettings({ env: { ...asInPod(env), ...secrets }, readText });
        t.strictSame(warnings, []);
        const deploys = settings.role === "control" || settings.role === "spawner";
        if (deploys) t.equal(configuredDriver(settings), (values["driver"] as string | undefined) ?? "kubernetes");
        if (settings.role === "spawner" && (values["secret"] as { existing?: string[] } | undefined)?.existing === undefined)
          t.not(settings.spawnerApiKey, DEFAULT_SPAWNER_KEY, "not the key that everyone has");
        const listens = {
          8080: settings.edgePort,
          8081: settings.consolePort,
          8000: settings.spawnerPort,
          5000: settings.registryPort,
          8443: settings.gateways.port,
          9464: settings.metricsPort,
        };
        const { consoleHost } = (values["ingress"] ?? {}) as Partial<typeof PUBLIC_NAMES>;
        const hasDatabase = values["database"] !== undefined;
        if (settings.role === "control" || settings.role === "gateway") {
          t.equal(settings.consoleUrl, consoleHost === undefined || hasDatabase ? undefined : `https://${consoleHost}`);
          t.equal(settings.consoleName, hasDatabase ? consoleHost : undefined);
          t.equal(consoleSettingsFault(settings), undefined);
        }
        const idle = /\d+$/.exec(ofKind(objects, "Ingress")[0]?.metadata.annotations?.["alb.ingress.kubernetes.io/load-balancer-attributes"] ?? "0");
        if (settings.role !== "spawner") t.ok(settings.keepAliveTimeout > Number(idle) * 1_000, "a load balancer closes first");
        for (const { containerPort } of container.ports) t.equal(listens[containerPort as keyof typeof listens], containerPort);
      }
      t.end();
    });

    await t.test("leads to each port by a Service, and there from the Ingress", (t) => {
      const services = ofKind(objects, "Service").filter(({ metadata }) => metadata.name !== "stand-control");
      const reached = services.flatMap(({ spec }) => {
        const selector = Object.entries(spec["selector"] as Record<string, string>);
        const behind = pods.filter(({ labels }) => selector.every(([key, value]) => labels[key] === value));
        t.equal(behind.length, 1);
        const [{ targetPort }] = spec["ports"] as [{ targetPort: string }];
        return behind.flatMap(({ container }) => container.ports.find((port) => port.name === targetPort)?.containerPort ?? []);
      });
      t.strictSame(
        reached.toSorted((a, b) => a - b),
        ports,
      );
      for (const { spec, metadata } of ofKind(objects, "Ingress")) {
        type Backend = { host: string; http: { paths: [{ backend: { service: { name: string; port: { name: string } } } }] } };
        const hosts = (spec["rules"] as Backend[]).map(({ host, http }) => {
          const { name: to, port } = http.paths[0].backend.service;
          const service = services.find((one) => one.metadata.name === to);
          t.match(service?.spec, { ports: [{ name: port.name }] });
          return host;
        });
        const { host, consoleHost, registryHost } = (values["ingress"] ?? {}) as Partial<typeof PUBLIC_NAMES>;
        t.strictSame(
          hosts,
          [host, consoleHost, registryHost].filter((one) => one !== undefined),
        );
        t.match(metadata.annotations, {
          "nginx.ingress.kubernetes.io/proxy-read-timeout": "3600",
          "nginx.ingress.kubernetes.io/proxy-request-buffering": "off",
          "alb.ingress.kubernetes.io/load-balancer-attributes": "idle_timeout.timeout_seconds=3600",
        });
      }
      t.end();
    });

    await t.test("runs it without rights on the node, one at a time where order matters", (t) => {
      for (const { pod, container, env, spec, labels, name: which } of pods) {
        t.match(pod, { enableServiceLinks: false, securityContext: { runAsNonRoot: true, runAsUser: 10_001, fsGroup: 10_001 } }, which);
        t.match(container["securityContext"], { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] } });
        t.match(container["resources"], { requests: { cpu: String, memory: String }, limits: { memory: String } });
        const role = env["BERTH_ROLE"];
        const isOne = role === "spawner" || (role === "control" && values["database"] === undefined);
        const rolls = { strategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 0 } } };
        t.match(spec, isOne ? { replicas: 1, strategy: { type: "Recreate" } } : rolls);
        if (!isOne && role !== "gateway") t.equal(spec["replicas"], 2);
        t.equal(pod["automountServiceAccountToken"], role !== "gateway" && env["BERTH_DRIVER"] === "kubernetes");
        const until = Number(env["BERTH_DRAIN_DELAY_SECONDS"]) + Number(env["BERTH_DRAIN_SECONDS"]);
        t.ok(Number(pod["terminationGracePeriodSeconds"]) > until + 10, "it ends by itself before it is killed");
        t.not(labels["app.kubernetes.io/managed-by"], OURS["app.kubernetes.io/managed-by"], "the driver must not take it for one of its own");
        const writable = container.volumeMounts.map(({ mountPath }) => mountPath);
        t.ok(writable.includes("/tmp") && writable.includes("/var/lib/berth"));
        t.strictSame(
          container.volumeMounts.map((mount) => mount.name),
          pod.volumes.map((volume) => volume.name),
        );
      }
      t.end();
    });

    await t.test("grants what conf/kubernetes/rbac.yaml does where it deploys, else nothing", (t) => {
      const deploys = pods.some(({ pod }) => pod["automountServiceAccountToken"] === true);
      const namespace = (values["containers"] as { namespace?: string } | undefined)?.namespace ?? "ns";
      const [role, binding] = [...ofKind(objects, "Role"), ...ofKind(objects, "RoleBinding")];
      t.strictSame(role && { rules: role["rules"], at: role.metadata.namespace }, deploys ? { rules, at: namespace } : undefined);
      const account = ofKind(objects, "ServiceAccount")[0]?.metadata;
      t.strictSame(binding?.["subjects"], deploys ? [{ kind: "ServiceAccount", name: account?.name, namespace: "ns" }] : undefined);
      t.strictSame(account?.annotations, (values["serviceAccount"] as { annotations?: object } | undefined)?.annotations);
      for (const { pod, env } of pods) t.equal(pod.serviceAccountName, env["BERTH_ROLE"] === "gateway" ? "stand-gateway" : account?.name);
      for (const { env } of pods.filter(({ env: one }) => one["BERTH_DRIVER"] === "kubernetes"))
        t.equal(env["GROK_SPAWNER_KUBERNETES__NAMESPACE"], namespace);
      t.end();
    });

    await t.test("says what is secret in Secrets alone", (t) => {
      const others = JSON.stringify(objects.filter(({ kind }) => kind !== "Secret"));
      const { data = {}, existing = [] } = (values["secret"] ?? {}) as { data?: Record<string, string>; existing?: string[] };
      for (const secret of Object.values(data)) t.notOk(others.includes(secret) || others.includes(Buffer.from(secret).toString("base64")));
      const made = ofKind(objects, "Secret").filter(({ metadata }) => metadata.name === "stand");
      const keys = Object.keys(made[0]?.["data"] ?? {});
      const makesKey = roles.includes("spawner") && existing.length === 0 && data["X_API_KEY"] === undefined;
      const makesSeal = values["database"] !== undefined;
      t.strictSame(
        keys.toSorted(),
        [...Object.keys(data), ...(makesKey ? ["X_API_KEY"] : []), ...(makesSeal ? ["BERTH_CREDENTIALS_KEY"] : [])].toSorted(),
      );
      for (const { container, env } of pods)
        t.strictSame(
          (container.envFrom ?? []).map(({ secretRef }) => secretRef.name),
          env["BERTH_ROLE"] === "gateway" ? [] : [...(made.length > 0 ? ["stand"] : []), ...existing],
        );
      t.end();
    });

    await t.test("keeps the store where it has one, and only its pods reach the containers", (t) => {
      const { enabled = true, existingClaim, backupClaim } = (values["persistence"] ?? {}) as Record<string, unknown>;
      const has = roles.includes("control") && enabled === true && values["database"] === undefined;
      const made = ofKind(objects, "PersistentVolumeClaim");
      t.strictSame(
        made.map(({ metadata }) => [metadata.name, metadata.annotations?.["helm.sh/resource-policy"]]),
        has && existingClaim === undefined ? [["stand", "keep"]] : [],
      );
      const claims = pods.flatMap(({ pod }) =>
        pod.volumes.flatMap((one) => (one["persistentVolumeClaim"] as { claimName: string } | undefined)?.claimName ?? []),
      );
      t.strictSame(claims, has ? [existingClaim ?? "stand", ...(backupClaim === undefined ? [] : [backupClaim])] : []);
      const policies = ofKind(objects, "NetworkPolicy");
      const isOn = (values["networkPolicy"] as { enabled?: boolean } | undefined)?.enabled === true;
      t.equal(policies.length, isOn ? pods.length + (pods.some(({ env }) => env["BERTH_DRIVER"] === "kubernetes") ? 1 : 0) : 0);
      for (const { spec } of policies) {
        const { matchLabels } = spec["podSelector"] as { matchLabels: Record<string, string> };
        if (matchLabels["app.kubernetes.io/managed-by"] === undefined) continue;
        t.strictSame(matchLabels, OURS);
        const may = pods.filter(({ labels }) => admits(spec, labels)).map(({ env }) => env["BERTH_ROLE"]);
        t.strictSame(
          may.map(String).toSorted((a, b) => a.localeCompare(b)),
          roles.filter((role) => role !== "registry-proxy"),
        );
      }
      t.end();
    });
  });
}

type Peer = { podSelector?: { matchLabels?: Record<string, string>; matchExpressions?: { key: string; values: string[] }[] } };

/** Whether a policy lets a pod with these labels connect to any port. */
function admits(spec: Record<string, unknown>, labels: Record<string, string>): boolean {
  const peers = (spec["ingress"] as { from?: Peer[] }[]).flatMap(({ from = [] }) => from);
  return peers.some(
    ({ podSelector: { matchLabels = {}, matchExpressions = [] } = {} }) =>
      Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
      matchExpressions.every(({ key, values }) => values.includes(labels[key] ?? "")),
  );
}
