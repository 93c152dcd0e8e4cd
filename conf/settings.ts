import { DRIVERS } from "../drivers/driver.ts";
import { LAUNCH_TYPES, REACHES as ECS_REACHES } from "../drivers/ecs/site.ts";
import { DEFAULT_PIDS_LIMIT } from "../drivers/engine/pids-limit.ts";
import { DEFAULT_SUBNETS } from "../drivers/docker/subnets.ts";
import { REACHES } from "../drivers/engine/reach.ts";
import { FORWARDERS } from "../gateway/connections/engine.ts";
import { READS } from "../gateway/connections/reads.ts";
import { LOG_LEVELS } from "../lib/log.ts";
import { SAMPLER_NAMES } from "../lib/traces/settings.ts";
import { parameterName, spawnerNames } from "./names.ts";
import { addressBlock, flag, host, list, oneOf, origin, port, portRange, quantity, subnet, text, url, wholeNumber } from "./parsers.ts";
import { optional, setting, type Row, type Values } from "./row.ts";

const QUEUE_JWT = "tokens for the queue and the pipe";

/**
 * Every setting there is, once. A row is its type, its parser and its line in docs/reference/settings.md at the same time; keys are
 * those of berth.yaml.
 */
export const SETTINGS = {
  // Where it listens
  host: setting("BERTH_HOST", host(), "127.0.0.1", "Address that all listeners bind to; 0.0.0.0 for all interfaces"),
  edgeHost: setting("BERTH_EDGE_HOST", host(), "127.0.0.1", "Address of the edge, which plugins and browsers call", { sameAs: "host" }),
  edgePort: setting("BERTH_EDGE_PORT", port(), 8080, "Port of the edge; 0 takes any free one"),
  consolePort: setting(
    "BERTH_CONSOLE_PORT",
    port(),
    8081,
    "Port of the console, at the address of the edge, which redirects there: an origin of its own keeps containers' pages out of it; 0 takes any free one",
  ),
  consoleName: optional(
    "BERTH_CONSOLE_HOST",
    text("a host name"),
    "Name of a host of its own, such as console.example.com: the edge serves the console there, by the request's Host, and there is no port for it. It needs BERTH_WEB_ROOT, the public address of the edge",
  ),
  consoleUrl: optional(
    "BERTH_CONSOLE_URL",
    url("an http or https URL", "http", "https"),
    "Public address of the console, as browsers see it, where that is another than the edge's host and BERTH_CONSOLE_PORT",
  ),
  spawnerHost: setting("BERTH_SPAWNER_HOST", host(), "127.0.0.1", "Address of the spawner API", { sameAs: "host" }),
  spawnerPort: setting("BERTH_SPAWNER_PORT", port(), 8000, "Port of the spawner API"),
  registryHost: setting("BERTH_REGISTRY_HOST", host(), "127.0.0.1", "Address of the registry proxy", { sameAs: "host" }),
  registryPort: setting("BERTH_REGISTRY_PORT", port(), 5000, "Port of the registry proxy"),
  registryConsolePort: optional(
    "BERTH_REGISTRY_CONSOLE_PORT",
    port(),
    "Port of a console that shows the registry alone, at the address of the registry proxy, for `berth registry` and `berth registry-proxy` beside a Datagrok server; where unset, there is none. The console of `berth serve` is at BERTH_CONSOLE_PORT",
  ),
  metricsHost: setting(
    "BERTH_METRICS_HOST",
    host(),
    "127.0.0.1",
    "Address of the metrics, for Prometheus alone: they name containers, and how busy each is",
  ),
  privateFromContainers: setting(
    "BERTH_PRIVATE_FROM_CONTAINERS",
    flag(),
    false,
    "The metrics, the spawner API and the gateways' entrance also answer containers on Docker networks that berth made; off, those are hung up on",
  ),
  metricsPort: optional("BERTH_METRICS_PORT", port(), "Port of the metrics, at `/metrics`; where unset, there are none"),
  webRoot: optional("BERTH_WEB_ROOT", url("an http or https URL", "http", "https"), "Public address, as browsers see it; told to clients that ask"),
  origins: setting(
    "BERTH_ORIGINS",
    list(origin()),
    [],
    "Origins of web pages, beside the edge's own, that may start, stop and change things with a user's cookie, and read the answers",
  ),
  trustedProxies: setting(
    "BERTH_TRUSTED_PROXIES",
    list(addressBlock()),
    [],
    "Load balancers in front, whose X-Forwarded-For, -Proto and -Host are believed and passed on; those of anybody else are replaced",
  ),
  tlsCert: optional(
    "BERTH_TLS_CERT",
    text("a path"),
    "PEM file with the edge's certificate and its chain: the edge and the registry proxy then speak TLS. Read again when it changes, and on SIGHUP",
  ),
  tlsKey: optional("BERTH_TLS_KEY", text("a path"), "PEM file with its key"),
  gateways: {
    port: optional("BERTH_GATEWAYS_PORT", port(), "Port at which gateways on other machines join this control plane; where unset, none do"),
    host: setting("BERTH_GATEWAYS_HOST", host(), "127.0.0.1", "Its address", { sameAs: "host" }),
    tlsCert: optional("BERTH_GATEWAYS_TLS_CERT", text("a path"), "PEM file with its certificate and chain. Read again when it changes"),
    tlsKey: optional("BERTH_GATEWAYS_TLS_KEY", text("a path"), "PEM file with the key"),
    plain: setting(
      "BERTH_GATEWAYS_PLAIN",
      flag(),
      false,
      "It may do without TLS off loopback too, where the network encrypts: the gateways' token and users' keys pass there",
    ),
  },
  control: {
    url: optional(
      "BERTH_CONTROL",
      url("an http or https URL", "http", "https"),
      "The control plane that this `berth gateway` joins, by its BERTH_GATEWAYS_PORT: `https://host:port`; as `--control`. Where unset, that of this machine",
    ),
    token: optional("BERTH_CONTROL_TOKEN", text("what `berth gateways token` prints", /^[0-9a-f]{64}$/), "The token that it wants; as `--token`", {
      secret: true,
    }),
    tokenFile: optional("BERTH_CONTROL_TOKEN_FILE", text("a path"), "File with that token, read again every few seconds"),
    ca: optional("BERTH_CONTROL_CA", text("a path"), "PEM file with who may have signed its certificate, in place of the public authorities"),
    fingerprint: optional(
      "BERTH_CONTROL_FINGERPRINT",
      text("a SHA-256 in hexadecimal", /^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$/),
      "SHA-256 of its certificate: that one alone is trusted, whoever signed it",
    ),
    plain: setting("BERTH_CONTROL_PLAIN", flag(), false, "It may be `http://` off loopback too, where the network encrypts"),
  },

  // The program itself
  role: optional(
    "BERTH_ROLE",
    oneOf("serve", "control", "gateway", "registry-proxy", "spawner", "registry"),
    "What to run where the command line names no command; for images",
  ),
  data: setting("BERTH_DATA", text("a path"), ".berth", "Data folder: the store, published files, keys"),
  adminKey: optional(
    "BERTH_ADMIN_KEY",
    text("8 to 200 visible characters", /^[\x21-\x7e]{8,200}$/),
    "Developer key of the first user; where unset, one is made, kept in the data folder and printed once",
    {
      secret: true,
    },
  ),
  sessionDays: setting("BERTH_SESSION_DAYS", quantity(0.001, 3_650, "days"), 30, "How long somebody who signed in stays so"),
  credentialsKey: setting(
    "BERTH_CREDENTIALS_KEY",
    list(text("32 bytes in base64 or hexadecimal", /^([0-9A-Fa-f]{64}|[A-Za-z0-9+/_-]{43}=?)$/)),
    [],
    "Key that seals credentials in the store; several, the newest first, to change it. Where unset, one is made and kept in the data folder",
    { secret: true },
  ),
  workers: setting("BERTH_WORKERS", wholeNumber(1, 128), 1, "Gateway processes that share the edge's listening socket"),
  drainSeconds: setting(
    "BERTH_DRAIN_SECONDS",
    wholeNumber(0, 3_600, "seconds"),
    30,
    "How long open requests may finish when berth, or a container that is replaced, stops",
  ),
  drainDelaySeconds: setting(
    "BERTH_DRAIN_DELAY_SECONDS",
    wholeNumber(0, 3_600, "seconds"),
    0,
    "How long berth, told to stop, still takes connections while `/readyz` answers 503, so that load balancers turn away first",
  ),
  watchdogSeconds: setting(
    "BERTH_WATCHDOG_SECONDS",
    wholeNumber(0, 3_600, "seconds"),
    15,
    "A process of berth whose event loop leaves three checks in this time unanswered is killed and started again; 0: never, for debuggers",
  ),
  logLevel: setting(["BERTH_LOG_LEVEL", "GROK_SPAWNER_LOG_LEVEL"], oneOf(...LOG_LEVELS), "info", "Least level that is logged"),
  accessLog: setting(
    "BERTH_ACCESS_LOG",
    text("`off`, `stdout` or a path"),
    "off",
    "Where the edge and the registry proxy write a line of JSON for each request; a file is opened anew on SIGHUP",
  ),
  accessLogQuery: setting("BERTH_ACCESS_LOG_QUERY", flag(), false, "Queries are written there too; there may be secrets in them"),
  auditDays: setting("BERTH_AUDIT_DAYS", quantity(1, 3_650, "days"), 365, "How long it is kept who did what (`GET /api/admin/audit`)"),
  // OpenTelemetry's own names and meanings
  traces: {
    endpoint: optional(
      "OTEL_EXPORTER_OTLP_ENDPOINT",
      url("an http or https URL", "http", "https"),
      "What collects traces, by OTLP over HTTP: `/v1/traces` is added. Where unset, none are made, and traces of others are passed on as they came",
    ),
    tracesEndpoint: optional(
      "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
      url("an http or https URL", "http", "https"),
      "The same with its path, for traces alone",
    ),
    headers: setting(
      ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"],
      list(text("key=value", /^[^=\s]+=.*$/)),
      [],
      "Header lines for it, such as a key",
      { secret: true },
    ),
    serviceName: setting("OTEL_SERVICE_NAME", text(), "berth", "Name of this service in traces"),
    resource: setting(
      "OTEL_RESOURCE_ATTRIBUTES",
      list(text("key=value", /^[^=\s]+=.*$/)),
      [],
      "What else is said of it, such as `deployment.environment.name=test`",
    ),
    sampler: setting("OTEL_TRACES_SAMPLER", oneOf(...SAMPLER_NAMES), "parentbased_always_on", "Which traces are recorded"),
    samplerArg: setting("OTEL_TRACES_SAMPLER_ARG", quantity(0, 1, "of all traces"), 1, "The part that the samplers with `traceidratio` take"),
    exporter: setting("OTEL_TRACES_EXPORTER", oneOf("otlp", "none"), "otlp", "`none`: no traces are sent"),
    disabled: setting("OTEL_SDK_DISABLED", flag(), false, "No traces are made, whatever else is set"),
  },
  maxPackageMb: setting("BERTH_MAX_PACKAGE_MB", wholeNumber(1, 16_384, "megabytes"), 256, "Largest package that may be published"),

  // What commands that talk to a server talk to
  client: {
    server: optional(
      "BERTH_SERVER",
      text("an http or https URL, or an alias of a config file", /^\S+$/),
      "Server that `berth containers` and the like talk to, where not the berth of this machine; `--server` wins over it",
    ),
    key: optional("BERTH_KEY", text("8 to 200 visible characters", /^[\x21-\x7e]{8,200}$/), "Developer key to sign in there with", { secret: true }),
    keyFile: optional("BERTH_KEY_FILE", text("a path"), "File with that key"),
  },

  // Containers
  driver: setting(
    "BERTH_DRIVER",
    oneOf("auto", ...DRIVERS),
    "auto",
    "What runs containers. `auto`: ECS where a cluster is set, Kubernetes where its namespace or kubeconfig is, a Swarm where the Docker engine manages one, else that engine. `process` isolates nothing",
  ),
  environment: setting(
    "GROK_SPAWNER_ENVIRONMENT",
    text("a name of at most 63 letters, digits, ., _ and -", /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/),
    "berth",
    "This installation's name, in the labels and names of all that it creates",
  ),
  apiUrl: optional(
    ["GROK_SPAWNER_DATAGROK_API_URL", "BERTH_API_URL"],
    url("an http or https URL", "http", "https"),
    "Where a container reaches the API (`DATAGROK_API_URL` in it), with `/api`",
  ),
  busyMinutes: setting(
    "BERTH_BUSY_MINUTES",
    quantity(0, 10_080, "minutes"),
    240,
    "How long a container may say in one go that it is busy, which keeps it from its idle stop; 0: not at all",
  ),
  noWake: setting(
    "BERTH_NO_WAKE",
    list(text("a header's name, or name:part of its value", /^[A-Za-z0-9-]+(:[^\0\r\n]+)?$/)),
    ["X-Berth-No-Wake", "Sec-Purpose:prefetch"],
    "Requests that neither wake a container nor keep it awake, such as health checks (`User-Agent:kube-probe`); one that sleeps answers them 503",
  ),
  waitingPage: setting(
    "BERTH_WAITING_PAGE",
    flag(),
    true,
    "Whether a browser that goes to a sleeping container is shown how its start goes, in place of an empty window; other requests wait as ever",
  ),
  holdLimit: setting(
    "BERTH_HOLD_LIMIT",
    wholeNumber(1, 1_000_000),
    10_000,
    "Requests of one gateway process that may wait for one container; one more is answered 503",
  ),
  holdUserLimit: setting(
    "BERTH_HOLD_USER_LIMIT",
    wholeNumber(1, 1_000_000),
    1_000,
    "Of those, requests of one user: at most half of BERTH_HOLD_LIMIT. For all containers together, four times as many of one user may wait",
  ),
  forwarder: setting(
    "BERTH_FORWARDER",
    oneOf(...FORWARDERS),
    "splice",
    "Engine that moves the bytes: `splice` works on sockets, `http-proxy` on Node's own HTTP server",
  ),
  reads: setting(
    "BERTH_READS",
    oneOf(...READS),
    "events",
    "How `splice` reads and writes its clients' connections: by Node's `events`, or by `buffers` that are used again, past its streams, which costs an eighth less and a third for uploads, but leans on Node's insides",
  ),
  connectionsPerAddress: setting(
    "BERTH_CONNECTIONS_PER_ADDRESS",
    wholeNumber(1, 1_000_000),
    2_048,
    "Connections that a process keeps open of one client address, of IPv6 of a /64, loopback included; one more is closed at once. Trusted proxies and Unix sockets are exempt. In all it keeps half as many as it may have descriptors, 65536 at most",
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
    "How long a connection without a request is kept, at every listener: longer than a load balancer in front keeps it, which else sends a request as it closes",
  ),
  idleTimeout: setting(
    "BERTH_IDLE_TIMEOUT",
    wholeNumber(0, 604_800_000, "milliseconds"),
    3_600_000,
    "How long no byte may pass either way within a request and its response; 0 for ever. Silent WebSockets end with their container, by its `shutdown_timeout`",
  ),
  bodyTimeout: setting(
    "BERTH_BODY_TIMEOUT",
    wholeNumber(0, 604_800_000, "milliseconds"),
    300_000,
    "How long the body of a request that is not answered yet may make no progress, since its container does not read it or its client sends no more; 0 for ever",
  ),
  totalTimeout: setting(
    "BERTH_TOTAL_TIMEOUT",
    wholeNumber(0, 604_800_000, "milliseconds"),
    0,
    "How long a request and its response may take in all; 0 for ever. Not for WebSockets",
  ),
  underscoreHeaders: setting(
    "BERTH_UNDERSCORE_HEADERS",
    oneOf("drop", "pass"),
    "drop",
    "Request headers with `_` in their names, which many servers take for the same with `-`, and so for ours",
  ),
  pausedMinutes: setting(
    "BERTH_PAUSED_MINUTES",
    quantity(0, 525_600, "minutes"),
    0,
    "How long a container that went to sleep by its `shutdown_timeout` lies frozen (`docker pause`), with its memory, before it is ended: until then a request has it go on without a start, where it is to have the same credentials and user. 0: it is ended at once. Docker alone; a user's stop ends it always",
  ),
  dockerHost: optional(
    "DOCKER_HOST",
    url("unix:///path, tcp://host:port, or http(s)://host:port", "unix", "tcp", "http", "https", "npipe"),
    "The Docker engine; the usual socket where unset",
  ),
  dockerTlsVerify: setting("DOCKER_TLS_VERIFY", flag(), false, "Speak TLS with the engine"),
  dockerCertPath: optional("DOCKER_CERT_PATH", text("a path"), "Folder with ca.pem, cert.pem and key.pem for that"),
  dockerNetwork: setting(
    "BERTH_DOCKER_NETWORK",
    text("a network's name", /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/),
    "berth",
    "Bridge network that containers are on; where berth reaches them by name, the first part of the names of their packages' networks. Made where it is missing. On one that berth did not make, containers reach each other",
  ),
  swarmNetwork: setting(
    "BERTH_SWARM_NETWORK",
    text("a network's name", /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/),
    "berth-swarm",
    "Attachable overlay network that services of a Swarm share; made where it is missing",
  ),
  dockerReach: setting(
    "BERTH_DOCKER_REACH",
    oneOf(...REACHES),
    "auto",
    "How the gateway reaches a container, of a Swarm too: by its address, its name (berth in a container too), or a published port",
  ),
  dockerSubnets: setting(
    "BERTH_DOCKER_SUBNETS",
    list(subnet()),
    DEFAULT_SUBNETS,
    "Private networks that berth's Docker networks get their addresses from: 4 096 for the one that containers share, 16 for that of a package. What the engine's other networks or this machine's routes have is passed over",
  ),
  sharedServices: setting(
    "BERTH_SHARED_SERVICES",
    list(text("a container's name, or alias=name", /^[A-Za-z0-9][A-Za-z0-9_.-]*(=[A-Za-z0-9][A-Za-z0-9_.-]*)?$/)),
    [],
    "Docker containers, such as the queue and the pipe, that berth puts on the network of every package, where it reaches containers by name: `rabbitmq`, or `rabbitmq=stand-rabbitmq-1` to be found by another name",
  ),
  addressRestSeconds: setting(
    "BERTH_ADDRESS_REST_SECONDS",
    quantity(0, 3_600, "seconds"),
    60,
    "How long the address, or the published port, of a Docker container that ended is given to no other",
  ),
  dockerPublishPorts: setting(
    "BERTH_DOCKER_PUBLISH_PORTS",
    portRange(),
    "32768-60999",
    "Ports of the engine's machine that containers are published on, where that is how they are reached",
  ),
  pidsLimit: setting(
    "BERTH_PIDS_LIMIT",
    wholeNumber(16, 4_194_304),
    DEFAULT_PIDS_LIMIT,
    "Most processes and threads of one container, on Docker and in a Swarm",
  ),
  dockerPublishHost: optional(
    "BERTH_DOCKER_PUBLISH_HOST",
    host(),
    "Where gateways on other machines reach the engine's, for a spawner: containers' ports are published there, of an IP address on that alone, and whoever gets there reaches them past berth",
  ),

  dockerSettings: {
    containerStatusTimeoutMinutes: parameter(
      "dockerSettings.containerStatusTimeoutMinutes",
      quantity(0.01, 1_440, "minutes"),
      5,
      "How long a container or image may stay in a passing state",
    ),
    proxyRequestTimeout: parameter(
      "dockerSettings.proxyRequestTimeout",
      wholeNumber(100, 86_400_000, "milliseconds"),
      300_000,
      "How long a request may wait for its container, and then for the head of the response",
    ),
    useGrokSpawner: parameter(
      "dockerSettings.useGrokSpawner",
      flag(),
      true,
      "Deploy through a spawner, which is chosen by BERTH_DRIVER=spawner alone; off beside that is refused",
    ),
    grokSpawnerHost: parameter(
      "dockerSettings.grokSpawnerHost",
      host(),
      "grok_spawner",
      "Host of the spawner that BERTH_DRIVER=spawner deploys through",
    ),
    grokSpawnerPort: parameter("dockerSettings.grokSpawnerPort", port(), 8000, "Its port"),
    grokSpawnerTls: parameter(
      "dockerSettings.grokSpawnerTls",
      flag(),
      false,
      "It is spoken to over TLS, by what stands in front of it. A CA of one's own: NODE_EXTRA_CA_CERTS",
    ),
    grokSpawnerApiKey: parameter(
      "dockerSettings.grokSpawnerApiKey",
      text(),
      "test-x-api-key",
      "The key that it wants, with spawnerAuthMode `password`",
      {
        secret: true,
      },
    ),
    spawnerAuthMode: parameter(
      "dockerSettings.spawnerAuthMode",
      oneOf("jwt", "password"),
      "jwt",
      "How it knows us: by tokens that it verifies with our keys, from its DATAGROK_URL, or by its key",
    ),
    spawnerAudience: parameter("dockerSettings.spawnerAudience", text(), "datagrok-spawner", "For whom those tokens are; on both sides the same"),
    registryProxyHost: parameter(
      "dockerSettings.registryProxyHost",
      text("a host name or nothing", /^[A-Za-z0-9_.:-]*$/),
      "",
      "Registry that unqualified image names are in, as engines reach it: the registry proxy, which lets them pull. Where empty, the one of `REGISTRY_URL`",
    ),
    registryProxyPort: parameter("dockerSettings.registryProxyPort", port(), 5000, "Its port"),
  },

  queueSettings: {
    useQueue: parameter("queueSettings.useQueue", flag(), true, "There is a queue", { later: QUEUE_JWT }),
    amqpHost: parameter("queueSettings.amqpHost", host(), "rabbitmq", "Queue's host, as containers reach it"),
    amqpPort: parameter("queueSettings.amqpPort", port(), 5672, "Queue's port"),
    amqpUser: parameter("queueSettings.amqpUser", text(), "guest", "Queue's user"),
    amqpPassword: parameter("queueSettings.amqpPassword", text(), "guest", "Queue's password", { secret: true }),
    amqpAuthMode: parameter("queueSettings.amqpAuthMode", oneOf("password", "jwt"), "password", "How containers sign in to the queue", {
      later: QUEUE_JWT,
    }),
    mqAudience: parameter("queueSettings.mqAudience", text(), "datagrok-mq", "Audience of their tokens for it", { later: QUEUE_JWT }),
    tls: parameter("queueSettings.tls", flag(), false, "The queue speaks TLS"),
    pipeHost: parameter("queueSettings.pipeHost", host(), "grok_pipe", "Pipe's host, as containers reach it"),
    pipePort: parameter("queueSettings.pipePort", port(), 3000, "Pipe's port"),
    pipeKey: parameter("queueSettings.pipeKey", text(), "datagrok-key", "Pipe's key", { secret: true }),
    pipeAuthMode: parameter("queueSettings.pipeAuthMode", oneOf("password", "jwt"), "password", "How containers sign in to the pipe", {
      later: QUEUE_JWT,
    }),
    pipeAudience: parameter("queueSettings.pipeAudience", text(), "datagrok-pipe", "Audience of their tokens for it", { later: QUEUE_JWT }),
  },

  datagrok: {
    url: optional(
      "DATAGROK_URL",
      url("an http or https URL", "http", "https"),
      "API of a Datagrok server, with `/api`: what is for no container goes to that server instead of berth's own API. A CA of one's own: NODE_EXTRA_CA_CERTS",
    ),
    directory: setting(
      "BERTH_DIRECTORY",
      oneOf("control", "datagrok"),
      "control",
      "Whom `berth gateway` asks who calls and where containers are: berth's own control plane, or the Datagrok server of DATAGROK_URL, which goes on running them",
    ),
    key: optional(
      "BERTH_DATAGROK_KEY",
      text("8 to 200 visible characters", /^[\x21-\x7e]{8,200}$/),
      "Developer key at that server: `berth import` reads with it, and a gateway that asks that server looks at its start for containers it would stop in use",
      { secret: true },
    ),
    keepHost: setting("BERTH_DATAGROK_KEEP_HOST", flag(), false, "It is sent the Host that clients asked for, not its own"),
    issuer: optional("DATAGROK_ISSUER", text(), "Issuer of docker tokens, for who makes them and who verifies them; where unset, `webRoot`"),
  },

  registry: {
    kind: setting(
      "BERTH_REGISTRY",
      oneOf("auto", "embedded"),
      "auto",
      "`embedded`: `berth serve` brings a registry of its own, CNCF Distribution (`registry` or `docker-registry` on the PATH, else its image), behind the proxy. `auto`: the one that is named, if any",
    ),
    image: setting(
      "BERTH_REGISTRY_IMAGE",
      text("an image"),
      "registry:3",
      "Distribution's image, which is run for that with the driver `docker` where neither `registry` nor `docker-registry` is on the PATH, and berth runs on the engine's own machine",
    ),
    folder: optional(
      "BERTH_REGISTRY_FOLDER",
      text("a path"),
      "Where berth's own registry keeps images; where unset, `registry/images` in the data folder, and for `berth registry` /var/lib/registry where that exists",
    ),
    url: optional(
      "REGISTRY_URL",
      text("a host, host:port or URL", /^[^\s\0]+$/),
      "The registry behind the proxy, which `berth serve` opens where this or ECR_MODE is set; images are looked up in it too. Without a scheme it is asked by https, but by http on this machine and on port 5000",
    ),
    username: optional("REGISTRY_USERNAME", text(), "User there"),
    password: optional("REGISTRY_PASSWORD", text(), "Password there", { secret: true }),
    ecrMode: setting(
      "ECR_MODE",
      flag(),
      false,
      "It is Amazon ECR, signed in to with the role or keys that AWS's own variables and files name; REGISTRY_URL may then be missing",
    ),
    tokenFile: optional(
      "BERTH_REGISTRY_TOKEN_FILE",
      text("a path"),
      "File of mode 0600 in which the registry proxy keeps the tokens that it has for the registry, for programs beside it such as OpenResty's Lua: a line for each, `<scope> <expires> <value of Authorization>`, where ECR's scope is `*` and `expires` counts seconds since 1970. Where unset, `registry-token` in the data folder",
    ),
    anonymousPull: setting("BERTH_REGISTRY_ANONYMOUS_PULL", flag(), true, "Images may be pulled without signing in"),
    service: setting(
      "BERTH_REGISTRY_SERVICE",
      text("1 to 255 letters, digits, `.`, `:`, `-`", /^[\w.:-]{1,255}$/),
      "docker-registry",
      "The proxy's name for itself in challenges, for which tokens must be (`aud`)",
    ),
    reads: setting(
      "BERTH_REGISTRY_READS",
      oneOf(...READS),
      "buffers",
      "How the registry proxy reads, as BERTH_READS: with `buffers` a layer costs a little less than with `events`, of processor time and of memory",
    ),
    redirects: setting(
      "BERTH_REGISTRY_REDIRECTS",
      oneOf("pass", "follow"),
      "pass",
      "What is done where the registry leads to another host for a layer: the client is told, or the proxy fetches it, for clients that reach nothing else",
    ),
    redirectHosts: setting(
      "BERTH_REGISTRY_REDIRECT_HOSTS",
      list(text("a host, host:port or *.domain", /^(\*\.)?[A-Za-z0-9._-]+(:\d{1,5})?$/)),
      [],
      "Where to it may follow, beside the registry's own domain and the stores of well-known registries (of ECR: *.amazonaws.com); this machine and its link only where listed here. On ECS and Kubernetes, registries that packages name, too",
    ),
  },
  awsRegion: optional("AWS_REGION", text("a region such as eu-west-1", /^[a-z0-9-]+$/), "Region of ECR, and with the ECS driver of ECS"),

  spawner: setting("BERTH_SPAWNER", flag(), false, "`berth serve` opens the spawner API too, by which others deploy on its engine"),
  spawnerApiKey: setting(
    ["X_API_KEY", "GROK_SPAWNER_X_API_KEY"],
    text(),
    "test-x-api-key",
    "Key that callers of the spawner API show in X-Api-Key. `berth serve` refuses the default beyond loopback",
    { secret: true },
  ),
  spawnerCoreMode: optional("GROK_SPAWNER_CORE_MODE", text(), "Taken as grok_spawner has it, and of no effect"),
  spawnerForceDockerTypeHost: setting(
    "GROK_SPAWNER_FORCE_DOCKER_TYPE_HOST",
    flag(),
    false,
    "With the driver `auto`: containers run on the Docker engine itself, whatever else is set, and where it manages a Swarm too",
  ),

  ecs: {
    datagrok: {
      ...ecsBlock("DATAGROK_ECS"),
      execRole: optional(
        spawnerNames("DATAGROK_ECS", "EXEC_ROLE"),
        text("an ARN"),
        "Role that tasks are started with: it pulls images and writes logs",
      ),
      logGroup: optional(spawnerNames("DATAGROK_ECS", "LOG_GROUP"), text("an ARN"), "Log group of all tasks; where unset, they have no logs"),
    },
    cvm: ecsBlock("CVM_ECS"),
    reach: setting(
      "BERTH_ECS_REACH",
      oneOf(...ECS_REACHES),
      "address",
      "How the gateway reaches a task: by its private address, or by the DNS name that the VPC gives that address",
    ),
  },

  kubernetes: {
    namespace: optional(
      "GROK_SPAWNER_KUBERNETES__NAMESPACE",
      text("a namespace", /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/),
      "Namespace of all that is created; where unset, that of the kubeconfig's context or of berth's own pod",
    ),
    dockerAuth: optional(
      "GROK_SPAWNER_KUBERNETES__DOCKER_AUTH",
      text(),
      "Credentials that images are pulled with: the name of a Secret of that namespace, or a Docker config.json (`auths`), plain or in base64",
      { secret: true },
    ),
    kubeconfig: optional(
      "GROK_SPAWNER_KUBERNETES__KUBECONFIG",
      text("a path"),
      "Path of a kubeconfig; where unset, berth runs in the cluster, with its pod's service account",
    ),
  },
} as const;

export type Settings = Values<typeof SETTINGS>;

/** The setting that names the settings file; it cannot stand in the file itself. */
export const SETTINGS_FILE_NAME = "BERTH_CONFIG";
export const SETTINGS_FILE = "berth.yaml";

/** One of the server's own settings: a variable of its own, or a part of the JSON in `GROK_PARAMETERS`. */
function parameter<T>(
  key: string,
  parse: Parameters<typeof setting<T>>[1],
  fallback: NoInfer<T>,
  says: string,
  extra: Parameters<typeof setting<T>>[4] = {},
): Row<T> {
  return setting(parameterName(key), parse, fallback, says, extra);
}

function ecsBlock(block: "DATAGROK_ECS" | "CVM_ECS") {
  const whose =
    block === "CVM_ECS"
      ? "Containers run here; what is unset here, the other block says."
      : "What a spawner deploys for this host runs here; where the other block names no cluster, all containers do.";
  return {
    cluster: optional(spawnerNames(block, "CLUSTER"), text(), `ECS cluster, by name or ARN. ${whose.slice(0, -1)}`),
    clusterRegion: optional(spawnerNames(block, "CLUSTER_REGION"), text("a region such as eu-west-1", /^[a-z0-9-]+$/), "Its region"),
    subnets: setting(spawnerNames(block, "SUBNETS"), list(text("a subnet's id")), [], "Subnets of its tasks"),
    securityGroups: setting(spawnerNames(block, "SECURITY_GROUPS"), list(text("a security group's id")), [], "Security groups of its tasks"),
    launchType: optional(
      spawnerNames(block, "LAUNCH_TYPE"),
      oneOf(...LAUNCH_TYPES),
      "How its tasks are launched; where unset, on EC2 if the cluster's instances have room, else on Fargate",
    ),
  };
}
