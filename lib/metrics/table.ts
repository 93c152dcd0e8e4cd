/** What is counted, measured or looked at. `sum`, `max`, `min`: how what several processes say of a gauge becomes one number. */
type Kind = "counter" | "gauge" | "histogram";

/** One metric: its name, the names of its labels, and for people what it says. One sentence without its full stop. */
export type MetricRow<Type extends Kind = Kind, Labels extends readonly string[] = readonly string[]> = {
  name: string;
  type: Type;
  labels: Labels;
  says: string;
  /** Upper bounds of a histogram, in its unit. */
  bounds?: readonly number[];
  across?: "sum" | "max" | "min";
};

/** From a cache's answer to a slow container's. */
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
/** From an image that is there to one that is pulled. */
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
 * Every metric of berth's own, once: the code counts by these keys, docs/reference/metrics.md is written from them, and a dashboard may name no other. No label
 * holds what callers make up: a route is one of a few, a status its first digit, a fault one of fault.ts, and of containers' names
 * there are as many as a stand has, and no more than some thousand.
 */
export const METRICS = {
  // The edge and the registry proxy
  requests: counter(
    "berth_requests_total",
    ["route", "status"],
    "Exchanges that are over, by the class of the status that the client saw; `left`: the client was gone before any answer",
  ),
  containerRequests: counter("berth_container_requests_total", ["container", "status"], "The same, by the container's name"),
  requestSeconds: histogram(
    "berth_request_seconds",
    ["route"],
    "From the head of a request to the last byte of its answer; of a WebSocket, how long it was open",
    SECONDS,
  ),
  firstByteSeconds: histogram(
    "berth_first_byte_seconds",
    ["route"],
    "From the head of a request to the head of the container's answer, the hold included",
    SECONDS,
  ),
  bytes: counter("berth_bytes_total", ["route", "direction"], "Bytes that passed, heads included; `in` is from the client"),
  broken: counter("berth_broken_answers_total", ["route"], "Answers that had begun and did not come as a whole"),
  faults: counter("berth_faults_total", ["route", "code"], "Answers that berth gave itself since something went wrong, by the code of fault.ts"),
  authFailures: counter(
    "berth_auth_failures_total",
    ["where", "code"],
    "Credentials and rights that were refused: 401, 403 and 429; `where` is a route, or `control` for the API itself",
  ),
  webSockets: gauge("berth_websockets_open", ["route"], "WebSockets that are open"),
  refusedConnections: counter(
    "berth_client_connections_refused_total",
    ["why"],
    "Connections of clients that were closed at once: `address`: too many of one address are open; `total`: too many in all",
  ),
  connections: gauge("berth_client_connections_open", [], "Connections of clients that are open, WebSockets apart"),
  held: gauge("berth_held_requests", [], "Requests that wait for a container"),
  holds: counter(
    "berth_holds_total",
    ["outcome"],
    "Requests that had to wait for a container, by how that ended: `awake`, `left`, or a fault's code such as HOLD_FULL",
  ),
  holdSeconds: histogram("berth_hold_seconds", [], "How long those waited that got to their container", LONG_SECONDS),
  connects: counter(
    "berth_upstream_connects_total",
    ["outcome"],
    "Connections to containers and servers behind: `made`, `refused` in any way, or `noDescriptor` left for one",
  ),
  retries: counter("berth_upstream_retries_total", [], "Connects that were tried again, at a better address where there was one"),
  pooled: gauge("berth_upstream_idle_connections", [], "Connections to containers that are kept for the next request"),
  accessLogDropped: counter("berth_access_log_dropped_total", [], "Lines of the access log that were dropped, since what takes them was too slow"),

  // A gateway's view of control
  feedConnected: gauge("berth_feed_connected", [], "Gateway processes that hear control at the moment"),
  feedSilentSeconds: gauge(
    "berth_feed_silent_seconds",
    [],
    "Since when the gateway that heard of control longest ago has not heard anything; control says something every second",
    "max",
  ),
  feedSeq: gauge(
    "berth_feed_seq",
    [],
    "Number of the last change that the gateway has seen which is furthest behind; beside berth_control_seq it is the lag",
    "min",
  ),
  controlSeq: gauge("berth_control_seq", [], "Number of the last change that control made", "max"),
  gateways: gauge("berth_control_gateways", [], "Gateways that listen to control's feed"),

  // Containers and images
  wakes: counter(
    "berth_wakes_total",
    ["container", "outcome"],
    "Starts of containers, by how they ended: `started`, `stopped` where somebody called them off, or the code of the fault",
  ),
  wakePhaseSeconds: histogram(
    "berth_wake_phase_seconds",
    ["phase"],
    "Parts of the starts that succeeded: `queue`, `pull`, `create`, `boot`; and `connect`, the first connect of a request that was held",
    LONG_SECONDS,
  ),
  wakeSeconds: histogram("berth_wake_seconds", [], "From the wish to a container that answers", LONG_SECONDS),
  containers: gauge("berth_containers", ["state"], "Containers by state"),
  images: gauge("berth_images", ["state"], "Images by state"),
  moves: counter("berth_container_moves_total", ["to"], "Moves of containers into a state"),
  reconcileSeconds: histogram("berth_reconcile_seconds", ["outcome"], "One look at all that runs: `done` or `failed`", SECONDS),
  queueDepth: gauge("berth_work_queue_depth", [], "Containers and images that wait to be looked at"),
  queueRunning: gauge("berth_work_queue_running", [], "Those that are looked at now"),
  driverSeconds: histogram(
    "berth_driver_call_seconds",
    ["verb", "outcome"],
    "Calls to what runs containers: `done`, `aborted`, or a fault's code",
    LONG_SECONDS,
  ),

  // The store
  commitSeconds: histogram("berth_store_commit_seconds", [], "Writes to the store, until they are on the disk", SHORT_SECONDS),
  storeRollbacks: counter(
    "berth_store_rollbacks_total",
    [],
    "Gateways that had seen later changes than control's store has: its log was cut, or an old backup restored",
  ),
  storeBytes: gauge("berth_store_bytes", ["part"], "Size of the store's files: `database`, and `log` for what is written ahead"),
  audited: counter("berth_audited_total", ["action"], "Entries of the audit log"),

  // The registry
  pushes: counter("berth_registry_pushes_total", ["outcome"], "Manifests that were sent to the registry, by the class of the answer's status"),
  pulls: counter("berth_registry_pulls_total", ["outcome"], "Manifests that were asked of it, in the same way"),
  tokenRefreshes: counter(
    "berth_upstream_token_refreshes_total",
    ["outcome"],
    "Credentials that were fetched for the registry behind: `done` or `failed`",
  ),

  // The program
  build: gauge("berth_build_info", ["version", "commit", "node"], "1; what runs is in the labels", "max"),
  processes: gauge("berth_processes", ["process"], "Processes of this berth that answered this scrape"),
  eventLoopDelay: gauge(
    "berth_event_loop_delay_seconds",
    ["process", "part"],
    "How late a process came to work that was due, since the last scrape: `p50`, `p99`, `max`; of several gateways that of the slowest",
    "max",
  ),
  restarts: counter("berth_process_restarts_total", ["process"], "Processes that died and were started again"),
  hangs: counter("berth_process_hangs_total", ["process"], "Processes that did not answer their parent, and were killed and started again"),
} as const satisfies Record<string, MetricRow>;
