import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { FILE_SUFFIX, SETTINGS_FILE_NAME } from "./read-settings.ts";
import { rowsOf, type SettingRow } from "./row.ts";
import { SETTINGS } from "./settings.ts";

type JsonSchema = Record<string, unknown>;

const NAME = { type: "string", pattern: "^([a-z]([-a-z0-9]{0,61}[a-z0-9])?)?$" };
const OBJECT_NAME = { type: "string", pattern: "^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$" };
const HOST = { type: "string", pattern: "^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$" };
const TAG = { type: "string", pattern: "^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$" };
const TEXTS = { type: "object", additionalProperties: { type: "string" } };
const SECONDS = { type: "integer", minimum: 0, maximum: 3600 };
const COUNT = { type: "integer", minimum: 1, maximum: 1000 };
const ISSUER = { enum: ["Issuer", "ClusterIssuer"] };

/** What a value may be, beyond the type of its default. By its path, or by its last name after `*.`. */
const VALUES: Readonly<Record<string, JsonSchema>> = {
  "image.repository": { type: "string", minLength: 1 },
  "image.pullPolicy": { enum: ["Always", "IfNotPresent", "Never"] },
  imagePullSecrets: { type: "array", items: { type: "object", additionalProperties: false, required: ["name"], properties: { name: OBJECT_NAME } } },
  fullnameOverride: NAME,
  driver: { enum: ["kubernetes", "spawner"] },
  "*.env": { $ref: "#/definitions/env" },
  "*.tag": TAG,
  "*.service.name": NAME,
  "*.type": { enum: ["ClusterIP", "NodePort", "LoadBalancer"] },
  "*.annotations": TEXTS,
  "*.podAnnotations": TEXTS,
  "*.labels": TEXTS,
  podAnnotations: TEXTS,
  podLabels: TEXTS,
  "*.replicas": COUNT,
  "*.minReplicas": COUNT,
  "*.maxReplicas": COUNT,
  "*.targetCPUUtilizationPercentage": { type: "integer", minimum: 1, maximum: 100 },
  "*.maxUnavailable": { type: ["integer", "string"], minimum: 1, pattern: "^[1-9][0-9]?%$" },
  "*.resources": { type: "object" },
  "tcp.ports": { type: "string", pattern: "^(\\d{1,5}-\\d{1,5})?$" },
  "tcp.images": { type: "array", items: { type: "string", pattern: "^\\w[\\w./:-]*:\\d{1,5}$" } },
  "containers.namespace": NAME,
  "containers.pullSecret": OBJECT_NAME,
  "*.cvm.nodeSelector": TEXTS,
  "*.datagrok.nodeSelector": TEXTS,
  "*.runtimeClass": OBJECT_NAME,
  "*.priorityClass": OBJECT_NAME,
  "*.secretName": OBJECT_NAME,
  "*.tokenSecret": OBJECT_NAME,
  "*.existingSecret": OBJECT_NAME,
  "*.existingClaim": OBJECT_NAME,
  "*.backupClaim": OBJECT_NAME,
  "*.issuer.kind": ISSUER,
  "secret.existing": { type: "array", items: { ...OBJECT_NAME, minLength: 1 } },
  "secret.data": { type: "object", propertyNames: { pattern: "^[A-Za-z_][A-Za-z0-9_]*$" }, additionalProperties: { type: "string" } },
  "persistence.size": { type: "string", pattern: "^[0-9]+(\\.[0-9]+)?([KMGTP]i?)?$" },
  "ingress.host": HOST,
  "ingress.consoleHost": HOST,
  "ingress.registryHost": HOST,
  "ingress.timeoutSeconds": { type: "integer", minimum: 1, maximum: 86_400 },
  "ingress.trustedProxies": { type: "string", minLength: 1 },
  "httpRoute.scheme": { enum: ["http", "https"] },
  "*.interval": { type: "string", pattern: "^[0-9]+(ms|s|m)$" },
  drainDelaySeconds: SECONDS,
  drainSeconds: SECONDS,
};

/** Settings that the chart's ports, probes, volumes and rights depend on: other values set them. */
const OWNED = [
  SETTINGS_FILE_NAME,
  ["BERTH_HOST", "BERTH_EDGE_HOST", "BERTH_EDGE_PORT", "BERTH_CONSOLE_HOST", "BERTH_CONSOLE_PORT", "BERTH_METRICS_HOST", "BERTH_METRICS_PORT"],
  ["BERTH_SPAWNER", "BERTH_SPAWNER_HOST", "BERTH_SPAWNER_PORT", "BERTH_REGISTRY_HOST", "BERTH_REGISTRY_PORT", "BERTH_TCP_HOST", "BERTH_TCP_PORTS"],
  ["BERTH_CONTROL", "BERTH_CONTROL_CA", "BERTH_CONTROL_TOKEN_FILE", "BERTH_GATEWAYS_HOST", "BERTH_GATEWAYS_PORT", "BERTH_GATEWAYS_PLAIN"],
  ["BERTH_GATEWAYS_TLS_CERT", "BERTH_GATEWAYS_TLS_KEY", "BERTH_DATABASE_PASSWORD_FILE", "BERTH_DATABASE_CA", "BERTH_TLS_CERT", "BERTH_TLS_KEY"],
  ["BERTH_ROLE", "BERTH_DATA", "BERTH_DRIVER", "BERTH_DRAIN_SECONDS", "BERTH_DRAIN_DELAY_SECONDS"],
  ["GROK_SPAWNER_KUBERNETES__KUBECONFIG", "GROK_SPAWNER_KUBERNETES__NAMESPACE", "HOME", "XDG_RUNTIME_DIR"],
].flat();
/** Secrets that are no settings of berth. `GROK_PARAMETERS` may hold keys and passwords. */
const OTHER_SECRETS = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GROK_PARAMETERS"];

/** conf/helm/values.schema.json: the structure of values.yaml, and the settings that `env` may hold. */
export function helmSchema(): string {
  const values = parse(readFileSync(join(import.meta.dirname, "helm/values.yaml"), "utf8")) as Record<string, unknown>;
  const { properties, ...structure } = structureOf(values, "") as { properties: object };
  const schema = {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "Values of the chart berth",
    $comment: "Written by `npm run docs` from conf/helm-schema.ts, conf/helm/values.yaml and conf/settings.ts.",
    ...structure,
    // Helm itself adds `global`.
    properties: { ...properties, global: { type: "object" } },
    definitions: { env: envSchema() },
  };
  return `${JSON.stringify(schema, null, 2)}\n`;
}

function structureOf(value: unknown, path: string): JsonSchema {
  const given = VALUES[path] ?? VALUES[Object.keys(VALUES).find((key) => key.startsWith("*.") && path.endsWith(key.slice(1))) ?? ""];
  if (given) return given;
  if (Array.isArray(value)) return { type: "array", items: { type: "object" } };
  if (typeof value !== "object" || value === null) return { type: typeof value === "number" ? "integer" : typeof value };
  const entries = Object.entries(value).map(([name, inner]) => [name, structureOf(inner, path === "" ? name : `${path}.${name}`)]);
  // Objects of Kubernetes, which the API checks.
  return entries.length === 0 ? { type: "object" } : { type: "object", additionalProperties: false, properties: Object.fromEntries(entries) };
}

/** Text, since a number of YAML's would come out as 3.6e+06. */
function envSchema(): JsonSchema {
  const rows = rowsOf(SETTINGS);
  const secrets = [...rows.flatMap(([, row]) => (row.secret === true ? row.env : [])), ...OTHER_SECRETS].toSorted();
  const settings = rows.filter(([, row]) => row.secret !== true).flatMap(([, row]) => row.env.map((name) => [name, row] as const));
  const properties = settings.filter(([name]) => !OWNED.includes(name)).map(([name, row]) => [name, valueSchema(row)] as const);
  const files = secrets.filter((name) => !OTHER_SECRETS.includes(name)).map((name) => name + FILE_SUFFIX);
  return {
    type: "object",
    properties: Object.fromEntries(properties),
    additionalProperties: { type: "string" },
    propertyNames: {
      pattern: "^[A-Za-z_][A-Za-z0-9_]*$",
      anyOf: [
        { enum: [...new Set([...properties.map(([name]) => name), ...files])] },
        { not: { pattern: "^(BERTH_|GROK_SPAWNER_|GROK_PARAMETERS_(DOCKER|QUEUE)_SETTINGS)" } },
      ],
      not: {
        anyOf: [
          { $comment: "Secrets belong in `secret`.", enum: secrets },
          { $comment: "The chart sets these.", enum: OWNED },
        ],
      },
    },
  };
}

/** The text of a variable. */
export function valueSchema({ description, parse: { schema, allowed } }: Pick<SettingRow<unknown>, "description" | "parse">): JsonSchema {
  const text = { description: `${description}: ${allowed}`, type: "string" };
  if (schema["type"] === "integer") return { ...text, pattern: "^\\s*\\d{0,15}\\s*$" };
  if (schema["type"] === "number") return { ...text, pattern: "^\\s*(\\d{1,15}(\\.\\d{1,9})?)?\\s*$" };
  const choices = schema["enum"] as readonly unknown[] | undefined;
  if (choices === undefined) return text;
  return choices.includes(true) ? { ...text, enum: ["on", "off", "true", "false", "yes", "no", "1", "0"] } : { ...text, enum: choices };
}
