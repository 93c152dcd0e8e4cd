import { chmodSync, chownSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { parseAllDocuments } from "yaml";
import { readSettings } from "../../conf/read-settings.ts";
import { rowsOf } from "../../conf/row.ts";
import { SETTINGS } from "../../conf/settings.ts";
import { OURS } from "../../drivers/kubernetes/definition.ts";
import { tcpListenerOptions } from "../../processes/listeners.ts";
import { configuredDriver } from "../../processes/open-driver.ts";
import { startBerthProcess } from "../fixtures/berth-process.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { CHART, type ChartValues, faultsOf, lint, ofKind, podsOf, render } from "./chart.ts";

const ROOT = join(import.meta.dirname, "../..");
const KEY = "a-key-that-is-unknown";
const SECRET = { data: { X_API_KEY: KEY, REGISTRY_PASSWORD: "of-the-registry" } };
const NAMES = { host: "stand.example", consoleHost: "console.stand.example", registryHost: "registry.stand.example" };

/** What administrators set; `roles` are the processes that result, `ports` what can be reached. */
const SETS: Record<string, { values: ChartValues; roles: string[]; ports: number[] }> = {
  "nothing but defaults": { values: {}, roles: ["serve"], ports: [8080, 8081] },
  "all in one pod, opened to the outside": {
    values: {
      spawner: { enabled: true },
      grokRegistryProxy: { enabled: true, env: { REGISTRY_URL: "registry.internal:5000", REGISTRY_USERNAME: "berth" } },
      secret: SECRET,
      containers: { namespace: "plugins", pullSecret: "pull" },
      persistence: { existingClaim: "old", backupClaim: "backup" },
      ingress: {
        enabled: true,
        className: "nginx",
        ...NAMES,
        tls: [{ secretName: "tls", hosts: Object.values(NAMES) }],
        trustedProxies: "10.1.0.0/16",
      },
      networkPolicy: { enabled: true, spawnerFrom: [{ podSelector: { matchLabels: { app: "datagrok" } } }] },
    },
    roles: ["serve"],
    ports: [5000, 8000, 8080, 8081],
  },
  "in grok_spawner's place alone": {
    values: {
      server: { enabled: false },
      spawner: {
        enabled: true,
        image: { repository: "grok_spawner", tag: "1" },
        service: { name: "grok-spawner" },
        env: { GROK_SPAWNER_CORE_MODE: "x" },
      },
      secret: { existing: ["stand-keys"] },
      networkPolicy: { enabled: true },
    },
    roles: ["spawner"],
    ports: [8000],
  },
  "in grok_registry_proxy's place alone, before ECR": {
    values: {
      server: { enabled: false },
      grokRegistryProxy: { enabled: true, replicas: 2, env: { ECR_MODE: "true", AWS_REGION: "eu-west-1", DATAGROK_URL: "http://datagrok:8080/api" } },
      serviceAccount: { annotations: { "eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/registry" } },
      ingress: { enabled: true, className: "alb", registryHost: NAMES.registryHost },
    },
    roles: ["registry-proxy"],
    ports: [5000],
  },
  "in the place of both": {
    values: {
      server: { enabled: false },
      spawner: { enabled: true },
      grokRegistryProxy: { enabled: true, env: { REGISTRY_URL: "registry.internal", DATAGROK_URL: "http://datagrok:8080/api" } },
      secret: SECRET,
      podLabels: { team: "a" },
      tolerations: [{ key: "x", operator: "Exists" }],
    },
    roles: ["registry-proxy", "spawner"],
    ports: [5000, 8000],
  },
  "with containers elsewhere, and no disk": {
    values: {
      driver: "spawner",
      server: {
        env: {
          GROK_PARAMETERS_DOCKER_SETTINGS__GROK_SPAWNER_HOST: "spawner.example",
          GROK_PARAMETERS_DOCKER_SETTINGS__SPAWNER_AUTH_MODE: "password",
          BERTH_WORKERS: "2",
        },
      },
      secret: { data: { GROK_PARAMETERS_DOCKER_SETTINGS__GROK_SPAWNER_API_KEY: KEY } },
      persistence: { enabled: false },
      networkPolicy: { enabled: true },
    },
    roles: ["serve"],
    ports: [8080, 8081],
  },
};

t.test("in front of a Datagrok server, which has the pages, there is no console", async (t) => {
  const rendered = await render({ server: { env: { DATAGROK_URL: "http://datagrok:8080/api" } } });
  const objects = "objects" in rendered ? rendered.objects : [];
  t.strictSame(
    ofKind(objects, "Service").map(({ metadata }) => metadata.name),
    ["stand"],
  );
});

t.test("TCP listeners have a Service of their own, whose name is the address that berth shows", async (t) => {
  const values = {
    tcp: { ports: "20000-20002", images: ["postgres:5432"] },
    networkPolicy: { enabled: true, tcpFrom: [{ podSelector: { matchLabels: { app: "grok-connect" } } }] },
  };
  const [rendered, complaints] = await Promise.all([render(values), lint(values)]);
  t.strictSame(complaints, []);
  const objects = "objects" in rendered ? rendered.objects : [];
  t.strictSame(objects.flatMap(faultsOf), [], "is what the API takes");
  const [pod] = podsOf(objects);
  const { settings, warnings } = readSettings({ env: pod?.env ?? {} });
  t.strictSame(warnings, []);
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
  const policy = ofKind(objects, "NetworkPolicy").find(({ metadata }) => metadata.name === "stand");
  t.match((policy?.spec["ingress"] as object[] | undefined)?.at(-1), {
    ports: [{ port: 20_000, endPort: 20_002 }],
    from: values.networkPolicy.tcpFrom,
  });

  const without = await render({});
  t.notMatch(JSON.stringify(without), /-tcp|BERTH_TCP/);
  t.match(await render({ tcp: { ports: "20000-29999" } }), { refused: /1 to 250 ports/ });
});

const rules = parseAllDocuments(readFileSync(join(ROOT, "conf/kubernetes/rbac.yaml"), "utf8"))
  .map((document) => document.toJS() as { kind: string; rules: unknown })
  .find(({ kind }) => kind === "Role")?.rules;

for (const [name, { values, roles, ports }] of Object.entries(SETS)) {
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
        const secrets = Object.fromEntries(given.map(([key, value]) => [key, Buffer.from(value, "base64").toString()]));
        const { settings, warnings } = readSettings({ env: { ...env, ...secrets } });
        t.strictSame(warnings, []);
        if (settings.role !== "registry-proxy") t.equal(configuredDriver(settings), (values["driver"] as string | undefined) ?? "kubernetes");
        t.equal(settings.spawner, settings.role === "serve" && ports.includes(8000));
        const listens = { 8080: settings.edgePort, 8081: settings.consolePort, 8000: settings.spawnerPort, 5000: settings.registryPort };
        const { consoleHost } = (values["ingress"] ?? {}) as Partial<typeof NAMES>;
        t.equal(settings.consoleUrl, consoleHost === undefined ? undefined : `https://${consoleHost}`);
        const idle = /\d+$/.exec(ofKind(objects, "Ingress")[0]?.metadata.annotations?.["alb.ingress.kubernetes.io/load-balancer-attributes"] ?? "0");
        if (settings.role !== "spawner") t.ok(settings.keepAliveTimeout > Number(idle) * 1_000, "a load balancer lets go first");
        for (const { containerPort } of container.ports) t.equal(listens[containerPort as keyof typeof listens], containerPort);
      }
      t.end();
    });

    await t.test("leads to each port by a Service, and there from the Ingress", (t) => {
      const services = ofKind(objects, "Service");
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
        const { host, consoleHost, registryHost } = (values["ingress"] ?? {}) as Partial<typeof NAMES>;
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
        t.match(spec, role === "registry-proxy" ? { replicas: Number } : { replicas: 1, strategy: { type: "Recreate" } });
        t.equal(pod["automountServiceAccountToken"], role !== "registry-proxy" && env["BERTH_DRIVER"] === "kubernetes");
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
      for (const { pod } of pods) t.equal(pod.serviceAccountName, account?.name);
      for (const { env } of pods.filter(({ env: one }) => one["BERTH_DRIVER"] === "kubernetes"))
        t.equal(env["GROK_SPAWNER_KUBERNETES__NAMESPACE"], namespace);
      t.end();
    });

    await t.test("says what is secret in Secrets alone", (t) => {
      const others = JSON.stringify(objects.filter(({ kind }) => kind !== "Secret"));
      const { data = {}, existing = [] } = (values["secret"] ?? {}) as { data?: Record<string, string>; existing?: string[] };
      for (const secret of Object.values(data)) t.notOk(others.includes(secret) || others.includes(Buffer.from(secret).toString("base64")));
      const made = ofKind(objects, "Secret").map(({ metadata }) => metadata.name);
      t.equal(made.length, Object.keys(data).length > 0 ? 1 : 0);
      for (const { container } of pods)
        t.strictSame(
          (container.envFrom ?? []).map(({ secretRef }) => secretRef.name),
          [...made, ...existing],
        );
      t.end();
    });

    await t.test("keeps the store where it has one, and only its pods reach the containers", (t) => {
      const { enabled = true, existingClaim, backupClaim } = (values["persistence"] ?? {}) as Record<string, unknown>;
      const has = roles.includes("serve") && enabled === true;
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
        type From = { from: [{ podSelector: { matchLabels: Record<string, string> } }] }[];
        const [from] = (spec["ingress"] as From)[0]?.from ?? [];
        const may = pods.filter(({ labels }) => Object.entries(from?.podSelector.matchLabels ?? {}).every(([key, value]) => labels[key] === value));
        t.equal(may.length, 1);
      }
      t.end();
    });
  });
}

const REFUSED: Record<string, ChartValues> = {
  "nothing to deploy": { server: { enabled: false } },
  "a value that is none": { sever: { enabled: true } },
  "a port that is none of Kubernetes's": { server: { service: { type: "Ingress" } } },
  "a number, which YAML would round": { server: { env: { BERTH_IDLE_TIMEOUT: 3_600_000 } } },
  "a secret among the settings": { server: { env: { X_API_KEY: KEY } } },
  "keys of AWS among the settings": { grokRegistryProxy: { env: { AWS_SECRET_ACCESS_KEY: KEY } } },
  "a setting that the chart's ports hang on": { server: { env: { BERTH_EDGE_PORT: "80" } } },
  "a port of the console that its Service does not lead to": { server: { env: { BERTH_CONSOLE_PORT: "9000" } } },
  "a spawner with the key that everybody knows": { spawner: { enabled: true } },
  "a registry proxy without a registry": { grokRegistryProxy: { enabled: true } },
  "a registry proxy that knows no users": { server: { enabled: false }, grokRegistryProxy: { enabled: true, env: { REGISTRY_URL: "x" } } },
  "an Ingress for no host": { ingress: { enabled: true } },
  "an Ingress for the registry alone, which is off": { ingress: { enabled: true, registryHost: "x.example" } },
  "two servers": { server: { replicas: 2 } },
  "TCP listeners that the Service does not lead to": { server: { env: { BERTH_TCP_PORTS: "20000-20009" } } },
  "TCP ports that are none": { tcp: { ports: "20000" } },
  "a disk of no size": { persistence: { size: "much" } },
  "a namespace of no name": { containers: { namespace: "Plug_ins" } },
  "a spawner that would deploy through another": { driver: "spawner", spawner: { enabled: true }, secret: SECRET },
  "an unknown driver": { driver: "docker" },
};

t.test("the chart's schema refuses", async (t) => {
  const answers = await Promise.all(Object.values(REFUSED).map(render));
  for (const [index, what] of Object.keys(REFUSED).entries()) t.match(answers[index], { refused: /specifications of the schema/ }, what);
});

t.test("what the chart takes for secret, and which berth it is for, is what the settings and the package say", (t) => {
  const secrets = [...rowsOf(SETTINGS)].flatMap(([, row]) => (row.secret === true ? row.env : []));
  const { definitions } = JSON.parse(readFileSync(join(CHART, "values.schema.json"), "utf8")) as { definitions: Record<string, { enum: string[] }> };
  t.strictSame(
    definitions["secrets"]?.enum.filter((name) => !/^AWS_|^GROK_PARAMETERS$/.test(name)),
    secrets.toSorted(),
  );
  const names = new Set([...rowsOf(SETTINGS)].flatMap(([, row]) => [...row.env]));
  t.strictSame(
    definitions["ownedByChart"]?.enum.filter((name) => /^(?:BERTH|GROK)_/.test(name) && !names.has(name) && name !== "BERTH_CONFIG"),
    [],
  );
  const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
  t.match(readFileSync(join(CHART, "Chart.yaml"), "utf8"), `appVersion: ${version}\n`);
  t.end();
});

t.test("berth starts with what a pod has: a volume that belongs to root, its group's to write, and no rights", async (t) => {
  const rendered = await render({});
  const [pod] = podsOf("objects" in rendered ? rendered.objects : []);
  const volume = tempFolder(t);
  const tmp = join(tempFolder(t), "tmp");
  mkdirSync(tmp, { mode: 0o700 });
  // As the kubelet leaves a volume with fsGroup; here the owner is another user, and we are root in its group without root's powers.
  chownSync(volume, 12_345, 0);
  chmodSync(volume, 0o2775);
  const env = Object.fromEntries(
    Object.entries(pod?.env ?? {}).map(([name, value]) => [name, value.replace("/var/lib/berth", volume).replace(/^\/tmp$/, tmp)]),
  );
  const berth = await startBerthProcess({
    role: "serve",
    cwd: tmp,
    // There is no cluster here.
    env: { ...env, TMPDIR: tmp, BERTH_HOST: "127.0.0.1", BERTH_EDGE_PORT: "0", BERTH_DRIVER: "process", BERTH_DRAIN_DELAY_SECONDS: "0" },
    announces: /^berth \S+ at (http:\S+)$/,
    command: ["setpriv", "--bounding-set=-all", "--inh-caps=-all", process.execPath, join(ROOT, "berth.ts")],
  });
  t.teardown(() => berth.end("SIGTERM"));
  t.equal((await fetch(`${berth.announced[1]}${pod?.container.readinessProbe.httpGet.path}`)).status, 200);
  t.equal(statSync(join(volume, "data")).mode & 0o777, 0o700);
});
