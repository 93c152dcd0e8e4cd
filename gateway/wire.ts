import type { ContainerAddress, ContainerView, OpenNow, Standing, Use } from "./directory.ts";
import type { Caller, SessionRef } from "./identity.ts";

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
 * A view as it travels. Gateways and control of berth 0.1 know one address alone, and say `doubted` of one that is being checked: the first stands beside
 * the list for as long as both speak this wire.
 */
export type WireView = Omit<ContainerView, "standing"> & {
  standing:
    | Exclude<Standing, { kind: "awake" }>
    | { kind: "awake"; addresses?: readonly ContainerAddress[]; address?: ContainerAddress; doubted?: boolean };
};

export function viewOnWire(view: ContainerView): WireView {
  const { standing } = view;
  if (standing.kind !== "awake") return { ...view, standing };
  const [address] = standing.addresses;
  return { ...view, standing: { ...standing, ...(address === undefined ? {} : { address }) } };
}

export function viewOffWire(view: WireView): ContainerView {
  const { standing } = view;
  if (standing.kind !== "awake") return { ...view, standing };
  const { addresses, address, doubted } = standing;
  const all = addresses ?? (address === undefined ? [] : [address]);
  if (doubted === true || all.length === 0) return { ...view, standing: { kind: "coming", step: "check" } };
  return { ...view, standing: { kind: "awake", addresses: all } };
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
export type OpenAnswer = OpenNow & { gateway: string; ask: number };
/** `ref`: with what the start ends, as control described the caller. `traceparent`: the span that waits for it, where that is recorded. */
export type WakeAsk = { id: string; userId: string; ref?: SessionRef; traceparent?: string };
/**
 * All containers that this gateway uses now or used since its last report. `seq` is the last change it has seen: control may
 * take every request of before that change as counted, which is what makes a graceful stop safe. `last`: it ends, and this was all.
 */
export type UseReport = { gateway: string; seq: number; uses: Use[]; last?: boolean };
/** An image whose manifest was pushed to the registry, or deleted there: `datagrok/x` and a tag or a digest; `by` is the login that the token named. */
export type PushedAsk = { repository: string; reference: string; by?: string; deleted?: true };
export type WhoAsk = { tokens: readonly string[] };
export type WhoAnswer = Omit<Caller, "token">;
/** Of each token in turn who holds it; null: nobody. */
export type WhoAnswers = { callers: (WhoAnswer | null)[] };

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
