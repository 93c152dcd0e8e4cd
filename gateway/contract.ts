import type { FaultData } from "../lib/fault.ts";
import type { StartTimes } from "../lib/start-phases.ts";
import type { TrafficCounts, TrafficSource } from "../lib/traffic-counts.ts";
import type { CallerEdits } from "./caller-edits.ts";

/**
 * A host and port at which gateways reach a container. `h2c`: it speaks HTTP/2 there, without TLS and without HTTP/1.1. `replica`: the number of the replica
 * there, of a container with several. `owner`: the id under which the use of a further replica is reported.
 */
export type ContainerAddress = { host: string; port: number; h2c?: true; replica?: number; owner?: string };

/**
 * What a gateway may do with a container now. Control derives it from the container's state, so gateways need not know the states.
 */
export type Availability =
  /**
   * It accepts connections at each of these addresses, which belong to it alone: forward to one of them. Never empty. `worker`: it is a queue worker, which
   * may listen at none of them: a request waits for one that does.
   */
  | { kind: "awake"; addresses: readonly ContainerAddress[]; worker?: true }
  /** It runs but exposes no port: 400. */
  | { kind: "portless" }
  /**
   * It will be awake without another wake: hold. `step`: it waits for its image and its turn (`queue`), starts (`start`), or runs while control
   * verifies its address (`check`), which may belong to another container by now. `phase`: of a start that takes longer than a second; `pull`: of its image, in bytes, `total` 0 if
   * unknown. `note`: what prevents connections to it, for its users.
   */
  | { kind: "coming"; step?: "queue" | "start" | "check"; phase?: "boot"; pull?: { done: number; total: number }; note?: string }
  /** It sleeps: wake it, then hold. */
  | { kind: "asleep" }
  /** It is stopped, and only a user may start it: 400. */
  | { kind: "stopped"; fault: FaultData }
  /**
   * Its last start failed: respond with `fault`. If `wakeable`, a request wakes it again from `retryAt` on: epoch ms, at most `LONGEST_RETRY_MS` away by
   * control's clock.
   */
  | { kind: "failed"; fault: FaultData; wakeable: boolean; retryAt: number };

export type ContainerView = {
  id: string;
  name: string;
  availability: Availability;
  /** Durations of the last successful start. */
  start?: StartTimes;
  /** So many requests and WebSockets may be open at the container through each gateway; more wait. Absent: any number. */
  maxConcurrency?: number;
  /** The container is about to stop, and why: its WebSockets are closed with this reason. */
  stopReason?: string;
  /**
   * It has replicas: requests go to the one with the fewest open ones. `affinity`: a browser goes to the same one again, by a cookie. `stopping`: those that
   * are about to stop while others serve: their WebSockets are closed with this reason.
   */
  replicas?: { affinity?: "cookie"; stopping?: readonly { replica: number; reason: string }[] };
  /** Gateways accept TCP connections for it on this port: it speaks a protocol of its own, not HTTP. */
  tcp?: { port: number };
};

/** The use of one container by one gateway process. */
export type ContainerUse = {
  id: string;
  /** Open HTTP requests: while there is one, the container is in use. */
  open: number;
  /** Open exchanges that reached the container, WebSockets and TCP connections included: a graceful stop waits for them. Held ones do not count. */
  streams: number;
  /** When a byte last passed in either direction, epoch ms. */
  lastActive: number;
};

/** A use that a gateway counts. `reportDue`: it is in the next report; only the reports write it. `load`: of a container with replicas. */
export type CountedUse = ContainerUse & {
  readonly responses?: { readonly traffic: TrafficSource } | undefined;
  readonly load?: LoadSource | undefined;
  readonly replica?: true;
  reportDue?: boolean;
};

/** The average number of open requests and WebSockets, held and waiting ones included, over the last `ms`. */
export type ReportedLoad = { average: number; ms: number };

export type LoadSource = {
  /** Since the last call. */
  take(): ReportedLoad;
  /** For the next call: the report did not arrive. */
  putBack(load: ReportedLoad): void;
};

/** A use in a report, since the last report that arrived. `traffic` absent: no request has finished. `replica`: it is a part of its container's use. */
export type ReportedUse = ContainerUse & { traffic?: TrafficCounts; load?: ReportedLoad; replica?: true };

const EXCHANGE_KINDS = ["http", "websocket", "tcp"] as const;
const EXCHANGE_STATES = ["held", "streaming"] as const;

/** One open request, WebSocket or TCP connection of a container, for users. Never its path: the query may contain the caller's secrets. */
export type OpenExchange = {
  kind: (typeof EXCHANGE_KINDS)[number];
  /** Of the caller; of a TCP connection the client's address. */
  login: string;
  /** Epoch ms. */
  since: number;
  /** To the container, and from it. */
  bytesIn: number;
  bytesOut: number;
  /** `held`: it waits for the container. */
  state: (typeof EXCHANGE_STATES)[number];
};

/** The last requests of a container that each gateway keeps in memory. */
export const MOST_RECENT = 200;

/** A finished request, for users. `at`: its end, epoch ms. `path`: without the query, which may contain secrets; empty for a TCP connection. `status` 0: the client left. */
export type RecentRequest = { at: number; method: string; path: string; status: number; ms: number; login: string };

/** `count` counts all exchanges; `open` lists the oldest. */
export type OpenExchangeList = { count: number; open: OpenExchange[] };

/**
 * The first seam: containers, as a gateway needs them. Implementations: control's feed (`gateway/feed/open-feed.ts`), a Datagrok server
 * (`gateway/datagrok/`), and tests.
 */
export type Directory = {
  /** The container if the cache answers; undefined: unknown. */
  cached(id: string, caller: Caller): ContainerView | undefined;
  /** The same for an id within bytes; undefined also if it is not kept by its bytes. Absent: no id is. */
  cachedBytes?(bytes: Uint8Array, start: number, end: number): ContainerView | undefined;
  /** Counts the changes of what is cached: while it is the same, a cached view is current. Absent: look the view up again. */
  changes?(): number;
  /**
   * Undefined if there is no such container. Answers from the cache while control is unavailable.
   * Faults: CONTROL_AWAY, DATAGROK_AWAY if nothing is cached; NOT_PERMITTED if the caller may not see it.
   */
  find(id: string, caller: Caller, signal: AbortSignal): Promise<ContainerView | undefined>;
  /** Calls `onChange` with each new view of the container, undefined after its removal, until the returned function is called. */
  watch(id: string, onChange: (view: ContainerView | undefined) => void): () => void;
  /**
   * Requests a start; resolves when the request is durable or no longer needed. May be repeated, and has a time limit of its own. `watch` reports the
   * result. `traceparent`: the parent span of the start. Faults: CONTROL_AWAY, DATAGROK_AWAY; the cause if the container may not be woken; NOT_PERMITTED
   * and TOKEN_INVALID if this caller may not wake it.
   */
  wake(id: string, caller: Caller, signal: AbortSignal, traceparent?: string): Promise<void>;
  /**
   * What a start in progress does, or why nothing answers, for the response to a request that has waited for too long. Undefined if that is unknown. May
   * take a moment; never rejects for that reason.
   */
  startStatus(id: string, caller: Caller, signal: AbortSignal): Promise<StartStatus | undefined>;
  /** Reports the first connect after a start, and its duration. Best effort. */
  reportConnected(id: string, connectMs: number): void;
  /** Reports that a container was busy in a response, for so many seconds. Best effort. */
  reportBusy(id: string, seconds: number): void;
  /**
   * Reports the use of a container, in batches. `use` may be the same object each time, and may change after the call. `isAwake`: the container is known to
   * be awake, so no stop waits for this report.
   */
  reportUse(use: CountedUse, isAwake?: boolean): void;
  close(): Promise<void>;
};

/** The holder of a valid token. */
export type Caller = {
  /** The session token. Never logged. Empty: a TCP connection, whose protocol has an authentication of its own. */
  token: string;
  /** Empty for a TCP connection. */
  userId: string;
  login: string;
  admin: boolean;
  /**
   * The token that containers receive instead: it names the same user, has no administrator rights, and ends with the session. Undefined if a Datagrok
   * server manages the sessions: then containers receive the token itself.
   */
  derivedToken?: string;
  /** The session behind a start for this caller; only control reads it. */
  ref?: SessionRef;
  /** Of a caller that a gateway has cached. */
  readonly edits?: CallerEdits;
};

/**
 * The sessions and keys, by their digests, whose end also ends what they started: the session, and the developer key that opened it. `own`: the session
 * that was presented, if it is another one.
 */
export type SessionRef = { own?: string; session?: string; key?: string };

/** The second seam: callers. Results may be up to 10 s old, so a revoked session ends within 10 s. */
export type Identity = {
  /** The caller if the cache answers; undefined: unknown. */
  cached(token: string): Caller | undefined;
  /** The same for a token within bytes; undefined also if it is not kept by its bytes. Absent: no token is. */
  cachedBytes?(bytes: Uint8Array, start: number, end: number): Caller | undefined;
  /**
   * Undefined for an invalid token. `client`: the address of the client; clients take turns in look-ups. Faults: CONTROL_AWAY if control is unavailable
   * and nothing is cached; TOO_MANY_ATTEMPTS if this client has sent many wrong tokens.
   */
  find(token: string, signal: AbortSignal, client?: string): Promise<Caller | undefined>;
  /** Those of these tokens that are no longer valid. Looks up uncached ones in batches. A token that cannot be looked up keeps its last result. */
  findEnded(tokens: readonly string[]): Promise<readonly string[]>;
  /** Calls `listener` after a session was revoked, until the returned function is called. */
  watchSignOuts(listener: () => void): () => void;
  close(): Promise<void>;
};

/**
 * The feed from control to a gateway: HTTP on a private Unix socket, or from another machine at control's listener for gateways, where each request
 * carries a token (`GATEWAY_TOKEN_HEADER`).
 *
 * - `GET /feed` responds with one line of JSON (`FeedLine`) after another while the gateway runs: first `hello`, then every container in one or more
 *   `all` lines, then changes. A `beat` comes at least every `FEED_BEAT_MS`, so silence means that control is unavailable.
 * - `GET /feed?was=<name>&store=<id>&revision=<n>`: the same after a reconnect, with the gateway's previous name and the last revision of the store that
 *   it received.
 * - `GET /feed?only=leader`: `hello`, one `all` without containers, `revoked`, and beats, for a process that needs no containers.
 * - `POST /wake` `WakeRequest` → 204 when the request is durable.
 * - `POST /start-status` `StartStatusRequest` → 200 `StartStatus`; 204 for a container for which nothing waits.
 * - `POST /reached` `ReachedReport` → 204.
 * - `POST /busy` `BusyReport` → 204.
 * - `POST /open` `OpenExchangesReply` → 204; replies to an `ask` line.
 * - `POST /use` `UseReport` → 204.
 * - `POST /pushed` `PushedReport` → 204; from a registry proxy.
 * - `POST /push-right` `PushRightRequest` → 204, or why the user may not push; from a registry proxy.
 * - `POST /push-check` `PushCheckRequest` → 204, or why the push is refused; from a registry proxy.
 * - `POST /who` `CallersRequest` → 200 `CallersReply`.
 *
 * A refusal is a `FaultData` with the fault's status; a control process that does not lead refuses everything with a `StandbyReply`.
 */
export type FeedLine =
  /**
   * `gateway`: the name under which this gateway reports its use; every `reportMs` if present, even without a change, because a network may fail silently.
   * `store` and `revision` identify control's store. `epoch`: of the leader among several control processes; a later leader has a larger one. `version`: of
   * berth. `wire`: of this protocol; `hello` itself never changes.
   */
  | {
      kind: "hello";
      gateway: string;
      version?: string;
      wire?: number;
      reportMs?: number;
      store?: string | undefined;
      revision?: number | undefined;
      epoch?: number | undefined;
    }
  /** `seq`: the last change that it contains. `more`: another `all` follows, and only all of them together are complete. */
  | { kind: "all"; containers: WireView[]; seq?: number; more?: true }
  | { kind: "changed"; container: WireView; seq: number }
  | { kind: "removed"; id: string; seq: number }
  /** Requests this gateway's open exchanges of a container, its `recent` finished ones, or its own `load`: the reply is `POST /open`. */
  | { kind: "ask"; ask: number; id: string; recent?: true; load?: true }
  /** A session was revoked: every cached caller must be looked up again. */
  | { kind: "signedOut" }
  /** On the feed without containers, at its begin and after changes: all of these, instead of those of the line before. */
  | { kind: "revoked"; tokens: readonly RevokedTokens[] }
  /** `revision`: the current one. */
  | { kind: "beat"; revision?: number | undefined };

/** Docker tokens of this user, or of every user, that were issued at `until` (seconds of the epoch) or earlier: they count no longer. */
export type RevokedTokens = { login?: string; until: number };

/**
 * A view on the feed (`standing: Availability`). Gateways and control of berth 0.1 know a single `address`, and send `doubted: true` while it is being
 * verified. Both forms are sent while both use this wire version.
 */
type WireView = Omit<ContainerView, "availability"> & {
  standing:
    | Exclude<Availability, { kind: "awake" }>
    | { kind: "awake"; addresses?: readonly ContainerAddress[]; address?: ContainerAddress; doubted?: boolean; worker?: true };
};

export function viewOnWire({ availability, ...view }: ContainerView): WireView {
  if (availability.kind !== "awake") return { ...view, standing: availability };
  const [address] = availability.addresses;
  return { ...view, standing: { ...availability, ...(address === undefined ? {} : { address }) } };
}

export function viewOffWire({ standing: availability, ...view }: WireView): ContainerView {
  if (availability.kind !== "awake") return { ...view, availability };
  const { addresses, address, doubted: isSuspect, worker } = availability;
  const all = addresses ?? (address === undefined ? [] : [address]);
  if (isSuspect === true || all.length === 0) return { ...view, availability: { kind: "coming", step: "check" } };
  return { ...view, availability: { kind: "awake", addresses: all, ...(worker === true ? { worker } : {}) } };
}

/**
 * From a control process that does not lead: `code` is CONTROL_STANDBY. `leader`: the URL at which gateways reach the leader, if there is one. `problem`: why none
 * leads, if it is known.
 */
export type StandbyReply = FaultData & { leader?: string; problem?: string };

/** Incremented when gateways and control of different versions can no longer understand each other. */
export const WIRE_VERSION = 1;

/** The feed without containers, for a process that only follows the leader. Control before several control processes sends all of it. */
export const LEADER_FEED = "/feed?only=leader";

export const FEED_BEAT_MS = 2_000;
/** After this silence a gateway regards control as unavailable, and opens the feed again. */
export const FEED_SILENCE_MS = 3 * FEED_BEAT_MS;
/** Interval of the reports of a gateway on another machine. */
export const REPORT_MS = 2_000;
/** A start that failed is tried again after so long at the latest. */
export const LONGEST_RETRY_MS = 60_000;
/** After this silence control regards the contact with such a gateway as lost. */
export const GATEWAY_SILENCE_MS = 5 * REPORT_MS;
/**
 * A gateway without contact still serves what it has cached. For this long its open exchanges count, and no container is stopped for being idle; then it
 * counts as unused.
 */
export const LOST_GATEWAY_MS = 60_000;
/** The same after its connection was closed: usually its process has ended, and a living one reconnects within seconds. */
export const ENDED_GATEWAY_MS = 10_000;

/** What a start in progress does, and since when, and what to do: sentences for users. `logs`: the log tail of this start, the oldest line first. */
export type StartStatus = { text: string; logs?: string[] };
export type StartStatusRequest = { id: string };
/** The first request that waited for a start has connected. */
export type ReachedReport = { id: string; connectMs: number };
/** The container is busy for so many seconds. */
export type BusyReport = { id: string; seconds: number };
export type OpenExchangesReply = OpenExchangeList & { gateway: string; ask: number; recent?: RecentRequest[]; load?: GatewayLoad };
/** What a gateway process does at the moment. `cores`: processor time since its last report of this. */
export type GatewayLoad = {
  machine: string;
  pid: number;
  version: string;
  sockets: "ffi" | "node";
  upMs: number;
  openRequests: number;
  cores: number;
  memoryBytes: number;
};
/**
 * `userId`: absent for a TCP connection, which has no user. `ref`: the caller's session, as control sent it. `traceparent`: the span that waits for the
 * start, if recorded.
 */
export type WakeRequest = { id: string; userId?: string; ref?: SessionRef; traceparent?: string };
/**
 * All containers that this gateway uses, or used since its last report. `seq`: the last change that it received; every request from before that change is
 * counted, which makes a graceful stop safe. `last`: the gateway closes. `at`: when it was written, by the clock that `lastActive` is of, epoch ms: the clocks
 * of two machines differ. Reports of an older gateway have none.
 */
export type UseReport = { gateway: string; seq: number; at?: number; uses: ReportedUse[]; last?: boolean };
/** A manifest was pushed to the registry, or deleted. `repository`: `datagrok/x`; `reference`: a tag or a digest; `by`: the login of the token. */
export type PushedReport = { repository: string; reference: string; by?: string; deleted?: true };
/** A manifest is about to be pushed: a repository without an owner belongs to this user from then on. */
export type PushRightRequest = { repository: string; by: string };
/** A manifest is being pushed. `sizeBytes`: of its compressed layers; the rest as in `PushedReport`. */
export type PushCheckRequest = Pick<PushedReport, "repository" | "reference" | "by"> & { sizeBytes: number };
export type CallersRequest = { tokens: readonly string[] };
export type CallerReply = Omit<Caller, "token" | "edits">;
/** In the order of the tokens; null: not valid. */
export type CallersReply = { callers: (CallerReply | null)[] };

/** Response header of a container that is busy: for how many seconds. Clients do not receive it. */
export const BUSY_HEADER = "x-berth-busy";

// Request headers that only gateways set for the API; those of clients are removed.

/** The client's address. */
export const CLIENT_ADDRESS_HEADER = "x-berth-client";

/** The address of a peer that sets forwarding headers and is not a trusted proxy. */
export const UNTRUSTED_PROXY_HEADER = "x-berth-untrusted-proxy";

/** Marks a request that came through the console's listener, or under its host name. */
export const CONSOLE_HEADER = "x-berth-console";

/** Marks a request that the gateway sends to the next leader, if it may be repeated and its connection is lost before a response. */
export const FAILS_OVER_HEADER = "x-berth-fails-over";

/** The token of a gateway on another machine, after the word for its purpose: `feed`, or `api` for the request of a client. */
export const GATEWAY_TOKEN_HEADER = "x-berth-gateway";
/** In control's data folder: the tokens that it accepts, the newest first. */
export const GATEWAY_TOKEN_FILE = "gateways.token";

/** A manifest, or an index of several. Sizes are stored bytes. */
export type StoredManifest = {
  digest: string;
  mediaType: string;
  /** Its layers and configuration; of an index, everything that it lists. */
  size: number;
  /** When it was built, by its configuration; 1970 for reproducible builds. */
  createdOn: string | undefined;
  /** `linux/amd64`; undefined for an index. */
  platform: string | undefined;
  layers: { digest: string; size: number }[];
  /** The images of an index. */
  images: { digest: string; size: number; platform: string }[];
};

/**
 * The content of the registry behind the proxy, over the OCI distribution API.
 * Faults of each: PULL_DENIED, REGISTRY_UNREACHABLE, REGISTRY_TIMED_OUT, UPSTREAM_CREDENTIAL_FAILED.
 */
export type RegistryBrowser = {
  /** Names of repositories, at most ten thousand. */
  repositories(signal: AbortSignal): Promise<string[]>;
  /** Undefined if there is no such repository. */
  tags(repository: string, signal: AbortSignal): Promise<string[] | undefined>;
  /** The manifest of a tag or digest; undefined if there is none. */
  image(repository: string, reference: string, signal: AbortSignal): Promise<StoredManifest | undefined>;
  /** Deletes an image with all its tags; false if there is none. Faults: also REGISTRY_REFUSED, if the registry does not permit deletions. */
  remove(repository: string, digest: string, signal: AbortSignal): Promise<boolean>;
  close(): Promise<void>;
};
