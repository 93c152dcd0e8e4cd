import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { valueSchema } from "../../conf/helm-schema.ts";
import { rowsOf } from "../../conf/row.ts";
import { SETTINGS } from "../../conf/settings.ts";
import { CHART, type ChartValues, render } from "./chart.ts";

const ROOT = join(import.meta.dirname, "../..");
const KEY = "a-key-that-is-unknown";
const SECRET = { data: { X_API_KEY: KEY } };
const REGISTRY = { env: { REGISTRY_URL: "registry.internal:5000" } };
const PLAIN = { grokRegistryProxy: REGISTRY };
const REFUSED: Record<string, ChartValues> = {
  "a value that is none": { ...PLAIN, sever: { enabled: true } },
  "a Service of no type": { ...PLAIN, gateway: { service: { type: "Ingress" } } },
  "a number, which YAML would round": { ...PLAIN, server: { env: { BERTH_IDLE_TIMEOUT: 3_600_000 } } },
  "a setting that does not exist": { ...PLAIN, server: { env: { BERTH_WORKER: "2" } } },
  "a setting with a value that it does not take": { ...PLAIN, gateway: { env: { BERTH_WORKERS: "many" } } },
  "a choice that there is not": { ...PLAIN, control: { env: { BERTH_GPU_POLICY: "maybe" } } },
  "a secret among the settings": { ...PLAIN, server: { env: { X_API_KEY: KEY } } },
  "keys of AWS among the settings": { grokRegistryProxy: { env: { REGISTRY_URL: "x", AWS_SECRET_ACCESS_KEY: KEY } } },
  "a setting that the chart's ports hang on": { ...PLAIN, server: { env: { BERTH_EDGE_PORT: "80" } } },
  "a port of the console that its Service does not lead to": { ...PLAIN, server: { env: { BERTH_CONSOLE_PORT: "9000" } } },
  "a way to control that is not the chart's": { ...PLAIN, gateway: { env: { BERTH_CONTROL: "https://elsewhere:8443" } } },
  "two servers": { ...PLAIN, server: { replicas: 2 } },
  "TCP listeners that the Service does not lead to": { ...PLAIN, server: { env: { BERTH_TCP_PORTS: "20000-20009" } } },
  "TCP ports that are none": { ...PLAIN, tcp: { ports: "20000" } },
  "a disk of no size": { ...PLAIN, persistence: { size: "much" } },
  "a namespace of no name": { ...PLAIN, containers: { namespace: "Plug_ins" } },
  "an unknown driver": { ...PLAIN, driver: "docker" },
};

/** Values that do not fit together, and what the user reads. */
const UNFIT: Record<string, [ChartValues, string]> = {
  "nothing to deploy": [
    { server: { enabled: false }, spawner: { enabled: false }, grokRegistryProxy: { enabled: false } },
    "Nothing is enabled: set server.enabled",
  ],
  "a registry proxy without a registry": [{ grokRegistryProxy: { enabled: true } }, "set grokRegistryProxy.env.REGISTRY_URL"],
  "a registry proxy that knows no users": [{ server: { enabled: false }, ...PLAIN }, "set grokRegistryProxy.env.DATAGROK_URL"],
  "an Ingress for no host": [{ ...PLAIN, ingress: { enabled: true } }, "The Ingress needs a name: set ingress.host"],
  "an Ingress for the registry alone, which is off": [
    { grokRegistryProxy: { enabled: false }, ingress: { enabled: true, registryHost: "x.example" } },
    "The Ingress needs a name: set ingress.host",
  ],
  "an HTTPRoute without a Gateway": [{ ...PLAIN, ingress: { host: "x.example" }, httpRoute: { enabled: true } }, "httpRoute.parentRefs"],
  "TLS at the gateways without a certificate": [
    { ...PLAIN, ingress: { host: "x.example" }, gateway: { tls: true } },
    "set tls.secretName or tls.issuer.name",
  ],
  "a certificate for no name": [{ ...PLAIN, tls: { issuer: { name: "letsencrypt" } } }, "A certificate of cert-manager needs a name"],
  "a spawner that would deploy through another": [{ ...PLAIN, driver: "spawner", secret: SECRET }, "set spawner.enabled=false with driver=spawner"],
  "nothing but the defaults": [
    {},
    "The registry proxy needs a registry: set grokRegistryProxy.env.REGISTRY_URL (or ECR_MODE), or grokRegistryProxy.enabled=false.",
  ],
};

t.test("the chart's schema refuses", async (t) => {
  const answers = await Promise.all(Object.values(REFUSED).map(render));
  for (const [index, what] of Object.keys(REFUSED).entries()) t.match(answers[index], { refused: /specifications of the schema/ }, what);
});

t.test("the chart says what is missing where values do not fit together", async (t) => {
  const answers = await Promise.all(Object.values(UNFIT).map(([values]) => render(values)));
  for (const [index, [what, [, sentence]]] of Object.entries(UNFIT).entries()) {
    const { refused = "" } = answers[index] as { refused?: string };
    t.ok(refused.includes(sentence), `${what}: ${refused}`);
  }
});

t.test("the schema is that of the settings: it takes what berth takes, and each setting is a secret, the chart's own, or a value", (t) => {
  type EnvSchema = { properties: Record<string, object>; propertyNames: { not: { anyOf: { enum: string[] }[] } } };
  const { definitions } = JSON.parse(readFileSync(join(CHART, "values.schema.json"), "utf8")) as { definitions: { env: EnvSchema } };
  const { properties, propertyNames } = definitions.env;
  const refused = new Set(propertyNames.not.anyOf.flatMap((one) => one.enum));
  for (const [key, row] of rowsOf(SETTINGS))
    for (const name of row.env) t.equal(refused.has(name), properties[name] === undefined, `${key}: ${name}`);
  const names = new Set([...rowsOf(SETTINGS)].flatMap(([, row]) => [...row.env]));
  t.strictSame(
    [...refused].filter((name) => /^(?:BERTH|GROK_SPAWNER)_/.test(name) && !names.has(name) && name !== "BERTH_CONFIG"),
    [],
  );
  for (const [key, row] of rowsOf(SETTINGS)) {
    const { pattern, enum: choices } = valueSchema(row) as { pattern?: string; enum?: string[] };
    const values = [String(row.default ?? ""), "1", "0", "on", "off", "text", "-3", "1.5", "6e3", ...(choices ?? [])];
    // A list is text here.
    if (Array.isArray(row.default) || row.default === undefined) values.shift();
    for (const value of values) {
      const isTaken = row.parse.read(value) !== undefined;
      const isAllowed = (pattern === undefined || new RegExp(pattern).test(value)) && (choices === undefined || choices.includes(value));
      if (isTaken) t.ok(isAllowed, `${key} takes "${value}"`);
    }
  }
  const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
  t.match(readFileSync(join(CHART, "Chart.yaml"), "utf8"), `appVersion: ${version}\n`);
  t.end();
});
