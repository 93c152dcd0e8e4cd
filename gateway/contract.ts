import type { FaultData } from "../lib/fault.ts";
import type { StartTimes } from "../lib/start-phases.ts";

/** Where a container takes connections, as reachable from gateways. */
export type ContainerAddress = { host: string; port: number };

/**
 * What a gateway may do with a container right now. Control derives it from the container's state, so that the gateway
 * needs to know no state at all.
 */
export type Availability =
  /** It accepts connections at each of these addresses, which are its own and no other container's: forward to one of them. Never empty. */
  | { kind: "awake"; addresses: readonly ContainerAddress[] }
  /** It runs but exposes no port: 400. */
  | { kind: "portless" }
  /**
   * It will be awake without another wake: hold. `step`: it waits for its image and its turn, or starts, or it runs and its address is verified,
   * since it may be another container's by now.
   */
  | { kind: "coming"; step?: "queue" | "start" | "check" }
  /** It sleeps and a request wakes it: wake, then hold. */
  | { kind: "asleep" }
  /** It is stopped and only a user may start it: 400. */
  | { kind: "stopped"; fault: FaultData }
  /** Its last start failed: answer `fault`. From `retryAt` (epoch ms) on, where `wakeable`, a request tries again. */
  | { kind: "failed"; fault: FaultData; wakeable: boolean; retryAt: number };

export type ContainerView = {
  id: string;
  name: string;
  availability: Availability;
  /** Of the last start that succeeded. */
  start?: StartTimes;
};

/** What the open requests of one gateway process do to one container. */
export type ContainerUse = {
  id: string;
  /** HTTP requests under way through this gateway: while any is, the container is in use. */
  open: number;
  /** Exchanges that reached it and are open, WebSockets too: what a graceful stop waits for. Who is held is not among them. */
  streams: number;
  /** When bytes last went either way, epoch ms. */
  lastActive: number;
};

export const EXCHANGE_KINDS = ["http", "websocket"] as const;
export const EXCHANGE_STATES = ["held", "streaming"] as const;

/** One request or socket that a container has open, for people who ask. Never a path: what stands in its query is the caller's own. */
export type OpenExchange = {
  kind: (typeof EXCHANGE_KINDS)[number];
  /** Of the caller. */
  login: string;
  /** Epoch ms. */
  since: number;
  /** Towards the container, and from it. */
  bytesIn: number;
  bytesOut: number;
  /** Held while it waits for the container. */
  state: (typeof EXCHANGE_STATES)[number];
};

/** `count` is of all, of which `open` lists the oldest. */
export type OpenExchangeList = { count: number; open: OpenExchange[] };

/**
 * The first seam: what a gateway asks about containers. The everyday form is the control plane's feed over a socket
 * (`gateway/feed/open-feed.ts`); an existing Datagrok server may be asked instead (`gateway/datagrok/`); tests may hand in one that lives in the same process.
 */
export type Directory = {
  /** The container, where it is known without asking; undefined says nothing. */
  cached(id: string, caller: Caller): ContainerView | undefined;
  /**
   * Undefined where no such container exists. Answers from what the gateway knows, also while control is away.
   * Faults: CONTROL_AWAY, DATAGROK_AWAY where nothing was ever known; NOT_PERMITTED where the caller may not see it.
   */
  find(id: string, caller: Caller, signal: AbortSignal): Promise<ContainerView | undefined>;
  /** Calls `onChange` with each new view of the container, undefined once it is gone, until the returned function is called. */
  watch(id: string, onChange: (view: ContainerView | undefined) => void): () => void;
  /**
   * Wishes the container awake, as a part of that trace; resolves once the wish is durable, or has come true. May be repeated. The outcome arrives by `watch`. It has
   * a time limit of its own. Faults: CONTROL_AWAY, DATAGROK_AWAY, and the cause where the container may not be woken; NOT_PERMITTED and
   * TOKEN_INVALID where this caller may not wake it.
   */
  wake(id: string, caller: Caller, signal: AbortSignal, traceparent?: string): Promise<void>;
  /** The first request that waited for this start has reached the container; `connectMs`: how long the connect took. Nobody waits for it to be heard. */
  reportConnected(id: string, connectMs: number): void;
  /** A container has said in an answer that it is busy for so many seconds. Nobody waits for it to be heard. */
  reportBusy(id: string, seconds: number): void;
  /** Who is asked what this gateway has open at a container, whenever somebody wants to know. */
  setOpenExchanges(answer: (id: string) => OpenExchangeList): void;
  /** Says how the container is used; cheap, and reported in batches. Of one container always the same object may come, which changes on. */
  reportUse(use: ContainerUse): void;
  close(): Promise<void>;
};

/** Someone who holds a valid token. */
export type Caller = {
  /** The session token itself. Never logged. */
  token: string;
  userId: string;
  login: string;
  admin: boolean;
  /**
   * What a container is given in place of the token: it names the same user, without administration, and ends with the session. Undefined where a Datagrok
   * server knows the sessions: there the token itself goes on.
   */
  derivedToken?: string;
  /** What a start for this caller ends with; only control reads it. */
  ref?: SessionRef;
};

/**
 * With what it ends that somebody started: a session, and the developer key that opened it, by their digests. `own` is the session that was shown, where that
 * is another one.
 */
export type SessionRef = { own?: string; session?: string; key?: string };

/** The second seam: who holds this token. An answer may be up to 10 s old, so a revoked session ends within that. */
export type Identity = {
  /** Who holds it, where that is known without asking; undefined says nothing. */
  cached(token: string): Caller | undefined;
  /**
   * Undefined for a token that is not valid. `client` is the address of the client that shows it, by which look-ups are shared out. Faults: CONTROL_AWAY
   * where control is unavailable and nothing is cached; TOO_MANY_ATTEMPTS where that client has sent many wrong tokens.
   */
  find(token: string, signal: AbortSignal, client?: string): Promise<Caller | undefined>;
  /** Those of these tokens that are not valid any more; looked up many at once where that is not known. A token that cannot be looked up counts as before. */
  findEnded(tokens: readonly string[]): Promise<readonly string[]>;
  /** Calls `listener` after a session ended before its time, until the returned function is called. */
  watchSignOuts(listener: () => void): () => void;
  close(): Promise<void>;
};

/**
 * The feed between a gateway and control: HTTP, on a Unix socket that only the two can open, or from another machine at control's entrance for
 * gateways, where each request shows a token.
 *
 * - `GET /feed`, or `GET /feed?was=<name>&store=<id>&revision=<n>` of a gateway that had this name when it lost control, and had seen that
 *   revision of that store: one line of JSON (`FeedLine`) after another for as
 *   long as the gateway lives. First `hello`, then every container in one line `all` or several, then changes; `beat` at least every
 *   `FEED_BEAT_MS`, so that silence means that control is away.
 * - `POST /wake` `WakeAsk` → 204 once the wish is durable.
 * - `POST /reached` `ReachedReport` → 204.
 * - `POST /busy` `BusyReport` → 204.
 * - `POST /open` `OpenAnswer` → 204; to an `ask`.
 * - `POST /use` `UseReport` → 204.
 * - `POST /pushed` `PushedAsk` → 204; from a registry proxy.
 * - `POST /who` `WhoAsk` → 200 `WhoAnswers`.
 *
 * A refusal is a `FaultData` with the fault's status.
 */
export type FeedLine =
  /**
   * `gateway` is the name under which this gateway reports use; where `reportMs` is there, it does so that often even where there is nothing to
   * say, since a network may fail in silence. `store` and `revision` are those of control's store. `version` is berth's, `wire` that of this page: the one thing here that is for ever.
   */
  | { kind: "hello"; gateway: string; version?: string; wire?: number; reportMs?: number; store?: string | undefined; revision?: number | undefined }
  /** `seq` is the last change that is already in it. With `more`, another `all` follows at once, and only all of them together are every container. */
  | { kind: "all"; containers: WireView[]; seq?: number; more?: true }
  | { kind: "changed"; container: WireView; seq: number }
  | { kind: "removed"; id: string; seq: number }
  /** Somebody wants to know what this gateway has open at a container: it answers with `POST /open`. */
  | { kind: "ask"; ask: number; id: string }
  /** Some session ended before its time: whoever is remembered must be asked about again. */
  | { kind: "signedOut" }
  /** `revision` as in `hello`: what it is by now. */
  | { kind: "beat"; revision?: number | undefined };

/**
 * A view on the feed, which names the availability `standing`. Gateways and control of berth 0.1 know one address only, and send `doubted` for one that is
 * being checked: the first address stands beside the list for as long as both speak this version.
 */
export type WireView = Omit<ContainerView, "availability"> & {
  standing:
    | Exclude<Availability, { kind: "awake" }>
    | { kind: "awake"; addresses?: readonly ContainerAddress[]; address?: ContainerAddress; doubted?: boolean };
};

export function viewOnWire({ availability, ...view }: ContainerView): WireView {
  if (availability.kind !== "awake") return { ...view, standing: availability };
  const [address] = availability.addresses;
  return { ...view, standing: { ...availability, ...(address === undefined ? {} : { address }) } };
}

export function viewOffWire({ standing, ...view }: WireView): ContainerView {
  if (standing.kind !== "awake") return { ...view, availability: standing };
  const { addresses, address, doubted } = standing;
  const all = addresses ?? (address === undefined ? [] : [address]);
  if (doubted === true || all.length === 0) return { ...view, availability: { kind: "coming", step: "check" } };
  return { ...view, availability: { kind: "awake", addresses: all } };
}

/** Counts what gateways and control of different versions could not understand of each other. */
export const WIRE_VERSION = 1;

export const FEED_BEAT_MS = 2_000;
/** Silence after which a gateway takes control for gone and opens the feed anew. */
export const FEED_SILENCE_MS = 3 * FEED_BEAT_MS;
/** How often a gateway on another machine reports at least, and after which silence control takes contact with it for lost. */
export const REPORT_MS = 2_000;
export const GATEWAY_SILENCE_MS = 5 * REPORT_MS;
/**
 * A gateway that control has lost contact with goes on serving what it knows. So long after that, what it had open still counts, and no container is
 * put to sleep for being idle; then it counts as without requests.
 */
export const LOST_GATEWAY_MS = 60_000;
/** The same where its connection was ended: mostly with its process, and one that lives is back within a few seconds. */
export const ENDED_GATEWAY_MS = 10_000;

/** Who waited for a start has connected, which took so long. */
export type ReachedReport = { id: string; connectMs: number };
/** A container has said in an answer that it is busy for so many seconds. */
export type BusyReport = { id: string; seconds: number };
export type OpenExchangesReply = OpenExchangeList & { gateway: string; ask: number };
/** `ref`: with what the start ends, as control described the caller. `traceparent`: the span that waits for it, where that is recorded. */
export type WakeRequest = { id: string; userId: string; ref?: SessionRef; traceparent?: string };
/**
 * All containers that this gateway uses now or used since its last report. `seq` is the last change it has seen: control may
 * take every request of before that change as counted, which is what makes a graceful stop safe. `last`: it ends, and this was all.
 */
export type UseReport = { gateway: string; seq: number; uses: ContainerUse[]; last?: boolean };
/** An image whose manifest was pushed to the registry, or deleted there: `datagrok/x` and a tag or a digest; `by` is the login that the token named. */
export type PushedReport = { repository: string; reference: string; by?: string; deleted?: true };
export type CallersRequest = { tokens: readonly string[] };
export type CallerReply = Omit<Caller, "token">;
/** Of each token in turn who holds it; null: nobody. */
export type CallersReply = { callers: (CallerReply | null)[] };

/** The header of an answer in which a container says for how many seconds it is busy; its client does not see it. */
export const BUSY_HEADER = "x-berth-busy";

/** The header in which a gateway tells the API its client's own address; what anybody else writes into it does not reach the API. */
export const CLIENT_ADDRESS_HEADER = "x-berth-client";

/** The header in which a gateway sends the API the address of a peer that sets forwarding headers and is no trusted proxy. */
export const UNTRUSTED_PROXY_HEADER = "x-berth-untrusted-proxy";

/** The header of a request that came in at the console's own listener, or under its own host name; what anybody else writes into it does not reach the API. */
export const CONSOLE_HEADER = "x-berth-console";

/**
 * The header in which a gateway on another machine shows its token, behind the word that says what it asks: `feed`, or `api` for a request that a client
 * sent. A client's own never travels on, so nobody but a gateway gets to the feed.
 */
export const GATEWAY_TOKEN_HEADER = "x-berth-gateway";

/** A manifest, or an index of several, as far as people look at it. Sizes are bytes as they are stored. */
export type StoredManifest = {
  digest: string;
  mediaType: string;
  /** Its layers and configuration; of an index, all that it lists. */
  size: number;
  /** When it was built, as its configuration says; reproducible builds say 1970. */
  createdOn: string | undefined;
  /** `linux/amd64`; of an index undefined. */
  platform: string | undefined;
  layers: { digest: string; size: number }[];
  /** Of an index: the images in it. */
  images: { digest: string; size: number; platform: string }[];
};

/**
 * What lies in the registry behind, asked by the API that every registry has (OCI Distribution Specification).
 * Faults of each: PULL_DENIED, REGISTRY_UNREACHABLE, REGISTRY_TIMED_OUT, UPSTREAM_CREDENTIAL_FAILED.
 */
export type RegistryBrowser = {
  /** Names of repositories, at most ten thousand. */
  repositories(signal: AbortSignal): Promise<string[]>;
  /** Undefined where there is no such repository. */
  tags(repository: string, signal: AbortSignal): Promise<string[] | undefined>;
  /** What a tag or digest points at; undefined where it is not there. */
  image(repository: string, reference: string, signal: AbortSignal): Promise<StoredManifest | undefined>;
  /** Deletes an image with all its tags; false where it is not there. Faults: REGISTRY_REFUSED too, where the registry deletes nothing. */
  remove(repository: string, digest: string, signal: AbortSignal): Promise<boolean>;
  close(): Promise<void>;
};
