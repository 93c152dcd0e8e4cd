/** `sum`, `max`, `min`: how the values of a gauge in several processes become one number. */
type Kind = "counter" | "gauge" | "histogram";

/** One metric: its name, its labels, and its description: one sentence without its full stop. */
export type MetricRow<Type extends Kind = Kind, Labels extends readonly string[] = readonly string[]> = {
  name: string;
  type: Type;
  labels: Labels;
  says: string;
  /** Upper bounds of a histogram, in its unit. */
  bounds?: readonly number[];
  across?: "sum" | "max" | "min";
};

/** From a cached response to one of a slow container. */
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
/** From an existing image to a pulled one. */
const LONG_SECONDS = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900];
/** From a commit that stays in memory to one that waits for a slow disk. */
const SHORT_SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1];

function counter<const L extends readonly string[]>(name: string, labels: L, says: string): MetricRow<"counter", L> {
  return { name, type: "counter", labels, says };
}

function gauge<const L extends readonly string[]>(
  name: string,
  labels: L,
  says: string,
  across: NonNullable<MetricRow["across"]> = "sum",
): MetricRow<"gauge", L> {
  return { name, type: "gauge", labels, says, across };
}

function histogram<const L extends readonly string[]>(name: string, labels: L, says: string, bounds: readonly number[]): MetricRow<"histogram", L> {
  return { name, type: "histogram", labels, says, bounds };
}

/**
 * Every metric of berth: the code counts by these keys, docs/reference/metrics.md is written from them, and a dashboard may name no other. No label has a value
 * that callers choose: a route is one of a few, a status its first digit, a fault one of fault.ts, and an installation has at most some thousand
 * container names.
 */
export const METRICS = {
  // The edge and the registry proxy
  requests: counter(
    "berth_requests_total",
    ["route", "status"],
    "Finished exchanges, by the class of the status that the client got; `left`: the client left before any response",
  ),
  containerRequests: counter("berth_container_requests_total", ["container", "status"], "The same, by container name"),
  requestSeconds: histogram(
    "berth_request_seconds",
    ["route"],
    "From the head of a request to the last byte of its response; for a WebSocket or TCP connection, how long it was open",
    SECONDS,
  ),
  firstByteSeconds: histogram(
    "berth_first_byte_seconds",
    ["route"],
    "From the head of a request to the head of the container's response, the hold included",
    SECONDS,
  ),
  bytes: counter("berth_bytes_total", ["route", "direction"], "Forwarded bytes, heads included; `in` is from the client"),
  broken: counter("berth_broken_answers_total", ["route"], "Responses that began and did not arrive completely"),
  faults: counter("berth_faults_total", ["route", "code"], "Faults that berth answered, by code"),
  authFailures: counter(
    "berth_auth_failures_total",
    ["where", "code"],
    "Refused credentials and rights: 401, 403 and 429; `where` is a route, or `control` for the API itself",
  ),
  webSockets: gauge("berth_websockets_open", ["route"], "Open WebSockets"),
  refusedConnections: counter(
    "berth_client_connections_refused_total",
    ["why"],
    "Client connections that were closed at once: `address`: too many of one address are open; `container`: too many TCP connections of one container; `total`: too many in all",
  ),
  connections: gauge(
    "berth_client_connections_open",
    [],
    "Open client connections, without WebSockets and TCP connections; over HTTP/2, each open request counts",
  ),
  http2Sessions: gauge("berth_http2_connections_open", [], "Open HTTP/2 connections of clients"),
  http2Streams: counter("berth_http2_streams_total", [], "Requests that came over HTTP/2, WebSockets included"),
  http2Broken: counter(
    "berth_http2_connections_broken_total",
    ["why"],
    "HTTP/2 connections that berth ended: `flood`: too many resets or control frames; `protocol`: frames that HTTP/2 forbids",
  ),
  tcpConnections: gauge("berth_tcp_connections_open", [], "Open connections of TCP listeners, waiting ones included"),
  held: gauge("berth_held_requests", [], "Requests that wait for a container"),
  holds: counter(
    "berth_holds_total",
    ["outcome"],
    "Requests that waited for a container, by outcome: `awake`, `left`, or a fault's code such as HOLD_FULL",
  ),
  holdSeconds: histogram("berth_hold_seconds", [], "Wait of the requests that reached their container", LONG_SECONDS),
  placeWaits: counter(
    "berth_concurrency_waits_total",
    ["outcome"],
    "Requests that waited because their container had `max_concurrency` requests open, by outcome: `entered`, `left`, or `CONTAINER_BUSY`",
  ),
  placeWaitSeconds: histogram("berth_concurrency_wait_seconds", [], "Wait of those that entered", LONG_SECONDS),
  connects: counter(
    "berth_upstream_connects_total",
    ["outcome"],
    "Connections to containers and servers behind: `made`, `refused` in any way, or `noDescriptor`: no free descriptor",
  ),
  retries: counter("berth_upstream_retries_total", [], "Retried connects, at a better address if there was one"),
  pooled: gauge("berth_upstream_idle_connections", [], "Idle connections to containers, kept for the next request"),
  accessLogDropped: counter("berth_access_log_dropped_total", [], "Dropped lines of the access log, because the reader was too slow"),

  // A gateway's view of control
  feedConnected: gauge("berth_feed_connected", [], "Gateway processes that are connected to control"),
  feedSilentSeconds: gauge(
    "berth_feed_silent_seconds",
    [],
    "Seconds since control's last message, of the gateway where that is longest; control sends one every second",
    "max",
  ),
  feedSeq: gauge(
    "berth_feed_seq",
    [],
    "Number of the last change at the gateway that is furthest behind; compare with berth_control_seq for the lag",
    "min",
  ),
  controlSeq: gauge("berth_control_seq", [], "Number of the last change that control made", "max"),
  leading: gauge("berth_control_leading", [], "1 for the control process that leads, 0 for a standby; absent with a single control process", "sum"),
  lateStarts: counter(
    "berth_late_starts_total",
    [],
    "Containers that an earlier leader started after this one had taken over; they are stopped again",
  ),
  leaderEpoch: gauge("berth_control_epoch", [], "Epoch of the leader, which grows with each change of it; 0 at a standby", "max"),
  gateways: gauge("berth_control_gateways", [], "Gateways that follow control's feed"),

  // Containers and images
  wakes: counter(
    "berth_wakes_total",
    ["container", "outcome"],
    "Starts of containers, by outcome: `started`, `stopped` if a user cancelled it, or the code of the fault",
  ),
  wakePhaseSeconds: histogram(
    "berth_wake_phase_seconds",
    ["phase"],
    "Phases of successful starts: `queue`, `dependencies`, `pull`, `create`, `boot`; and `connect`, the first connect of a held request",
    LONG_SECONDS,
  ),
  wakeSeconds: histogram("berth_wake_seconds", [], "From the request of a start to a ready container", LONG_SECONDS),
  replicas: gauge("berth_replicas", ["container", "kind"], "Replicas of containers with `replicas`: `ready` serve, `wanted` are to run"),
  capacityRefusals: counter(
    "berth_capacity_refusals_total",
    ["limit"],
    "Starts that a limit of capacity refused: that of a `user`, or of the whole `server`",
  ),
  capacityStops: counter("berth_capacity_stops_total", [], "Idle containers that were stopped to make place for another"),
  containers: gauge("berth_containers", ["state"], "Containers by state"),
  images: gauge("berth_images", ["state"], "Images by state"),
  moves: counter("berth_container_moves_total", ["to"], "Changes of containers into a state"),
  reconcileSeconds: histogram("berth_reconcile_seconds", ["outcome"], "One pass over all running containers: `done` or `failed`", SECONDS),
  queueDepth: gauge("berth_work_queue_depth", [], "Containers and images in the work queue"),
  queueRunning: gauge("berth_work_queue_running", [], "Containers and images that are being worked on"),
  driverSeconds: histogram(
    "berth_driver_call_seconds",
    ["verb", "outcome"],
    "Calls to the orchestrator: `done`, `aborted`, or a fault's code",
    LONG_SECONDS,
  ),

  // The store
  commitSeconds: histogram("berth_store_commit_seconds", [], "Writes to the store, until they are on disk", SHORT_SECONDS),
  storeRollbacks: counter(
    "berth_store_rollbacks_total",
    [],
    "Gateways with later changes than control's store: its log was cut, or an old backup was restored",
  ),
  storeBytes: gauge("berth_store_bytes", ["part"], "Size of the store's files: `database`, and `log` for the write-ahead log"),
  audited: counter("berth_audited_total", ["action"], "Entries of the audit log"),

  // Webhooks
  webhookAttempts: counter("berth_webhook_attempts_total", ["outcome"], "Events sent to webhooks: `delivered`, or `failed`, which is tried again"),
  webhookDropped: counter(
    "berth_webhook_dropped_total",
    [],
    "Events that a webhook did not get, because its queue was full, its receiver gone, or the webhook paused for a day",
  ),
  webhookQueue: gauge("berth_webhook_queue", ["webhook"], "Events that wait for a webhook, by its id"),
  webhookOldestSeconds: gauge("berth_webhook_oldest_seconds", ["webhook"], "How long the oldest event of a webhook waits"),

  // The registry
  pushes: counter("berth_registry_pushes_total", ["outcome"], "Manifests sent to the registry, by the class of the response's status"),
  pulls: counter("berth_registry_pulls_total", ["outcome"], "Manifests requested from it, in the same way"),
  imageRefusals: counter(
    "berth_image_refusals_total",
    ["why"],
    "Refusals by the rules for images, at publish, validation and start: `name`, `signature`, `size`, `age`, `quota`, or `unchecked`: a rule could not be checked",
  ),
  tokenRefreshes: counter("berth_upstream_token_refreshes_total", ["outcome"], "Credentials fetched for the backing registry: `done` or `failed`"),
  cacheRequests: counter(
    "berth_registry_cache_requests_total",
    ["upstream", "result"],
    "Manifests, layers and lists of tags requested from the registry cache: `hit`: from the cache; `miss`: from the upstream; `stale`: a tag that could not be checked; `failed`",
  ),
  cacheUpstreamRequests: counter(
    "berth_registry_cache_upstream_requests_total",
    ["upstream", "status"],
    "Requests of the registry cache to its upstreams, by the class of the status; `429` alone; `failed`: no response",
  ),
  cacheBytes: gauge("berth_registry_cache_bytes", [], "Size of the registry cache's content", "max"),
  cachePullLimit: gauge("berth_registry_cache_pull_limit", ["upstream"], "Pulls that the upstream allows in its window, as it last reported", "max"),
  cachePullsRemaining: gauge("berth_registry_cache_pulls_remaining", ["upstream"], "Pulls that remain of them", "min"),

  // The program
  build: gauge("berth_build_info", ["version", "commit", "node"], "1; the labels have the version", "max"),
  sockets: gauge("berth_sockets_info", ["kind"], "1; the label has how gateways read and write sockets without TLS: `node` or `ffi`", "max"),
  processes: gauge("berth_processes", ["process"], "Processes of this berth that answered this scrape"),
  eventLoopDelay: gauge(
    "berth_event_loop_delay_seconds",
    ["process", "part"],
    "Delay of a process's event loop since the last scrape: `p50`, `p99`, `max`; of several gateways that of the slowest",
    "max",
  ),
  restarts: counter("berth_process_restarts_total", ["process"], "Processes that died and were restarted"),
  hangs: counter("berth_process_hangs_total", ["process"], "Processes that did not answer their parent, and were killed and restarted"),
} as const satisfies Record<string, MetricRow>;
