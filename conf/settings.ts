import type { V1Toleration, V1TopologySpreadConstraint } from "@kubernetes/client-node";
import { DRIVERS } from "../drivers/driver.ts";
import { ARCHITECTURES, LAUNCH_TYPES, REACHES as ECS_REACHES } from "../drivers/ecs/site.ts";
import { DEFAULT_NETWORKS, DEFAULT_PIDS_LIMIT, REACHES } from "../drivers/engine/reach.ts";
import { DEFAULT_SUBNETS } from "../drivers/docker/addresses.ts";
import { GPU_POLICIES } from "../drivers/gpu.ts";
import { CAPABILITIES } from "../drivers/kubernetes/security.ts";
import { SOCKET_SETTINGS } from "../gateway/connections/choose-sockets.ts";
import { WARM_UP_MODES } from "../control/model/warm-hours.ts";
import { ENGINE_NAMES } from "../gateway/connections/engine.ts";
import { LOG_LEVELS } from "../lib/log.ts";
import { SAMPLER_NAMES } from "../lib/traces/traces.ts";
import { parameterName, spawnerNames, optional, setting, type SettingRow, type SettingValues } from "./row.ts";
import {
  addressBlock,
  entryList,
  flag,
  host,
  list,
  objectList,
  oneOf,
  oneOfOrSynonym,
  origin,
  port,
  portRange,
  quantity,
  subnet,
  text,
  textMap,
  timeZone,
  url,
  wholeNumber,
} from "./parsers.ts";

/** A label's key and value. https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/ */
const LABEL = /^(?:[a-z0-9.-]{1,253}\/)?[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?=(?:[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?)?$/;
const ANNOTATION = /^(?:[a-z0-9.-]{1,253}\/)?[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?=/;
/** What Python calls its levels: grok_spawner's manual names functions of a Python program. */
const PYTHON_LOG_LEVELS = new Map([
  ["warning", "warn"],
  ["critical", "error"],
] as const);
const CLASS_NAME = text("a name", /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/);
const TOLERATION = {
  key: "text",
  operator: ["Exists", "Equal"],
  value: "text",
  effect: ["NoSchedule", "PreferNoSchedule", "NoExecute"],
  tolerationSeconds: "number",
} as const;
const TOPOLOGY_SPREAD = {
  maxSkew: "number",
  topologyKey: "text",
  whenUnsatisfiable: ["DoNotSchedule", "ScheduleAnyway"],
  labelSelector: "object",
  matchLabelKeys: "list",
  minDomains: "number",
  nodeAffinityPolicy: ["Honor", "Ignore"],
  nodeTaintsPolicy: ["Honor", "Ignore"],
} as const;

/** One sign-in provider. */
const OIDC_PROVIDER = {
  issuer: optional(
    "BERTH_OIDC_ISSUER",
    url("an https URL", "https", "http"),
    "Issuer of an OpenID Connect provider at which users sign in ([sign-in](../sign-in.md)); http only on this machine. If unset, developer keys alone sign in",
  ),
  name: optional(
    "BERTH_OIDC_NAME",
    text("at most 40 characters", /^[^\0\r\n]{1,40}$/),
    "What the console's button calls it; if unset, the issuer's host",
  ),
  clientId: optional("BERTH_OIDC_CLIENT_ID", text(), "Client id that the provider gave berth"),
  clientSecret: optional("BERTH_OIDC_CLIENT_SECRET", text("a secret"), "Its secret; unset for a public client", { secret: true }),
  scopes: setting(
    "BERTH_OIDC_SCOPES",
    list(text("a scope", /^[\x21\x23-\x5b\x5d-\x7e]+$/)),
    ["openid", "profile", "email"],
    "Scopes that berth requests",
  ),
  loginClaim: setting(
    "BERTH_OIDC_LOGIN_CLAIM",
    text("a claim"),
    "preferred_username",
    "Claim with the login of a new user; of an e-mail address berth takes the part before @",
  ),
  groupsClaim: setting("BERTH_OIDC_GROUPS_CLAIM", text("a claim"), "groups", "Claim with the user's groups at the provider: a list, or one text"),
  allowedGroups: setting(
    "BERTH_OIDC_ALLOWED_GROUPS",
    list(text("a group")),
    [],
    "Groups at the provider whose members may sign in; `*` for every user of the issuer. Required with BERTH_OIDC_ISSUER",
  ),
  adminGroups: setting(
    "BERTH_OIDC_ADMIN_GROUPS",
    list(text("a group")),
    [],
    "Groups at the provider whose members are administrators, decided at each sign-in; if unset, berth's administrators decide",
  ),
  groups: setting(
    "BERTH_OIDC_GROUPS",
    list(text("`*`, or a group's name of letters, digits, ., _ and -", /^(?:\*|[A-Za-z0-9][A-Za-z0-9._-]{0,62})$/)),
    [],
    "Groups at the provider that are groups in berth too, whose members manage each other's packages; each sign-in sets them. `*` for all",
  ),
  createUsers: setting("BERTH_OIDC_CREATE_USERS", flag(), true, "A user that berth does not have is created at the first sign-in; off: refused"),
  linkUsers: setting(
    "BERTH_OIDC_LINK_USERS",
    flag(),
    false,
    "A first sign-in takes over an existing user of the same login who is no administrator. Only for providers at which users cannot choose their login",
  ),
  sessionHours: setting(
    "BERTH_OIDC_SESSION_HOURS",
    quantity(0.01, 8_760, "hours"),
    24,
    "How long a session lasts that began at the provider, at most BERTH_SESSION_DAYS; then users sign in again",
  ),
  signOut: setting(
    "BERTH_OIDC_SIGN_OUT",
    flag(),
    true,
    "Signing out of the console signs out at the provider too, if the provider supports it. The redirect address must then be allowed there for sign-outs too ([sign-out](../sign-out.md))",
  ),
};

/** The names of the further providers' fields are those of the first one's settings. */
const OIDC_PROVIDERS = { id: optional([], text("letters a-z, digits and -", /^(?!default$)[a-z0-9][a-z0-9-]{0,39}$/), ""), ...OIDC_PROVIDER };

/**
 * Every setting, once. A row is its type, its parser and its line in docs/reference/settings.md; keys are those of berth.yaml.
 */
/** Limits of what containers reserve, by the names of their settings. */
function reservedTogether<Cpu extends string, Memory extends string>(cpu: Cpu, memoryMb: Memory) {
  return {
    cpu: optional(cpu, quantity(0.01, 1_000_000, "cores"), "The cores that they reserve together; if unset, any"),
    memoryMb: optional(memoryMb, quantity(1, 1_000_000_000, "MB"), "The memory that they reserve together; if unset, any"),
  };
}

export const SETTINGS = {
  // Where it listens
  host: setting("BERTH_HOST", host(), "127.0.0.1", "Address that all listeners bind to; 0.0.0.0 for all interfaces"),
  edgeHost: setting("BERTH_EDGE_HOST", host(), "127.0.0.1", "Address of the edge, which plugins and browsers call", { sameAs: "host" }),
  edgePort: setting("BERTH_EDGE_PORT", port(), 8080, "Port of the edge; 0 takes any free one"),
  consolePort: setting(
    "BERTH_CONSOLE_PORT",
    port(),
    8081,
    "Port of the console, at the edge's address; `/` of the edge redirects there. An origin of its own keeps containers' pages out of it; 0 takes any free one",
  ),
  consoleName: optional(
    "BERTH_CONSOLE_HOST",
    text("a host name without scheme and port", /^[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?$/),
    "A separate host name, such as console.example.com: the edge serves the console under it, and opens no console port. Needs BERTH_WEB_ROOT, the public address of the edge",
  ),
  consoleUrl: optional(
    "BERTH_CONSOLE_URL",
    url("an http or https URL", "http", "https"),
    "Public address of the console, if it differs from the edge's host and BERTH_CONSOLE_PORT",
  ),
  spawnerHost: setting("BERTH_SPAWNER_HOST", host(), "127.0.0.1", "Address of the spawner API", { sameAs: "host" }),
  spawnerPort: setting("BERTH_SPAWNER_PORT", port(), 8000, "Port of the spawner API"),
  registryHost: setting("BERTH_REGISTRY_HOST", host(), "127.0.0.1", "Address of the registry proxy", { sameAs: "host" }),
  registryPort: setting("BERTH_REGISTRY_PORT", port(), 5000, "Port of the registry proxy"),
  registryConsolePort: optional(
    "BERTH_REGISTRY_CONSOLE_PORT",
    port(),
    "Port of a console for the registry alone, at the registry proxy's address, for `berth registry` and `berth registry-proxy`; if unset, there is none. The console of `berth serve` is at BERTH_CONSOLE_PORT",
  ),
  metricsHost: setting(
    "BERTH_METRICS_HOST",
    host(),
    "127.0.0.1",
    "Address of the metrics, for Prometheus only: they name containers and show how busy each is",
  ),
  privateFromContainers: setting(
    "BERTH_PRIVATE_FROM_CONTAINERS",
    flag(),
    false,
    "The metrics, the spawner API and the gateways' entrance also answer containers on Docker networks that berth created; off, berth closes such connections",
  ),
  metricsPort: optional("BERTH_METRICS_PORT", port(), "Port of the metrics, at `/metrics`; if unset, there are none"),
  webRoot: optional("BERTH_WEB_ROOT", url("an http or https URL", "http", "https"), "Public address, as browsers see it; clients can query it"),
  origins: setting(
    "BERTH_ORIGINS",
    list(origin()),
    [],
    "Origins of web pages, beside the edge's own, that may make changes with a user's cookie, and read responses",
  ),
  trustedProxies: setting(
    "BERTH_TRUSTED_PROXIES",
    list(addressBlock()),
    [],
    "Load balancers in front, whose X-Forwarded-For, -Proto and -Host berth believes and forwards; it replaces those of other clients",
  ),
  tlsCert: optional(
    "BERTH_TLS_CERT",
    text("a path"),
    "PEM file with the edge's certificate and its chain: the edge and the registry proxy then speak TLS. Read again when it changes, and on SIGHUP",
  ),
  tlsKey: optional("BERTH_TLS_KEY", text("a path"), "PEM file with its key"),
  http2: setting(
    "BERTH_HTTP2",
    flag(),
    false,
    "Offer HTTP/2 to TLS clients of the edge and the registry proxy. Off by default: HTTP/2 has no reason phrases, which some plugins show",
  ),
  tcp: {
    ports: optional(
      "BERTH_TCP_PORTS",
      portRange(),
      "Ports of the TCP listeners for databases and other containers that do not speak HTTP, one each: `20000-20999`. If unset, there are none",
    ),
    host: setting(
      "BERTH_TCP_HOST",
      host(),
      "127.0.0.1",
      "Address that the TCP listeners bind to, which only the internal network should reach: they do not authenticate, the containers do",
    ),
    advertisedHost: optional(
      "BERTH_TCP_ADVERTISED_HOST",
      host(),
      "Host at which clients reach the TCP listeners, shown as the container's `address`; if unset, BERTH_TCP_HOST, or this machine's name for all interfaces",
    ),
    images: setting(
      "BERTH_TCP_IMAGES",
      list(text("an image's name and a port, such as postgres:5432", /^\w[\w./:-]*:\d{1,5}$/)),
      [],
      "Images whose containers get a TCP listener even if `tcp` is not set in their container.json, each with the port that they listen on; a Dockerfile that begins from such an image counts too",
    ),
    connections: setting(
      "BERTH_TCP_CONNECTIONS",
      wholeNumber(1, 65_536),
      500,
      "Open TCP connections of one container in a gateway process, waiting ones included; one more is closed at once",
    ),
  },
  callout: {
    port: optional(
      "BERTH_CALLOUT_PORT",
      port(),
      "Port of each gateway at which your own proxies ask for decisions, and then carry the bytes themselves; if unset, none can",
    ),
    host: setting(
      "BERTH_CALLOUT_HOST",
      host(),
      "127.0.0.1",
      "Its address, which only those proxies should reach: questions contain the credentials of users, and answers the addresses of containers",
    ),
    secret: optional(
      "BERTH_CALLOUT_SECRET",
      text("32 to 200 visible characters", /^[\x21-\x7e]{32,200}$/),
      "Secret that the proxies send in `X-Berth-Callout-Secret`; required beyond loopback",
      { secret: true },
    ),
    activeSeconds: setting(
      "BERTH_CALLOUT_ACTIVE_SECONDS",
      wholeNumber(1, 86_400, "seconds"),
      60,
      "How long a decision keeps its container in use; then `shutdown_timeout` begins. Set it longer than the longest response, unless the proxy reports its open connections",
    ),
    logPort: optional(
      "BERTH_CALLOUT_LOG_PORT",
      port(),
      "UDP port there for access logs of proxies, whose lines contain `X-Berth-Lease`: a request counts until its line comes. Needs BERTH_WORKERS=1",
    ),
    openMinutes: setting("BERTH_CALLOUT_OPEN_MINUTES", quantity(0.01, 10_080, "minutes"), 60, "How long a request counts whose line does not come"),
  },
  gateways: {
    url: optional(
      "BERTH_GATEWAYS_URL",
      url("an http or https URL", "http", "https"),
      "Its address as gateways reach it, if several control processes share a database: standbys send gateways there. If unset, BERTH_GATEWAYS_HOST, or this machine's name for all interfaces",
    ),
    port: optional("BERTH_GATEWAYS_PORT", port(), "Port at which gateways on other machines join this control plane; if unset, none can"),
    host: setting("BERTH_GATEWAYS_HOST", host(), "127.0.0.1", "Its address", { sameAs: "host" }),
    tlsCert: optional("BERTH_GATEWAYS_TLS_CERT", text("a path"), "PEM file with its certificate and chain. Read again when it changes"),
    tlsKey: optional("BERTH_GATEWAYS_TLS_KEY", text("a path"), "PEM file with the key"),
    plain: setting(
      "BERTH_GATEWAYS_PLAIN",
      flag(),
      false,
      "Allow it without TLS beyond loopback, if the network encrypts: the gateways' token and users' keys pass there",
    ),
  },
  control: {
    url: setting(
      "BERTH_CONTROL",
      list(url("an http or https URL", "http", "https")),
      [],
      "The control plane that this `berth gateway` joins, at its BERTH_GATEWAYS_PORT: `https://host:port`; same as `--control`. If unset, that of this machine. Of several control processes name each, with commas between, or a DNS name with all their addresses: the gateway follows the one that leads. For `berth serve` with BERTH_DATABASE_URL: the control processes of the other machines",
    ),
    token: optional(
      "BERTH_CONTROL_TOKEN",
      text("64 hexadecimal digits, as `berth gateways token` prints", /^[0-9a-f]{64}$/),
      "The token for it; same as `--token`. A control process that has it accepts it too, beside its own: for tokens that a deployment creates",
      { secret: true },
    ),
    tokenFile: optional("BERTH_CONTROL_TOKEN_FILE", text("a path"), "File with that token, read again every few seconds"),
    ca: optional("BERTH_CONTROL_CA", text("a path"), "PEM file with the authorities for its certificate, instead of the public ones"),
    fingerprint: optional(
      "BERTH_CONTROL_FINGERPRINT",
      text("a SHA-256 in hexadecimal", /^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$/),
      "SHA-256 of its certificate: only that one is trusted, independent of its issuer",
    ),
    plain: setting("BERTH_CONTROL_PLAIN", flag(), false, "Allow `http://` beyond loopback, if the network encrypts"),
    wait: setting(
      "BERTH_CONTROL_WAIT",
      flag(),
      false,
      "Requests that need the control plane wait while it is away, as they do among several control processes: for a single one that is replaced within seconds, as by a Deployment",
    ),
  },

  // The program itself
  role: optional(
    "BERTH_ROLE",
    oneOf("serve", "control", "gateway", "registry-proxy", "spawner", "registry"),
    "What to run if the command line names no command; for images",
  ),
  data: setting("BERTH_DATA", text("a path"), ".berth", "Data folder: the store, published files, keys"),
  database: {
    url: optional(
      "BERTH_DATABASE_URL",
      url("postgres://user@host:5432/database", "postgres", "postgresql"),
      "PostgreSQL database for the store, if several machines run berth: `postgres://user@host:5432/database`, with `?sslmode=` `verify-full` (default except on loopback), `verify-ca`, `require` or `disable`. If unset, the store is a SQLite file in the data folder",
      { secret: true },
    ),
    passwordFile: optional(
      "BERTH_DATABASE_PASSWORD_FILE",
      text("a path"),
      "File with its password, read for each new connection, instead of one in the URL",
    ),
    ca: optional(
      "BERTH_DATABASE_CA",
      text("a path, or PEM", /^([^\0\r\n]+|-----BEGIN [^\0]+)$/),
      "PEM file with the authorities for its certificate, instead of the public ones; or the text of such a file",
    ),
    leaseSeconds: setting(
      "BERTH_LEASE_SECONDS",
      wholeNumber(3, 60),
      6,
      "How long a leader of several control processes leads without a renewal in the database. After a crash, another one leads within this time",
    ),
    connections: setting(
      "BERTH_DATABASE_CONNECTIONS",
      wholeNumber(2, 100),
      5,
      "Most connections to it of one control process: one writes, the others read",
    ),
  },
  adminKey: optional(
    "BERTH_ADMIN_KEY",
    text("8 to 200 visible characters", /^[\x21-\x7e]{8,200}$/),
    "Developer key of the first user; if unset, berth creates one, keeps it in the data folder and prints it once",
    {
      secret: true,
    },
  ),
  oidc: {
    ...OIDC_PROVIDER,
    providers: setting(
      "BERTH_OIDC_PROVIDERS",
      entryList("providers", 10, OIDC_PROVIDERS, ["id", "issuer", "clientId", "allowedGroups"]),
      [],
      "Further providers, as a JSON array: each has an `id`, and the settings above as `issuer`, `clientId`, `allowedGroups`, … ([several providers](../sign-in-providers.md))",
      { secret: true },
    ),
  },
  sessionDays: setting("BERTH_SESSION_DAYS", quantity(0.001, 3_650, "days"), 30, "How long a session lasts"),
  publisherHttpIssuers: setting(
    "BERTH_PUBLISHER_HTTP_ISSUERS",
    flag(),
    false,
    "Accept trusted publishers whose issuer is http:// on a loopback address, for tests and development",
  ),
  queueTokenDays: setting(
    "BERTH_QUEUE_TOKEN_DAYS",
    quantity(0.01, 365, "days"),
    30,
    "How long a container's tokens for queue and pipe are valid, with amqpAuthMode or pipeAuthMode `jwt`. Then RabbitMQ refuses new connections. Each start gives new tokens",
  ),
  credentialsKey: setting(
    "BERTH_CREDENTIALS_KEY",
    list(text("32 bytes in base64 or hexadecimal", /^([0-9A-Fa-f]{64}|[A-Za-z0-9+/_-]{43}=?)$/)),
    [],
    "Key that seals credentials in the store; several, newest first, to change it. If unset, berth creates one and keeps it in the data folder",
    { secret: true },
  ),
  credentialsKeyFile: optional(
    "BERTH_CREDENTIALS_KEY_FILE",
    text("a path"),
    "File with such keys, one in each line, instead of BERTH_CREDENTIALS_KEY; for secrets that are mounted",
  ),
  workers: setting("BERTH_WORKERS", wholeNumber(1, 128), 1, "Gateway processes that share the edge's listening socket"),
  drainSeconds: setting(
    "BERTH_DRAIN_SECONDS",
    wholeNumber(0, 3_600, "seconds"),
    30,
    "How long open requests may take to finish when berth, or a replaced container, stops",
  ),
  drainDelaySeconds: setting(
    "BERTH_DRAIN_DELAY_SECONDS",
    wholeNumber(0, 3_600, "seconds"),
    0,
    "How long berth still accepts connections after a stop signal while `/readyz` answers 503, so that load balancers turn away first",
  ),
  watchdogSeconds: setting(
    "BERTH_WATCHDOG_SECONDS",
    wholeNumber(0, 3_600, "seconds"),
    15,
    "berth kills and restarts a process whose event loop leaves three checks in this time unanswered; 0: never, for debuggers",
  ),
  logLevel: setting(
    ["BERTH_LOG_LEVEL", "GROK_SPAWNER_LOG_LEVEL"],
    oneOfOrSynonym(LOG_LEVELS, PYTHON_LOG_LEVELS),
    "info",
    "Lowest level that is logged",
  ),
  accessLog: setting(
    "BERTH_ACCESS_LOG",
    text("`off`, `stdout` or a path"),
    "off",
    "Where the edge and the registry proxy write a JSON line for each request; a file is reopened on SIGHUP",
  ),
  accessLogQuery: setting("BERTH_ACCESS_LOG_QUERY", flag(), false, "Also write queries there; they may contain secrets"),
  keepVersions: setting(
    "BERTH_KEEP_VERSIONS",
    wholeNumber(0, 50),
    5,
    "Earlier versions of each package that `berth rollback` can return to; `berth registry retain` keeps their images",
  ),
  recentRequests: setting(
    "BERTH_RECENT_REQUESTS",
    flag(),
    true,
    "Keep the last 200 requests of each container in the memory of the gateways, without queries, for `GET /api/docker/containers/{id}/requests` and the console",
  ),
  shell: setting(
    "BERTH_SHELL",
    flag(),
    false,
    "Let administrators open a shell in any container, and authors in containers that only they started ([shells](../shell.md)); every shell is in the audit log",
  ),
  shellIdleMinutes: setting(
    "BERTH_SHELL_IDLE_MINUTES",
    quantity(1, 480, "minutes"),
    15,
    "How long a shell stays open without input and output. While it is open, its container is not stopped for idleness",
  ),
  auditDays: setting("BERTH_AUDIT_DAYS", quantity(1, 3_650, "days"), 365, "How long audit entries are kept (`GET /api/admin/audit`)"),
  // OpenTelemetry's own names and meanings
  traces: {
    endpoint: optional(
      "OTEL_EXPORTER_OTLP_ENDPOINT",
      url("an http or https URL", "http", "https"),
      "The trace collector, by OTLP over HTTP: `/v1/traces` is appended. If unset, berth creates no traces, and forwards those of others unchanged",
    ),
    tracesEndpoint: optional(
      "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
      url("an http or https URL", "http", "https"),
      "The same with its path, only for traces",
    ),
    headers: setting(
      ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"],
      list(text("key=value", /^[^=\s]+=.*$/)),
      [],
      "Header lines for it, for example a key",
      { secret: true },
    ),
    serviceName: setting("OTEL_SERVICE_NAME", text(), "berth", "Name of this service in traces"),
    resource: setting(
      "OTEL_RESOURCE_ATTRIBUTES",
      list(text("key=value", /^[^=\s]+=.*$/)),
      [],
      "Other attributes, such as `deployment.environment.name=test`",
    ),
    sampler: setting("OTEL_TRACES_SAMPLER", oneOf(...SAMPLER_NAMES), "parentbased_always_on", "Which traces are recorded"),
    samplerArg: setting("OTEL_TRACES_SAMPLER_ARG", quantity(0, 1, "of all traces"), 1, "The ratio of the samplers with `traceidratio`"),
    exporter: setting("OTEL_TRACES_EXPORTER", oneOf("otlp", "none"), "otlp", "`none`: send no traces"),
    disabled: setting("OTEL_SDK_DISABLED", flag(), false, "Create no traces, independent of other settings"),
  },
  maxPackageMb: setting("BERTH_MAX_PACKAGE_MB", wholeNumber(1, 16_384, "megabytes"), 256, "Largest package that may be published"),

  // What commands that talk to a server talk to
  client: {
    server: optional(
      "BERTH_SERVER",
      text("an http or https URL, or an alias of a config file", /^\S+$/),
      "Server for `berth containers` and similar commands, if not the berth of this machine; `--server` overrides it",
    ),
    key: optional("BERTH_KEY", text("8 to 200 visible characters", /^[\x21-\x7e]{8,200}$/), "Developer key for it", { secret: true }),
    keyFile: optional("BERTH_KEY_FILE", text("a path"), "File with that key"),
    idToken: optional(
      "BERTH_ID_TOKEN",
      text("a JWT", /^[\w-]+\.[\w-]+\.[\w-]+$/),
      "Identity token of a CI job, which `berth publish` and `berth login --ci` exchange where there is no key; GitHub Actions needs none",
      { secret: true },
    ),
  },

  // Containers
  driver: setting(
    "BERTH_DRIVER",
    oneOf("auto", ...DRIVERS),
    "auto",
    "What runs containers. `auto`: ECS if a cluster is set, Kubernetes if its namespace or kubeconfig is set, a Swarm if the Docker engine manages one, else that engine. `process` isolates nothing",
  ),
  environment: setting(
    "GROK_SPAWNER_ENVIRONMENT",
    text("a name of at most 63 letters, digits, ., _ and -", /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/),
    "berth",
    "This installation's name, in labels and names of everything that it creates",
  ),
  apiUrl: optional(
    ["GROK_SPAWNER_DATAGROK_API_URL", "BERTH_API_URL"],
    url("an http or https URL", "http", "https"),
    "Address of the API for containers (`DATAGROK_API_URL` in them), with `/api`",
  ),
  busyMinutes: setting(
    "BERTH_BUSY_MINUTES",
    quantity(0, 10_080, "minutes"),
    240,
    "Longest time for which a container can report that it is busy, which postpones its idle stop; 0: not at all",
  ),
  graceSeconds: setting(
    "BERTH_GRACE_SECONDS",
    quantity(0, 600, "seconds"),
    15,
    "How long a queue worker, or a container without a port, must have run to count as started",
  ),
  noWake: setting(
    "BERTH_NO_WAKE",
    list(text("a header's name, or name:part of its value", /^[A-Za-z0-9-]+(:[^\0\r\n]+)?$/)),
    ["X-Berth-No-Wake", "Sec-Purpose:prefetch"],
    "Requests that neither start a container nor keep it running, such as health checks (`User-Agent:kube-probe`); a sleeping container answers them 503",
  ),
  waitingPage: setting(
    "BERTH_WAITING_PAGE",
    flag(),
    true,
    "Show pages to a browser that navigates to a container: the progress of its start, and errors; other requests wait as usual, and get JSON",
  ),
  holdLimit: setting(
    "BERTH_HOLD_LIMIT",
    wholeNumber(1, 1_000_000),
    10_000,
    "Requests of one gateway process that may wait for one container; one more gets 503",
  ),
  holdUserLimit: setting(
    "BERTH_HOLD_USER_LIMIT",
    wholeNumber(1, 1_000_000),
    1_000,
    "Of those, requests of one user: at most half of BERTH_HOLD_LIMIT. Over all containers, four times as many of one user may wait",
  ),
  forwarder: setting(
    "BERTH_FORWARDER",
    oneOf(...ENGINE_NAMES),
    "splice",
    "Engine that forwards bytes: `splice` uses sockets, `http-proxy` Node's HTTP server",
  ),
  sockets: setting(
    "BERTH_SOCKETS",
    oneOf(...SOCKET_SETTINGS),
    "auto",
    "How gateways and the registry proxy read and write connections without TLS. `ffi`: by system calls through Node's experimental node:ffi, with io_uring where the kernel allows it, on Linux on x64 and arm64, where a test at the start passes, else as `node`; it costs a tenth to a quarter less processor time. `node`: by Node's sockets. `auto`: `ffi` where it works, without a warning where it does not",
  ),
  connectionsPerAddress: setting(
    "BERTH_CONNECTIONS_PER_ADDRESS",
    wholeNumber(1, 1_000_000),
    2_048,
    "Connections that a process accepts per client address (IPv6: per /64), loopback included; one more is closed at once. Trusted proxies and Unix sockets are exempt. In total it accepts half of its descriptor limit, at most 65536",
  ),
  headTimeout: setting(
    "BERTH_HEAD_TIMEOUT",
    wholeNumber(100, 3_600_000, "milliseconds"),
    30_000,
    "How long a client may take to send the head of a request",
  ),
  keepAliveTimeout: setting(
    "BERTH_KEEP_ALIVE_TIMEOUT",
    wholeNumber(1_000, 86_400_000, "milliseconds"),
    75_000,
    "How long every listener keeps a connection without a request. It must be longer than a load balancer in front keeps it, which otherwise sends a request as it closes",
  ),
  idleTimeout: setting(
    "BERTH_IDLE_TIMEOUT",
    wholeNumber(0, 604_800_000, "milliseconds"),
    3_600_000,
    "Longest silence in both directions during a request and its response; 0: no limit. Silent WebSockets end with their container, by its `shutdown_timeout`",
  ),
  bodyTimeout: setting(
    "BERTH_BODY_TIMEOUT",
    wholeNumber(0, 604_800_000, "milliseconds"),
    300_000,
    "Longest time without progress of a request body before the response, because the container does not read or the client does not send; 0: no limit",
  ),
  totalTimeout: setting(
    "BERTH_TOTAL_TIMEOUT",
    wholeNumber(0, 604_800_000, "milliseconds"),
    0,
    "Longest time of a request and its response; 0: no limit. Not for WebSockets",
  ),
  underscoreHeaders: setting(
    "BERTH_UNDERSCORE_HEADERS",
    oneOf("drop", "pass"),
    "drop",
    "Request headers with `_` in their names, which many servers read as `-`, and so as berth's own",
  ),
  pausedMinutes: setting(
    "BERTH_PAUSED_MINUTES",
    quantity(0, 525_600, "minutes"),
    0,
    "How long a container that berth stopped by `shutdown_timeout` stays frozen (`docker pause`) with its memory. Until then a request resumes it without a start, if credentials and user are the same. 0: berth ends it at once. Only with Docker; a user's stop always ends it",
  ),
  capacity: {
    ofUser: {
      containers: optional(
        "BERTH_CAPACITY_USER_CONTAINERS",
        wholeNumber(1, 1_000_000),
        "How many containers that one user has started may run at once; if unset, any number",
      ),
      ...reservedTogether("BERTH_CAPACITY_USER_CPU", "BERTH_CAPACITY_USER_MEMORY_MB"),
    },
    ofAll: {
      containers: optional(
        "BERTH_CAPACITY_CONTAINERS",
        wholeNumber(1, 1_000_000),
        "How many containers and further replicas may run at once, of all users; if unset, any number",
      ),
      ...reservedTogether("BERTH_CAPACITY_CPU", "BERTH_CAPACITY_MEMORY_MB"),
    },
    replicas: optional(
      "BERTH_CAPACITY_REPLICAS",
      wholeNumber(0, 1_000_000),
      "How many further replicas all containers with `replicas` may have together; if unset, any number",
    ),
  },
  warmUp: {
    mode: setting(
      "BERTH_WARM_UP",
      oneOf(...WARM_UP_MODES),
      "suggest",
      "`suggest`: berth learns in which hours of the week each container is used, and suggests to keep it warm then. `auto`: it does so by itself, within the bounds below. `off`: it counts nothing",
    ),
    zone: setting("BERTH_WARM_UP_ZONE", timeZone(), "UTC", "The time zone of learned hours, such as `Europe/Berlin`"),
    containers: setting("BERTH_WARM_UP_CONTAINERS", wholeNumber(1, 10_000), 10, "With `auto`: how many containers berth keeps warm by itself"),
    memoryPercent: setting(
      "BERTH_WARM_UP_MEMORY_PERCENT",
      quantity(0.1, 100, "percent"),
      25,
      "With `auto`: how much of the machines' memory their limits may take together, if the driver reports it",
    ),
  },
  dockerHost: optional(
    "DOCKER_HOST",
    url("unix:///path, tcp://host:port, or http(s)://host:port", "unix", "tcp", "http", "https", "npipe"),
    "The Docker engine; if unset, the usual socket",
  ),
  dockerCallSeconds: setting(
    "BERTH_DOCKER_CALL_SECONDS",
    quantity(1, 600, "seconds"),
    30,
    "How long the Docker engine may take to answer a call, except pulls and stops. A start repeats the call until its own limit",
  ),
  dockerTlsVerify: setting("DOCKER_TLS_VERIFY", flag(), false, "Use TLS with the engine"),
  dockerCertPath: optional("DOCKER_CERT_PATH", text("a path"), "Folder with ca.pem, cert.pem and key.pem for that"),
  dockerNetwork: optional(
    "BERTH_DOCKER_NETWORK",
    text("a network's name", /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/),
    `Bridge network of containers; if berth reaches them by name, the prefix of their packages' networks. berth creates it if it does not exist. On a network that berth did not create, containers reach each other. If unset, \`${DEFAULT_NETWORKS.docker}\`; for \`berth spawner\` in a container, the networks of that container`,
  ),
  swarmNetwork: optional(
    "BERTH_SWARM_NETWORK",
    text("a network's name", /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/),
    `Attachable overlay network that services of a Swarm share; berth creates it if it does not exist. If unset, \`${DEFAULT_NETWORKS.swarm}\`; for \`berth spawner\` in a container, the networks of that container`,
  ),
  dockerReach: setting(
    "BERTH_DOCKER_REACH",
    oneOf(...REACHES),
    "auto",
    "How the gateway reaches a container, also in a Swarm: by its address, its name (if berth runs in a container too), or a published port",
  ),
  dockerSubnets: setting(
    "BERTH_DOCKER_SUBNETS",
    list(subnet()),
    DEFAULT_SUBNETS,
    "Private ranges for the addresses of berth's Docker networks: 4,096 for the shared one, 16 for that of a package. berth skips ranges of the engine's other networks and of this machine's routes",
  ),
  sharedServices: setting(
    "BERTH_SHARED_SERVICES",
    list(text("a container's name, or alias=name", /^[A-Za-z0-9][A-Za-z0-9_.-]*(=[A-Za-z0-9][A-Za-z0-9_.-]*)?$/)),
    [],
    "Docker containers, such as the queue and the pipe, that berth adds to the network of every package, if it reaches containers by name: `rabbitmq`, or `rabbitmq=stand-rabbitmq-1` for another name",
  ),
  addressRestSeconds: setting(
    "BERTH_ADDRESS_REST_SECONDS",
    quantity(0, 3_600, "seconds"),
    60,
    "How long berth does not reuse the address, or the published port, of an ended Docker container",
  ),
  dockerPublishPorts: setting(
    "BERTH_DOCKER_PUBLISH_PORTS",
    portRange(),
    "32768-60999",
    "Ports of the engine's machine for published containers, if they are reached that way",
  ),
  pidsLimit: setting(
    "BERTH_PIDS_LIMIT",
    wholeNumber(16, 4_194_304),
    DEFAULT_PIDS_LIMIT,
    "Maximum of processes and threads of one container, on Docker and in a Swarm",
  ),
  gpuPolicy: setting(
    "BERTH_GPU_POLICY",
    oneOf(...GPU_POLICIES),
    "require",
    "What happens to a container that requests `gpu` if no machine has it free: `require` fails its start, `prefer` starts it without and warns",
  ),
  dockerPublishHost: optional(
    "BERTH_DOCKER_PUBLISH_HOST",
    host(),
    "Address at which gateways on other machines reach the engine's machine, for a spawner. Containers' ports are published there (only there, if it is an IP address); clients that reach it can call containers without berth",
  ),

  dockerSettings: {
    containerStatusTimeoutMinutes: parameter(
      "dockerSettings.containerStatusTimeoutMinutes",
      quantity(0.01, 1_440, "minutes"),
      5,
      "How long a start, a stop or the validation of an image may take. The time in which a pull makes progress is added, up to 30 minutes",
    ),
    proxyRequestTimeout: parameter(
      "dockerSettings.proxyRequestTimeout",
      wholeNumber(100, 86_400_000, "milliseconds"),
      300_000,
      "How long a request may wait for its container, and then for the head of the response. A start that takes longer continues",
    ),
    useGrokSpawner: parameter(
      "dockerSettings.useGrokSpawner",
      flag(),
      true,
      "Run containers. Off: berth starts none and opens no driver; calls and `run` are refused with one sentence, and publishing still works. It does not choose the driver; BERTH_DRIVER=spawner does",
    ),
    grokSpawnerHost: parameter("dockerSettings.grokSpawnerHost", host(), "grok_spawner", "Host of the spawner for BERTH_DRIVER=spawner"),
    grokSpawnerPort: parameter("dockerSettings.grokSpawnerPort", port(), 8000, "Its port"),
    grokSpawnerTls: parameter(
      "dockerSettings.grokSpawnerTls",
      flag(),
      false,
      "Use TLS to what is in front of it. For your own CA set NODE_EXTRA_CA_CERTS",
    ),
    grokSpawnerApiKey: parameter("dockerSettings.grokSpawnerApiKey", text(), "test-x-api-key", "Its key, with spawnerAuthMode `password`", {
      secret: true,
    }),
    spawnerAuthMode: parameter(
      "dockerSettings.spawnerAuthMode",
      oneOf("jwt", "password"),
      "jwt",
      "How berth authenticates to it: by tokens that it verifies with berth's keys, from its DATAGROK_URL, or by its key",
    ),
    spawnerAudience: parameter("dockerSettings.spawnerAudience", text(), "datagrok-spawner", "Audience of those tokens; the same on both sides"),
    registryProxyHost: parameter(
      "dockerSettings.registryProxyHost",
      text("a host name or nothing", /^[A-Za-z0-9_.:-]*$/),
      "",
      "Registry of unqualified image names, as engines reach it: the registry proxy, from which they may pull. If empty, that of `REGISTRY_URL`",
    ),
    registryProxyPort: parameter("dockerSettings.registryProxyPort", port(), 5000, "Its port"),
  },

  queueSettings: {
    useQueue: parameter("queueSettings.useQueue", flag(), true, "Has no effect: containers always get the variables of queue and pipe"),
    amqpHost: parameter("queueSettings.amqpHost", host(), "rabbitmq", "Host of the queue, for containers"),
    amqpPort: parameter("queueSettings.amqpPort", port(), 5672, "Queue's port"),
    amqpUser: parameter("queueSettings.amqpUser", text(), "guest", "Queue's user"),
    amqpPassword: parameter("queueSettings.amqpPassword", text(), "guest", "Queue's password, with amqpAuthMode `password`", { secret: true }),
    amqpAuthMode: parameter(
      "queueSettings.amqpAuthMode",
      oneOf("password", "jwt"),
      "password",
      "How containers authenticate to the queue: by amqpPassword, or each by a token that RabbitMQ verifies with berth's keys",
    ),
    mqAudience: parameter("queueSettings.mqAudience", text(), "datagrok-mq", "Audience of those tokens: RabbitMQ's `resource_server_id`"),
    tls: parameter("queueSettings.tls", flag(), false, "The queue uses TLS"),
    pipeHost: parameter("queueSettings.pipeHost", host(), "grok_pipe", "Host of the pipe, for containers"),
    pipePort: parameter("queueSettings.pipePort", port(), 3000, "Pipe's port"),
    pipeKey: parameter("queueSettings.pipeKey", text(), "datagrok-key", "Pipe's key, with pipeAuthMode `password`", { secret: true }),
    pipeAuthMode: parameter(
      "queueSettings.pipeAuthMode",
      oneOf("password", "jwt"),
      "password",
      "How containers authenticate to the pipe: by pipeKey, or each by a token that the pipe verifies with berth's keys",
    ),
    pipeAudience: parameter("queueSettings.pipeAudience", text(), "datagrok-pipe", "Audience of those tokens; the same on both sides"),
  },

  datagrok: {
    url: optional(
      "DATAGROK_URL",
      url("an http or https URL", "http", "https"),
      "API of a Datagrok server, with `/api`: requests that are for no container go to that server instead of berth's API. For your own CA set NODE_EXTRA_CA_CERTS",
    ),
    directory: setting(
      "BERTH_DIRECTORY",
      oneOf("control", "datagrok"),
      "control",
      "Source of users and containers for `berth gateway`: berth's control plane, or the Datagrok server of DATAGROK_URL, which keeps running them",
    ),
    key: optional(
      "BERTH_DATAGROK_KEY",
      text("8 to 200 visible characters", /^[\x21-\x7e]{8,200}$/),
      "Developer key at that server: `berth import` uses it, and a gateway of that server warns at its start of containers that the server would stop in use",
      { secret: true },
    ),
    keepHost: setting("BERTH_DATAGROK_KEEP_HOST", flag(), false, "Send it the client's Host, not its own"),
    issuer: optional("DATAGROK_ISSUER", text(), "Issuer of docker tokens, for the server that makes them and for verifiers; if unset, `webRoot`"),
  },

  registry: {
    kind: setting(
      "BERTH_REGISTRY",
      oneOf("auto", "embedded"),
      "auto",
      "`embedded`: `berth serve` runs a registry of its own, CNCF Distribution (`registry` or `docker-registry` on the PATH, else its image), behind the proxy. `auto`: the configured one, if any",
    ),
    image: setting(
      "BERTH_REGISTRY_IMAGE",
      text("an image"),
      "registry:3",
      "Distribution's image, for the driver `docker` if neither `registry` nor `docker-registry` is on the PATH and berth runs on the engine's machine",
    ),
    folder: optional(
      "BERTH_REGISTRY_FOLDER",
      text("a path"),
      "Image folder of berth's own registry; if unset, `registry/images` in the data folder, and for `berth registry` /var/lib/registry if that exists",
    ),
    storage: optional(
      "BERTH_REGISTRY_STORAGE",
      url("s3://bucket/prefix?region=eu-west-1, or file:///folder", "s3", "file"),
      "Where berth's own registry has its images instead, if the loss of this machine must lose none: `s3://bucket/prefix?region=eu-west-1` (for S3-compatible storage also `endpoint=https://…`; `encrypt=on` for encryption by S3), or `file:///folder` on storage that all machines share",
    ),
    storageKeyId: optional(
      "BERTH_REGISTRY_STORAGE_KEY_ID",
      text("an access key id"),
      "Access key id for that bucket; if unset, AWS's own variables, files and roles count",
    ),
    storageSecret: optional("BERTH_REGISTRY_STORAGE_SECRET", text("a secret access key"), "Its secret access key", { secret: true }),
    retention: setting(
      "BERTH_REGISTRY_RETENTION",
      list(text("a rule such as datagrok/*:pr-* keep=5 days=14", /^[a-z0-9*][a-z0-9*._/-]*(?::[\w*.-]+|@untagged)(?: +(?:keep|days)=\d{1,6}){1,2}$/)),
      [],
      "Rules by which berth removes images from its own registry once a day: `datagrok/*:pr-* keep=5 days=14` removes tags that are neither among the 5 pushed last nor younger than 14 days, `datagrok/*@untagged days=7` images without a tag. The first rule for a tag counts. Images that containers or kept versions use stay",
    ),
    retentionHour: setting("BERTH_REGISTRY_RETENTION_HOUR", wholeNumber(0, 23), 3, "Hour of the day, in UTC, in which it does so"),
    url: optional(
      "REGISTRY_URL",
      text("a host, host:port or URL", /^[^\s\0]+$/),
      "The backing registry of the proxy, which `berth serve` opens if this or ECR_MODE is set; berth also looks up images in it. Without a scheme berth uses https, but http on this machine and on port 5000",
    ),
    username: optional("REGISTRY_USERNAME", text(), "User there"),
    password: optional("REGISTRY_PASSWORD", text(), "Password there", { secret: true }),
    ecrMode: setting(
      "ECR_MODE",
      flag(),
      false,
      "The registry is Amazon ECR, with the role or keys of AWS's own variables and files; REGISTRY_URL may then be unset",
    ),
    tokenFile: optional(
      "BERTH_REGISTRY_TOKEN_FILE",
      text("a path"),
      "File of mode 0600 with the registry proxy's tokens for the registry, for programs beside it such as OpenResty's Lua. One line per token: `<scope> <expires> <value of Authorization>`; ECR's scope is `*`, `expires` is in seconds since 1970. If unset, `registry-token` in the data folder",
    ),
    anonymousPull: setting("BERTH_REGISTRY_ANONYMOUS_PULL", flag(), true, "Allow pulls without authentication"),
    service: setting(
      "BERTH_REGISTRY_SERVICE",
      text("1 to 255 letters, digits, `.`, `:`, `-`", /^[\w.:-]{1,255}$/),
      "docker-registry",
      "The proxy's name in challenges, and the audience (`aud`) of its tokens",
    ),
    redirects: setting(
      "BERTH_REGISTRY_REDIRECTS",
      oneOf("pass", "follow"),
      "pass",
      "If the registry redirects a layer to another host: `pass` forwards the redirect, `follow` makes the proxy fetch the layer, for clients that cannot reach that host",
    ),
    redirectHosts: setting(
      "BERTH_REGISTRY_REDIRECT_HOSTS",
      list(text("a host, host:port or *.domain", /^(\*\.)?[A-Za-z0-9._-]+(:\d{1,5})?$/)),
      [],
      "Hosts to which it may follow, beside the registry's own domain and the stores of well-known registries (for ECR: *.amazonaws.com); this machine and its link only if listed here. On ECS and Kubernetes, also for registries that packages name",
    ),
  },
  image: {
    allow: setting(
      "BERTH_IMAGE_ALLOW",
      list(text("a pattern such as registry.example/team/*", /^[A-Za-z0-9*][A-Za-z0-9*._:/[\]-]{0,254}$/)),
      [],
      "Images that packages may run, by patterns of `registry/repository`: `ghcr.io/acme/**`. `*` is within a part of a name, `**` any number of parts. A pattern without a registry, such as `datagrok/*`, is for images that a package names without one, as what it builds. If empty, all",
    ),
    keys: setting(
      "BERTH_IMAGE_KEYS",
      list(text("a path")),
      [],
      "PEM files of public keys: berth runs only images that one of them has signed with cosign. If empty, berth needs no signatures",
    ),
    identities: setting(
      "BERTH_IMAGE_IDENTITIES",
      list(text("issuer=identity", /^https:\/\/[^\s=,]+=[^\s,]+$/)),
      [],
      "Who may sign images without a key, by cosign's keyless signatures: `issuer=identity`, as their certificates have it. `*` in an identity stands for any characters but `/`. Beside BERTH_IMAGE_KEYS, one signature of either is enough",
    ),
    sigstoreRoots: optional(
      "BERTH_IMAGE_SIGSTORE_ROOTS",
      text("a path"),
      "PEM file with the certificates of the authority that issues certificates for BERTH_IMAGE_IDENTITIES (Fulcio): its roots, and what is between",
    ),
    sigstoreLogKey: optional(
      "BERTH_IMAGE_SIGSTORE_LOG_KEY",
      text("a path"),
      "PEM file with the public key of the transparency log (Rekor) that proves when these signatures were made",
    ),
    sigstoreCertificateLogKey: optional(
      "BERTH_IMAGE_SIGSTORE_CT_KEY",
      text("a path"),
      "PEM file with the public key of the log of these certificates. If unset, they need not be in one",
    ),
    cosign: setting("BERTH_IMAGE_COSIGN", text("a program's name or path"), "cosign", "The program that verifies signatures of images"),
    maxMb: optional("BERTH_IMAGE_MAX_MB", quantity(1, 10_000_000, "MB"), "Largest image, by the compressed size of its layers; if unset, any"),
    maxAgeDays: optional(
      "BERTH_IMAGE_MAX_AGE_DAYS",
      quantity(0.01, 36_500, "days"),
      "How long ago an image may have been built; if unset, at any time",
    ),
    userCount: optional("BERTH_IMAGE_USER_COUNT", wholeNumber(1, 1_000_000), "Images of all packages of one author; if unset, any number"),
    userMb: optional("BERTH_IMAGE_USER_MB", quantity(1, 1_000_000_000, "MB"), "Their size in all; if unset, any"),
    packageCount: optional("BERTH_IMAGE_PACKAGE_COUNT", wholeNumber(1, 1_000_000), "Images of one package; if unset, any number"),
    packageMb: optional("BERTH_IMAGE_PACKAGE_MB", quantity(1, 1_000_000_000, "MB"), "Their size in all; if unset, any"),
  },
  registryCache: {
    upstreams: setting(
      "BERTH_REGISTRY_CACHE",
      list(text("a registry's host, or name=address", /^[a-z0-9]+(?:[._-][a-z0-9]+)*(?:=[^\s,]+)?$/)),
      [],
      "Registries that the registry proxy caches: `docker.io, ghcr.io`, or `name=https://host`. Clients pull `<this registry>/docker.io/library/nginx`. Needs BERTH_REGISTRY=embedded or a backing registry",
    ),
    logins: optional(
      "BERTH_REGISTRY_CACHE_LOGINS",
      text("a path"),
      "A Docker `config.json` with berth's logins at those registries, as `docker login` writes it; read at the start",
    ),
    folder: optional("BERTH_REGISTRY_CACHE_FOLDER", text("a path"), "Where their content is; if unset, `registry/cache` in the data folder"),
    maxGb: setting(
      "BERTH_REGISTRY_CACHE_MAX_GB",
      quantity(0.001, 1_000_000, "gigabytes"),
      20,
      "Size of the content. Beyond it, what was not pulled for longest goes",
    ),
    unusedDays: setting("BERTH_REGISTRY_CACHE_UNUSED_DAYS", quantity(0.01, 3_650, "days"), 30, "Content that was not pulled for so long goes"),
    freshSeconds: setting(
      "BERTH_REGISTRY_CACHE_FRESH_SECONDS",
      wholeNumber(0, 86_400, "seconds"),
      60,
      "How long a tag counts without a check at its registry. A check is a HEAD request, which Docker Hub does not count as a pull",
    ),
    anonymousPull: setting("BERTH_REGISTRY_CACHE_ANONYMOUS_PULL", flag(), false, "Allow pulls through the cache without authentication"),
    mirrorHost: optional(
      "BERTH_REGISTRY_CACHE_MIRROR_HOST",
      text("a host name or address", /^[A-Za-z0-9.-]{1,253}$/),
      "Host name under which the registry proxy is a mirror of the first of these registries, for `registry-mirrors` of the Docker engine. It needs to lead to the registry proxy",
    ),
  },
  awsRegion: optional("AWS_REGION", text("a region such as eu-west-1", /^[a-z0-9-]+$/), "Region of ECR, and of ECS with the driver `ecs`"),

  spawner: setting("BERTH_SPAWNER", flag(), false, "`berth serve` also opens the spawner API, through which other servers deploy on its engine"),
  spawnerApiKey: setting(
    ["X_API_KEY", "GROK_SPAWNER_X_API_KEY"],
    text(),
    "test-x-api-key",
    "Key that callers of the spawner API send in X-Api-Key. `berth serve` refuses the default beyond loopback",
    { secret: true },
  ),
  spawnerCoreMode: optional("GROK_SPAWNER_CORE_MODE", text(), "Accepted for grok_spawner's sake, without effect"),
  spawnerForceDockerTypeHost: setting(
    "GROK_SPAWNER_FORCE_DOCKER_TYPE_HOST",
    flag(),
    false,
    "With the driver `auto`: run containers on the Docker engine itself, independent of other settings, also if it manages a Swarm",
  ),

  ecs: {
    datagrok: {
      ...ecsBlock("DATAGROK_ECS"),
      execRole: optional(spawnerNames("DATAGROK_ECS", "EXEC_ROLE"), text("an ARN"), "Role that starts tasks: it pulls images and writes logs"),
      logGroup: optional(spawnerNames("DATAGROK_ECS", "LOG_GROUP"), text("an ARN"), "Log group of all tasks; if unset, they have no logs"),
    },
    cvm: ecsBlock("CVM_ECS"),
    shellRole: optional(
      "BERTH_ECS_SHELL_ROLE",
      text("an ARN", /^arn:[^:]+:iam::\d*:role\/\S+$/),
      "With `BERTH_SHELL=on`: role of the containers' tasks, with which AWS's agent for shells connects ([how](../drivers/ecs.md#shells)). It has no other rights: containers can use them",
    ),
    capacityProviders: setting(
      "BERTH_ECS_CAPACITY_PROVIDERS",
      list(text("a capacity provider of the cluster, or name=share", /^[A-Za-z0-9_-]{1,255}(=([1-9]\d{0,2}|1000))?$/)),
      [],
      "Capacity providers of the cluster for tasks, instead of a launch type: `FARGATE_SPOT`, or `FARGATE_SPOT=3,FARGATE=1` for three of four tasks. AWS may end a task of FARGATE_SPOT at any time; ECS then starts another one",
    ),
    architecture: optional(
      "BERTH_ECS_ARCHITECTURE",
      oneOf(...ARCHITECTURES),
      "Processor of tasks, and so of their images: `arm64` for Graviton. If unset, ECS takes x86_64 on Fargate, and any instance on EC2",
    ),
    reach: setting(
      "BERTH_ECS_REACH",
      oneOf(...ECS_REACHES),
      "address",
      "How the gateway reaches a task: by its private address, or by the VPC's DNS name of that address",
    ),
  },

  kubernetes: {
    namespace: optional(
      "GROK_SPAWNER_KUBERNETES__NAMESPACE",
      text("a namespace", /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/),
      "Namespace of everything that berth creates; if unset, that of the kubeconfig's context or of berth's own pod",
    ),
    dockerAuth: optional(
      "GROK_SPAWNER_KUBERNETES__DOCKER_AUTH",
      text(),
      "Credentials for pulls: the name of a Secret of that namespace, or a Docker config.json (`auths`), plain or in base64",
      { secret: true },
    ),
    capabilities: setting(
      "BERTH_KUBERNETES_CAPABILITIES",
      oneOf(...CAPABILITIES),
      "default",
      "Linux capabilities of containers: `default` is the runtime's set without NET_RAW, which official database images need; `none` allows only to listen below 1024. In a namespace that enforces the pod security standard `restricted`, berth uses what that allows",
    ),
    kubeconfig: optional(
      "GROK_SPAWNER_KUBERNETES__KUBECONFIG",
      text("a path"),
      "Path of a kubeconfig; if unset, berth runs in the cluster, with its pod's service account",
    ),
    cvm: podBlock("CVM"),
    datagrok: podBlock("DATAGROK"),
  },
} as const;

export type Settings = SettingValues<typeof SETTINGS>;

/** The setting that names the settings file; the file itself cannot contain it. */

/** One of the server's own settings: a variable of its own, or a part of the JSON in `GROK_PARAMETERS`. */
function parameter<T>(
  key: string,
  parse: Parameters<typeof setting<T>>[1],
  fallback: NoInfer<T>,
  description: string,
  extra: Parameters<typeof setting<T>>[4] = {},
): SettingRow<T> {
  return setting(parameterName(key), parse, fallback, description, extra);
}

function podBlock(block: "CVM" | "DATAGROK") {
  const name = (field: string) => `BERTH_KUBERNETES_${block}_${field}`;
  const pods = block === "CVM" ? "pods of containers" : "pods that a spawner deploys for the host `datagrok`; if unset, as for containers";
  return {
    nodeSelector: optional(name("NODE_SELECTOR"), textMap("labels of nodes", LABEL), `Nodes for ${pods}`),
    tolerations: optional(
      name("TOLERATIONS"),
      objectList<V1Toleration>("tolerations, as in a pod's spec", TOLERATION),
      `Taints of nodes that are tolerated by ${pods}`,
    ),
    topologySpread: optional(
      name("TOPOLOGY_SPREAD"),
      objectList<V1TopologySpreadConstraint>("`topologySpreadConstraints`, as in a pod's spec", TOPOLOGY_SPREAD, [
        "maxSkew",
        "topologyKey",
        "whenUnsatisfiable",
      ]),
      `How zones or nodes share ${pods}. Without \`labelSelector\`, all pods of berth in the namespace count`,
    ),
    runtimeClass: optional(name("RUNTIME_CLASS"), CLASS_NAME, `RuntimeClass of ${pods}, such as gvisor`),
    priorityClass: optional(name("PRIORITY_CLASS"), CLASS_NAME, `PriorityClass of ${pods}`),
    annotations: optional(name("ANNOTATIONS"), textMap("annotations", ANNOTATION), `Annotations of ${pods}`),
  };
}

function ecsBlock(block: "DATAGROK_ECS" | "CVM_ECS") {
  const whose =
    block === "CVM_ECS"
      ? "For containers; a value that is unset here is taken from the other block."
      : "For what a spawner deploys for this host, and for all containers if the other block names no cluster.";
  return {
    cluster: optional(spawnerNames(block, "CLUSTER"), text(), `ECS cluster, by name or ARN. ${whose.slice(0, -1)}`),
    clusterRegion: optional(spawnerNames(block, "CLUSTER_REGION"), text("a region such as eu-west-1", /^[a-z0-9-]+$/), "Its region"),
    subnets: setting(spawnerNames(block, "SUBNETS"), list(text("a subnet's id")), [], "Subnets of its tasks"),
    securityGroups: setting(spawnerNames(block, "SECURITY_GROUPS"), list(text("a security group's id")), [], "Security groups of its tasks"),
    launchType: optional(
      spawnerNames(block, "LAUNCH_TYPE"),
      oneOf(...LAUNCH_TYPES),
      "How its tasks are launched; if unset, on EC2 if the cluster's instances have capacity, else on Fargate",
    ),
  };
}
