import t from "tap";
import { loadSettingsParser, readSettings } from "../../conf/read-settings.ts";
import { Fault } from "../../lib/fault.ts";

const parse = await loadSettingsParser();

/** The lines of the fault that these variables and this file are refused with. */
function refused(env: Record<string, string>, text?: string): string[] {
  try {
    readSettings({ env, ...(text === undefined ? {} : { file: { path: "berth.yaml", text, parse } }) });
  } catch (error) {
    if (error instanceof Fault && error.code === "SETTINGS_INVALID") return error.message.split("\n");
    throw error;
  }
  throw new Error("these settings were accepted");
}
const read = (env: Record<string, string>, text = "") => readSettings({ env, file: { path: "berth.yaml", text, parse } });

t.test("without any, every setting has its default", async (t) => {
  const { settings, sources, warnings } = readSettings({ env: { PATH: "/bin", HOME: "/root" } });
  t.equal(settings.edgePort, 8080);
  t.equal(settings.host, "127.0.0.1");
  t.equal(settings.adminKey, undefined);
  t.equal(settings.dockerSettings.proxyRequestTimeout, 300_000);
  t.ok(Object.values(sources).every((source) => source === "default"));
  t.same(warnings, []);
});

t.test("a wrong value is refused in one line that names the variable, the value and what is allowed", async (t) => {
  const [line, ...more] = refused({ BERTH_WORKERS: "many" });
  t.match(line, /^BERTH_WORKERS: "many" .*whole number.* 1 to /);
  t.same(more, []);
});

t.test("numbers are taken as whole only where they are", async (t) => {
  for (const [name, value] of [
    ["BERTH_WORKERS", "0"],
    ["BERTH_WORKERS", "1.5"],
    ["BERTH_WORKERS", "-1"],
    ["BERTH_WORKERS", "0x10"],
    ["BERTH_EDGE_PORT", "65536"],
    ["BERTH_EDGE_PORT", "tcp://10.0.0.1:8080"],
    ["BERTH_DRIVER", "podman"],
    ["BERTH_HOST", "http://localhost"],
    ["BERTH_IMAGE_ALLOW", " , "],
    ["BERTH_CONSOLE_HOST", "https://console.example"],
    ["BERTH_CONSOLE_HOST", "console.example:8443"],
    ["BERTH_ORIGINS", "https://a.example/path"],
    ["BERTH_TRUSTED_PROXIES", "10.0.0.0/33"],
    ["BERTH_TRUSTED_PROXIES", "loopback, balancer.example"],
    ["BERTH_TRUSTED_PROXIES", "fe80::1%eth0"],
    ["BERTH_UNDERSCORE_HEADERS", "keep"],
    ["DOCKER_HOST", "docker.sock"],
    ["BERTH_ADMIN_KEY", "short"],
    ["BERTH_SPAWNER", "maybe"],
    ["GROK_SPAWNER_CVM_ECS__SUBNETS", '["a", 1'],
  ] as const) {
    t.match(refused({ [name]: value }), [new RegExp(`^${name}: `)], `${name}=${value}`);
  }
});

t.test("all faults are reported at once, those of the file too", async (t) => {
  const lines = refused({ BERTH_WORKERS: "many", BERTH_DRIVER: "podman", BERTH_EDGE_PROT: "1" }, "holdLimit: none\n");
  t.equal(lines.length, 4);
  for (const name of ["BERTH_WORKERS", "BERTH_DRIVER", "BERTH_EDGE_PROT", "berth.yaml:1, holdLimit"]) {
    t.ok(
      lines.some((line) => line.startsWith(name)),
      name,
    );
  }
});

t.test("an unknown name suggests the nearest, in the environment and in the file", async (t) => {
  t.match(refused({ BERTH_EDGE_PROT: "8080" }), [/BERTH_EDGE_PORT/]);
  t.match(refused({}, "workers: 2\nworkes: 3\n"), [/^berth\.yaml:2: .*workes.* workers\?/]);
  t.match(refused({}, "ecs:\n  cvm:\n    clustr: x\n"), [/^berth\.yaml:3: .*ecs\.cvm\.cluster\?/]);
  t.notMatch(refused({ BERTH_SOMETHING_ELSE_ENTIRELY: "1" }), [/did you mean/]);
});

t.test("what Kubernetes sets for a Service called berth is no unknown name", async (t) => {
  const env = { BERTH_SERVICE_HOST: "10.0.0.1", BERTH_SERVICE_PORT_HTTP: "80", BERTH_PORT: "tcp://10.0.0.1:80", BERTH_PORT_80_TCP_ADDR: "10.0.0.1" };
  t.same(read(env).warnings, []);
});

t.test("an alias sets it as well; two that differ are refused with both names; two that agree are not", async (t) => {
  t.equal(read({ GROK_SPAWNER_LOG_LEVEL: "debug" }).settings.logLevel, "debug");
  t.equal(read({ CVM_ECS_CLUSTER: "c" }).settings.ecs.cvm.cluster, "c");
  t.equal(read({ BERTH_LOG_LEVEL: "warn", GROK_SPAWNER_LOG_LEVEL: "WARN" }).settings.logLevel, "warn");
  t.equal(read({ GROK_SPAWNER_LOG_LEVEL: "WARNING" }).settings.logLevel, "warn", "as grok_spawner's own");
  t.equal(read({ GROK_SPAWNER_LOG_LEVEL: "CRITICAL" }).settings.logLevel, "error");
  for (const odd of ["verbose", "constructor"]) t.equal(refused({ GROK_SPAWNER_LOG_LEVEL: odd }).length, 1);
  t.equal(refused({ ECR_MODE: "constructor" }).length, 1, "not a flag");
  const [line] = refused({ BERTH_LOG_LEVEL: "warn", GROK_SPAWNER_LOG_LEVEL: "debug" });
  t.match(line, /BERTH_LOG_LEVEL.*GROK_SPAWNER_LOG_LEVEL/);
});

t.test("a single variable overrides the JSON of GROK_PARAMETERS, which overrides the file", async (t) => {
  const GROK_PARAMETERS = JSON.stringify({ dockerSettings: { proxyRequestTimeout: 60_000, grokSpawnerPort: 8_001 } });
  const { settings, sources } = read(
    { GROK_PARAMETERS, GROK_PARAMETERS_DOCKER_SETTINGS__PROXY_REQUEST_TIMEOUT: "1000" },
    "dockerSettings:\n  proxyRequestTimeout: 2000\n  grokSpawnerPort: 8002\n",
  );
  t.match(settings.dockerSettings, { proxyRequestTimeout: 1_000, grokSpawnerPort: 8_001 });
  t.equal(sources["dockerSettings.proxyRequestTimeout"], "GROK_PARAMETERS_DOCKER_SETTINGS__PROXY_REQUEST_TIMEOUT");
});

t.test("no line repeats a secret, however it is wrong", async (t) => {
  const secret = "s3cr3t value";
  const lines = [
    ...refused({ BERTH_ADMIN_KEY: secret }),
    ...refused({ BERTH_ADMIN_KEY_FILE: secret }),
    ...refused({ BERTH_WEB_ROOT: "https://user:s3cr3t/value@host" }),
    ...refused({ X_API_KEY: `${secret}1`, GROK_SPAWNER_X_API_KEY: `${secret}2` }),
    ...refused({ GROK_PARAMETERS: `{"db":{"password":"${secret}"` }),
    ...refused({ GROK_PARAMETERS: JSON.stringify({ queueSettings: secret }) }),
    ...refused({ GROK_PARAMETERS: JSON.stringify({ queueSettings: { pipeKey: { is: secret } } }) }),
    ...refused({}, `adminKey: "${secret}`),
    ...refused({}, `adminKey: *${secret}`),
    ...["*", "&", "!"].flatMap((sign) => refused({}, `adminKey: ${sign}s3cr3t`)),
    ...refused({}, `adminKey: ${secret}\nadminKey: ${secret}\n`),
    ...refused({}, secret),
    ...refused({ BERTH_WEB_ROOT: `ftp://me:${secret.replace(" ", "")}@example.org` }),
  ];
  t.ok(lines.length >= 11);
  t.notOk(
    lines.some((line) => line.includes("s3cr3t")),
    lines.join("\n"),
  );
});

t.test("a secret is taken from the file that its variable with _FILE names, without the line's end; what is no secret is not", (t) => {
  const files: Record<string, string> = {
    "/run/secrets/key": "a key from a file\n",
    "/run/secrets/admin": "from-a-file\n",
    "/run/secrets/empty": "\n",
  };
  const readText = (path: string) => {
    const text = files[path];
    if (text === undefined) throw Object.assign(new Error(`no ${path}`), { code: "ENOENT" });
    return text;
  };
  const env = { BERTH_ADMIN_KEY_FILE: "/run/secrets/admin", GROK_SPAWNER_X_API_KEY_FILE: "/run/secrets/key", REGISTRY_PASSWORD_FILE: "" };
  const { settings, sources } = readSettings({ env, readText });
  t.equal(settings.adminKey, "from-a-file");
  t.equal(settings.spawnerApiKey, "a key from a file");
  t.equal(settings.registry.password, undefined);
  t.equal(sources["adminKey"], "BERTH_ADMIN_KEY_FILE");
  for (const [name, value, expected] of [
    ["BERTH_ADMIN_KEY_FILE", "/no/such/file", /cannot be read \(ENOENT\)/],
    // Else the key that everybody knows would be in force.
    ["X_API_KEY_FILE", "/run/secrets/empty", /is empty/],
    ["BERTH_ADMIN_KEY_FILE", "/run/secrets/key", /^BERTH_ADMIN_KEY_FILE: the value is not allowed/],
    ["BERTH_EDGE_PORT_FILE", "/run/secrets/key", /no such setting/],
    ["BERTH_PORT", "80", /did you mean BERTH_EDGE_PORT\?/],
  ] as const) {
    t.throws(() => readSettings({ env: { [name]: value }, readText }), { code: "SETTINGS_INVALID", message: expected }, `${name}=${value}`);
  }
  const both = { BERTH_ADMIN_KEY: "another-key", BERTH_ADMIN_KEY_FILE: "/run/secrets/admin" };
  t.throws(() => readSettings({ env: both, readText }), { code: "SETTINGS_INVALID", message: /BERTH_ADMIN_KEY and BERTH_ADMIN_KEY_FILE/ });
  t.end();
});

t.test("foreign keys of GROK_PARAMETERS pass without a word; ours are taken from it", async (t) => {
  const GROK_PARAMETERS = JSON.stringify({
    dbServer: "db",
    connectors: { a: [1] },
    dockerSettings: { proxyRequestTimeout: 60_000, containerStatusTimeoutMinutes: 0.5, imageBuildTimeoutMinutes: 30, useGrokSpawner: false },
    queueSettings: { amqpHost: "mq.example", amqpPassword: null },
  });
  const { settings, sources, warnings } = read({ GROK_PARAMETERS });
  t.equal(settings.dockerSettings.proxyRequestTimeout, 60_000);
  t.equal(settings.dockerSettings.containerStatusTimeoutMinutes, 0.5);
  t.equal(settings.dockerSettings.useGrokSpawner, false);
  t.equal(settings.queueSettings.amqpHost, "mq.example");
  t.equal(settings.queueSettings.amqpPassword, "guest");
  t.equal(sources["dockerSettings.proxyRequestTimeout"], "GROK_PARAMETERS, dockerSettings.proxyRequestTimeout");
  t.same(warnings, []);
});

t.test("a key of ours in GROK_PARAMETERS that is misspelt is warned of", async (t) => {
  const { warnings } = read({ GROK_PARAMETERS: JSON.stringify({ dockerSettings: { proxyRequestTimeuot: 1 } }), GROK_SPAWNER_ENVIROMENT: "x" });
  t.match(warnings, [/GROK_SPAWNER_ENVIRONMENT/, /proxyRequestTimeout/]);
});

t.test("a variable wins over the file, the file over the default; an empty one counts as unset", async (t) => {
  const text = "workers: 3\nholdLimit: 7\norigins: [https://A.example]\nqueueSettings:\n  tls: true\nregistry:\n";
  const { settings, sources } = read({ BERTH_WORKERS: "2", BERTH_HOLD_LIMIT: "", BERTH_ADMIN_KEY: "" }, text);
  t.equal(settings.workers, 2);
  t.equal(sources["workers"], "BERTH_WORKERS");
  t.equal(settings.holdLimit, 7);
  t.equal(sources["holdLimit"], "berth.yaml:2, holdLimit");
  t.same(settings.origins, ["https://a.example"]);
  t.equal(settings.queueSettings.tls, true);
  t.equal(settings.adminKey, undefined);
});

t.test("a listener follows `host` unless it has its own", async (t) => {
  const { settings, sources } = read({ BERTH_HOST: "0.0.0.0", BERTH_SPAWNER_HOST: "::1" });
  t.equal(settings.edgeHost, "0.0.0.0");
  t.equal(sources["edgeHost"], "as host");
  t.equal(settings.spawnerHost, "::1");
});

t.test("a list is taken from commas and from JSON alike", async (t) => {
  t.same(read({ GROK_SPAWNER_CVM_ECS__SUBNETS: '["subnet-a", "subnet-b"]' }).settings.ecs.cvm.subnets, ["subnet-a", "subnet-b"]);
  t.same(read({ CVM_ECS__SUBNETS: "subnet-a, subnet-b" }).settings.ecs.cvm.subnets, ["subnet-a", "subnet-b"]);
});

t.test("a file that is not YAML, or holds no names, is refused by its line", async (t) => {
  t.match(refused({}, "workers: 2\n  host: [\n"), [/^berth\.yaml:\d+: /]);
  t.match(refused({}, "- workers\n"), [/^berth\.yaml:1: /]);
  t.match(refused({}, "ecs: on\n"), [/^berth\.yaml:1: ecs /]);
  t.match(refused({}, "host: { name: x }\n"), [/^berth\.yaml:1, host: /]);
  t.match(refused({}, "workers: 2\n---\nworkers: 3\n"), [/^berth\.yaml:2: /], "a second document");
  t.match(refused({}, "origins: &origins [*origins]\n"), [/^berth\.yaml:1, origins: .*quotes/]);
});

t.test("the settings of queue and pipe are read from JSON, from single variables and from the file", (t) => {
  const json = { amqpAuthMode: "jwt", mqAudience: "our-mq", taskPickupTimeout: 60_000, queueReconnectWaitTime: 1_500 };
  const { settings, warnings } = read({
    GROK_PARAMETERS: JSON.stringify({ queueSettings: json }),
    GROK_PARAMETERS_QUEUE_SETTINGS__PIPE_AUTH_MODE: "jwt",
    GROK_PARAMETERS_QUEUE_SETTINGS__MQ_AUDIENCE: "ours",
  });
  t.same(warnings, []);
  t.match(settings.queueSettings, { amqpAuthMode: "jwt", mqAudience: "ours", pipeAuthMode: "jwt", pipeAudience: "datagrok-pipe" });
  t.match(refused({ GROK_PARAMETERS: JSON.stringify({ queueSettings: { amqpAuthMode: "token" } }) }), [/amqpAuthMode/]);
  t.end();
});
