import type { ChartValues } from "./chart.ts";

const KEY = "a-key-that-is-unknown";
const SECRET = { data: { X_API_KEY: KEY, REGISTRY_PASSWORD: "of-the-registry" } };
export const PUBLIC_NAMES = { host: "stand.example", consoleHost: "console.stand.example", registryHost: "registry.stand.example" };

export const DEFAULT_REGISTRY = { env: { REGISTRY_URL: "registry.internal:5000" } };
const ALL = ["control", "gateway", "registry-proxy", "spawner"];

/** Where containers run: a chart's values, and the settings that berth reads of them. */
export const PLACEMENT = {
  nodeSelector: { "karpenter.sh/nodepool": "plugins" },
  tolerations: [{ key: "plugins", operator: "Exists", effect: "NoSchedule" }],
  topologySpread: [{ maxSkew: 1, topologyKey: "topology.kubernetes.io/zone", whenUnsatisfiable: "ScheduleAnyway" }],
  runtimeClass: "gvisor",
  priorityClass: "plugins",
  annotations: { "cluster-autoscaler.kubernetes.io/safe-to-evict": "true", note: 'a,b="c" <d>' },
};

/** What administrators set; `roles` are the processes that result, `ports` what can be reached. */
export const VALUE_SETS: Record<string, { values: ChartValues; roles: string[]; ports: number[] }> = {
  "nothing but a registry": { values: { grokRegistryProxy: DEFAULT_REGISTRY }, roles: ALL, ports: [5000, 8000, 8080, 8081] },
  "berth alone": {
    values: { spawner: { enabled: false }, grokRegistryProxy: { enabled: false } },
    roles: ["control", "gateway"],
    ports: [8080, 8081],
  },
  "all of it, opened to the outside": {
    values: {
      grokRegistryProxy: { env: { REGISTRY_URL: "registry.internal:5000", REGISTRY_USERNAME: "berth" } },
      secret: SECRET,
      containers: { namespace: "plugins", pullSecret: "pull", cvm: PLACEMENT, datagrok: { runtimeClass: "runc" } },
      persistence: { existingClaim: "old", backupClaim: "backup" },
      ingress: {
        enabled: true,
        className: "nginx",
        ...PUBLIC_NAMES,
        tls: [{ secretName: "tls", hosts: Object.values(PUBLIC_NAMES) }],
        trustedProxies: "10.1.0.0/16",
      },
      networkPolicy: { enabled: true, spawnerFrom: [{ podSelector: { matchLabels: { app: "datagrok" } } }] },
    },
    roles: ALL,
    ports: [5000, 8000, 8080, 8081],
  },
  "with a database, two control processes and no volume": {
    values: {
      grokRegistryProxy: DEFAULT_REGISTRY,
      database: { existingSecret: "stand-database", passwordKey: "password", caKey: "ca.crt" },
      ingress: { enabled: true, ...PUBLIC_NAMES },
      tls: { issuer: { name: "letsencrypt" } },
      ipv6: true,
      networkPolicy: { enabled: true },
    },
    roles: ALL,
    ports: [5000, 8000, 8080, 8080],
  },
  "in grok_spawner's place alone": {
    values: {
      server: { enabled: false },
      grokRegistryProxy: { enabled: false },
      spawner: {
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
      spawner: { enabled: false },
      grokRegistryProxy: { replicas: 2, env: { ECR_MODE: "true", AWS_REGION: "eu-west-1", DATAGROK_URL: "http://datagrok:8080/api" } },
      serviceAccount: { annotations: { "eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/registry" } },
      ingress: { enabled: true, className: "alb", registryHost: PUBLIC_NAMES.registryHost },
    },
    roles: ["registry-proxy"],
    ports: [5000],
  },
  "in the place of both": {
    values: {
      server: { enabled: false },
      grokRegistryProxy: { env: { REGISTRY_URL: "registry.internal", DATAGROK_URL: "http://datagrok:8080/api" } },
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
      spawner: { enabled: false },
      grokRegistryProxy: { enabled: false },
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
    roles: ["control", "gateway"],
    ports: [8080, 8081],
  },
};
