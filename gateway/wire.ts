import type { FaultData } from "../fault.ts";
import type { ContainerView, OpenNow, Use } from "./directory.ts";
import type { Caller } from "./identity.ts";

/**
 * The feed between a gateway and control, HTTP on a Unix socket that only the two can open.
 *
 * - `GET /feed`: one line of JSON (`FeedLine`) after another for as long as the gateway lives. First `hello`, then `all`
 *   (every container), then changes; `beat` at least every `FEED_BEAT_MS`, so that silence means that control is away.
 * - `POST /wake` `WakeAsk` → 204 once the wish is durable.
 * - `POST /reached` `ReachedReport` → 204.
 * - `POST /open` `OpenAnswer` → 204; to an `ask`.
 * - `POST /use` `UseReport` → 204.
 * - `POST /pushed` `PushedAsk` → 204; from a registry proxy.
 * - `POST /who` `WhoAsk` → 200 `WhoAnswers`.
 *
 * A refusal is a `FaultData` with the fault's status.
 */
export type FeedLine =
  /** `gateway` is the name under which this gateway reports use. */
  | { kind: "hello"; gateway: string }
  /** `seq` is the last change that is already in it. */
  | { kind: "all"; containers: ContainerView[]; seq?: number }
  | { kind: "changed"; container: ContainerView; seq: number }
  | { kind: "removed"; id: string; seq: number }
  /** Somebody wants to know what this gateway has open at a container: it answers with `POST /open`. */
  | { kind: "ask"; ask: number; id: string }
  /** Some session ended before its time: whoever is remembered must be asked about again. */
  | { kind: "signedOut" }
  | { kind: "beat" };

export const FEED_BEAT_MS = 2_000;
/** Silence after which a gateway takes control for gone and opens the feed anew. */
export const FEED_SILENCE_MS = 3 * FEED_BEAT_MS;

/** Who waited for a start has connected, which took so long. */
export type ReachedReport = { id: string; connectMs: number };
export type OpenAnswer = OpenNow & { gateway: string; ask: number };
export type WakeAsk = { id: string; userId: string };
/**
 * All containers that this gateway uses now or used since its last report. `seq` is the last change it has seen: control may
 * take every request of before that change as counted, which is what makes a graceful stop safe.
 */
export type UseReport = { gateway: string; seq: number; uses: Use[] };
/** An image whose manifest was pushed to the registry: `datagrok/x` and a tag or a digest. */
export type PushedAsk = { repository: string; reference: string };
export type WhoAsk = { tokens: readonly string[] };
export type WhoAnswer = Omit<Caller, "token">;
/** Of each token in turn who holds it; null: nobody. */
export type WhoAnswers = { callers: (WhoAnswer | null)[] };
export type FeedRefusal = FaultData;

/** The header in which a gateway tells the API its client's own address; what anybody else writes into it does not reach the API. */
export const CLIENT_ADDRESS_HEADER = "x-berth-client";
