import { randomUUID } from "node:crypto";
import type { ServerResponse } from "node:http";
import {
  type CallerReply,
  ENDED_GATEWAY_MS,
  FEED_BEAT_MS,
  type FeedLine,
  type GatewayLoad,
  GATEWAY_SILENCE_MS,
  LOST_GATEWAY_MS,
  MOST_RECENT,
  type OpenExchangesReply,
  type PushCheckRequest,
  type RecentRequest,
  type RevokedTokens,
  REPORT_MS,
  type ReportedUse,
  viewOnWire,
  WIRE_VERSION,
} from "../../gateway/contract.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import type { Lifecycle } from "../lifecycle/open-lifecycle.ts";
import type { AuditLog } from "../store/audit.ts";
import type { Store } from "../store/open-store.ts";
import type { ContainerPages } from "./container-pages.ts";

export type FeedDeps = {
  socketPath: string;
  lifecycle: Pick<
    Lifecycle,
    "viewOf" | "watch" | "seq" | "wake" | "startStatus" | "setBusy" | "recordUse" | "gatewayJoined" | "gatewayLeft" | "imagePushed"
  >;
  store: Pick<Store, "containers" | "wakes" | "sessions" | "repositories" | "packages" | "groups" | "users" | "webhooks" | "transaction"> &
    Partial<Pick<Store, "id" | "revision">>;
  /** Called if a gateway has seen a later revision of this store: acknowledged changes are lost. */
  storeWentBack?: (revisions: { seen: number; found: number }) => void;
  /** Calls the listener after sessions ended early, until the returned function is called. */
  watchSignOuts(listener: () => void): () => void;
  /** Undefined: the registry takes every image. Faults: those of the refusal. */
  checkPush?: ((push: PushCheckRequest, signal: AbortSignal) => Promise<void>) | undefined;
  /** Docker tokens that count no longer. */
  revokedTokens?: (() => Promise<RevokedTokens[]>) | undefined;
  /** The holder of a token; undefined: it is not valid. */
  who(token: string): Promise<CallerReply | undefined>;
  /** Of this program. */
  version: string;
  /** Among several control processes. `check` throws when this one leads no longer. */
  leader?: { epoch: number; check(): void } | undefined;
  metrics?: Pick<Metrics, "gateways">;
  /** Records pushes and deletions of images. */
  audit?: AuditLog;
  /** Called with the uses of each report. */
  countTraffic?: (uses: readonly ReportedUse[]) => void;
  /** Called with the trace of a wake before the request for the start. */
  traceWake?: ((id: string, traceparent: string) => void) | undefined;
  clock: Clock;
  log: Log;
};

/** A gateway with a larger backlog is disconnected. It reconnects and receives everything again. */
const LONGEST_BACKLOG = 8 * 1_048_576;

/**
 * After a sign-out, gateways look every caller up again. Users sign in and out as often as they like, so sign-outs within this time make one event: otherwise one
 * user could make every request of all users cost a look-up at control.
 */
export const SIGN_OUTS_MS = 500;

/** The open feeds, by the names of their gateways. */
export type OpenFeeds = Map<string, { reported(last: boolean): void; end(): void }>;

/**
 * The feed of one gateway while it is connected. A gateway on another machine that disconnects or is silent may still forward requests, so its open requests
 * count for a while, or until it reconnects.
 */
export async function streamChanges(
  deps: FeedDeps,
  { feeds, gateways, pages }: { feeds: OpenFeeds; gateways: GatewayQueries; pages: ContainerPages },
  response: ServerResponse,
  { from, query }: { from: "here" | "elsewhere"; query: URLSearchParams },
): Promise<void> {
  const { lifecycle, store, watchSignOuts, version, leader, clock, log } = deps;
  const isElsewhere = from === "elsewhere";
  const was = query.get("was");
  const gateway = randomUUID();
  /** How long the gateway may forward requests after this feed ends. */
  let lostMs = isElsewhere ? ENDED_GATEWAY_MS : 0;
  let cancelSilence = () => {};
  const listen = () => {
    cancelSilence();
    if (!isElsewhere) return;
    cancelSilence = clock.after(GATEWAY_SILENCE_MS, () => {
      lostMs = LOST_GATEWAY_MS;
      log.warn({ gateway, lostMs }, "gateway silent");
      response.destroy();
    });
  };
  let cancelBeat = () => {};
  let allowed = LONGEST_BACKLOG;
  const write = (line: string | Buffer, whenGone?: () => void) => {
    if (response.destroyed || !isLeading(leader)) return void response.destroy();
    response.write(line, whenGone);
    if (response.writableLength > allowed) {
      log.warn({ gateway, backlog: response.writableLength }, "gateway reads too slowly, disconnected");
      response.destroy();
    }
  };
  const send = (line: FeedLine) => write(`${JSON.stringify(line)}\n`);
  const beat = async () => {
    // A store that cannot be read ends no feed.
    const revision = await store.revision?.().catch(() => undefined);
    if (response.destroyed) return;
    send({ kind: "beat", revision });
    cancelBeat = clock.after(FEED_BEAT_MS / 2, () => void beat());
  };
  const revision = await store.revision?.();
  if (response.destroyed) return;
  // From here to `watch` in one turn, so that no change falls in between.
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  send({
    kind: "hello",
    gateway,
    version,
    wire: WIRE_VERSION,
    store: store.id,
    revision,
    ...(leader === undefined ? {} : { epoch: leader.epoch }),
    ...(isElsewhere ? { reportMs: REPORT_MS } : {}),
  });
  compareRevision(deps, query, revision);
  if (was !== null) feeds.get(was)?.end();
  const joinedAt = lifecycle.seq();
  // Until it has the whole list, its own data may be old. Its reports stop no container before that.
  lifecycle.gatewayJoined(gateway, 0, was ?? undefined);
  gateways.add(gateway, send);
  feeds.set(gateway, {
    reported: (last) => {
      if (last) lostMs = 0;
      listen();
    },
    end: () => response.destroy(),
  });
  listen();
  // Changes during the list follow it: the newest of each container, in order.
  let meanwhile: Map<string, FeedLine> | undefined = new Map();
  const unwatch = lifecycle.watch((change) => {
    if ("image" in change) return;
    const id = "removed" in change ? change.removed : change.container.id;
    const line: FeedLine =
      "removed" in change
        ? { kind: "removed", id, seq: change.seq }
        : { kind: "changed", container: viewOnWire(lifecycle.viewOf(change.container)), seq: change.seq };
    if (meanwhile === undefined) return send(line);
    meanwhile.delete(id);
    meanwhile.set(id, line);
  });
  const listNext = async (after: string) => {
    try {
      await list(after);
    } catch (err) {
      // The gateway reconnects.
      log.error({ err, gateway }, "containers cannot be listed");
      response.destroy();
    }
  };
  const list = async (after: string) => {
    if (response.destroyed) return;
    const { last, json } = await pages.after(after);
    if (response.destroyed) return;
    const line = Buffer.concat([
      Buffer.from('{"kind":"all","containers":'),
      json,
      Buffer.from(`,"seq":${joinedAt}${last === undefined ? "" : ',"more":true'}}\n`),
    ]);
    // The gateway needs the whole list, whatever its length: after a disconnect it would request it again.
    allowed = LONGEST_BACKLOG + line.byteLength;
    // Other work has a turn before the next line: an immediate write calls back within this turn.
    if (last !== undefined) return write(line, () => setImmediate(() => void listNext(last)));
    write(line);
    const changed = meanwhile ?? new Map<string, FeedLine>();
    meanwhile = undefined;
    for (const one of changed.values()) send(one);
  };
  void listNext("");
  const signOuts = openThrottle(clock, SIGN_OUTS_MS, () => send({ kind: "signedOut" }));
  const unwatchSignOuts = watchSignOuts(signOuts.call);
  cancelBeat = clock.after(FEED_BEAT_MS / 2, () => void beat());
  response.once("close", () => {
    cancelBeat();
    unwatch();
    unwatchSignOuts();
    signOuts.close();
    cancelSilence();
    gateways.remove(gateway);
    feeds.delete(gateway);
    lifecycle.gatewayLeft(gateway, lostMs);
  });
}

/** After its lease a process may still run for a moment. What it sends then is not the newest. */
export function isLeading(leader: FeedDeps["leader"]): boolean {
  try {
    leader?.check();
    return true;
  } catch {
    return false;
  }
}

/** A revision of another store proves nothing about this one. */
function compareRevision({ store, storeWentBack }: FeedDeps, query: URLSearchParams, found: number | undefined): void {
  const seen = Number(query.get("revision") ?? 0);
  if (store.id === undefined || query.get("store") !== store.id || found === undefined || !(seen > found)) return;
  storeWentBack?.({ seen, found });
}

type Throttle = {
  /** Runs `act` at once, or once after `ms` if it ran less than `ms` ago. */
  call(): void;
  close(): void;
};

/** Runs `act` at most once in `ms`, however often it is called. */
export function openThrottle(clock: Pick<Clock, "after">, ms: number, act: () => void): Throttle {
  let isWaiting = false;
  let isRequested = false;
  let cancel = () => {};
  const call = () => {
    isRequested = isWaiting;
    if (isWaiting) return;
    isWaiting = true;
    cancel = clock.after(ms, () => {
      isWaiting = false;
      if (isRequested) call();
    });
    act();
  };
  return { call, close: () => cancel() };
}

/** The open requests of one gateway; `answer` is undefined if it did not answer in time. */
export type GatewayOpenRequests = { gateway: string; answer: Pick<OpenExchangesReply, "count" | "open" | "recent" | "load"> | undefined };

export type GatewayQueries = {
  add(gateway: string, send: (line: FeedLine) => void): void;
  remove(gateway: string): void;
  /** How many gateways are connected. */
  count(): number;
  reply(answer: OpenExchangesReply): void;
  /** Asks every gateway for the open requests of a container. Concurrent calls for one container share a query. Faults: GATEWAYS_BUSY. */
  openRequests(id: string): Promise<GatewayOpenRequests[]>;
  /** The same for its last finished requests, the newest first. Faults: GATEWAYS_BUSY. */
  recentRequests(id: string): Promise<RecentRequest[]>;
  /** What each gateway does now; undefined: it did not answer in time, or is of a version that does not know. Faults: GATEWAYS_BUSY. */
  loads(): Promise<{ gateway: string; load: GatewayLoad | undefined }[]>;
};

/** What gateways are queried for: open requests, finished ones, or their load. */
type QueryKind = "open" | "recent" | "load";

/** A gateway answers from memory. */
const TIMEOUT_MS = 1_000;
/** Concurrent queries. */
const MOST_QUERIES = 32;

type PendingQuery = { missing: Set<string>; found: GatewayOpenRequests[]; finish(): void };

/** Control's queries to its gateways over the feed, on demand only. */
export function createGatewayQueries(clock: Clock): GatewayQueries {
  const gateways = new Map<string, (line: FeedLine) => void>();
  const queries = new Map<number, PendingQuery>();
  const sharing = new Map<string, Promise<GatewayOpenRequests[]>>();
  let last = 0;

  const settle = (ask: PendingQuery, gateway: string, answer: GatewayOpenRequests["answer"]) => {
    if (!ask.missing.delete(gateway)) return;
    ask.found.push({ gateway, answer });
    if (ask.missing.size === 0) ask.finish();
  };
  const begin = (id: string, kind: QueryKind): Promise<GatewayOpenRequests[]> => {
    const key = `${kind} ${id}`;
    const number = ++last;
    const { promise, resolve } = Promise.withResolvers<GatewayOpenRequests[]>();
    const ask: PendingQuery = {
      missing: new Set(gateways.keys()),
      found: [],
      finish: () => {
        cancel();
        queries.delete(number);
        sharing.delete(key);
        resolve(ask.found);
      },
    };
    const cancel = clock.after(TIMEOUT_MS, () => {
      for (const gateway of ask.missing) settle(ask, gateway, undefined);
    });
    queries.set(number, ask);
    sharing.set(key, promise);
    if (ask.missing.size === 0) ask.finish();
    for (const send of gateways.values()) send({ kind: "ask", ask: number, id, ...(kind === "open" ? {} : { [kind]: true }) });
    return promise;
  };
  const ask = async (id: string, kind: QueryKind): Promise<GatewayOpenRequests[]> => {
    const shared = sharing.get(`${kind} ${id}`);
    if (shared) return shared;
    if (queries.size >= MOST_QUERIES)
      throw new Fault("GATEWAYS_BUSY", "The gateways answer too many queries at the moment. Try again in a second.", { retryAfterMs: TIMEOUT_MS });
    return begin(id, kind);
  };

  return {
    add: (gateway, send) => void gateways.set(gateway, send),
    count: () => gateways.size,
    remove: (gateway) => {
      gateways.delete(gateway);
      for (const ask of queries.values()) settle(ask, gateway, { count: 0, open: [] });
    },
    reply: ({ ask: number, gateway, count, open, recent, load }) => {
      const query = queries.get(number);
      if (query) settle(query, gateway, { count, open, ...(recent ? { recent } : {}), ...(load ? { load } : {}) });
    },
    openRequests: (id) => ask(id, "open"),
    loads: async () => (await ask("", "load")).map(({ gateway, answer }) => ({ gateway, load: answer?.load })),
    recentRequests: async (id) => {
      const answers = (await ask(id, "recent")).flatMap(({ answer }) => answer?.recent ?? []);
      return answers.toSorted((one, other) => other.at - one.at).slice(0, MOST_RECENT);
    },
  };
}
