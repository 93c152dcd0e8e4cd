import { randomUUID } from "node:crypto";
import { chmodSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import {
  ENDED_GATEWAY_MS,
  FEED_BEAT_MS,
  type FeedLine,
  viewOnWire,
  GATEWAY_SILENCE_MS,
  LOST_GATEWAY_MS,
  REPORT_MS,
  type CallerReply,
  type CallersReply,
  WIRE_VERSION,
} from "../../gateway/contract.ts";
import type { Log } from "../../lib/log.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import type { Lifecycle } from "../lifecycle/open-lifecycle.ts";
import { claimPushed } from "../identity/rights.ts";
import type { AuditLog } from "../store/open-audit.ts";
import type { Store } from "../store/open-store.ts";
import { IMAGE_ACTIONS } from "./record-audit.ts";
import { type GatewayQueries, createGatewayQueries } from "./gateway-queries.ts";
import {
  readBusyReport,
  readOpenAnswer,
  readPushedAsk,
  readQuestion,
  readReachedReport,
  readUseReport,
  readWakeAsk,
  readWhoAsk,
} from "./feed-requests.ts";
import { openThrottle } from "./throttle.ts";

export type FeedDeps = {
  socketPath: string;
  lifecycle: Pick<Lifecycle, "viewOf" | "watch" | "seq" | "wake" | "setBusy" | "recordUse" | "gatewayJoined" | "gatewayLeft" | "imagePushed">;
  store: Pick<Store, "containers" | "wakes" | "sessions" | "repositories" | "packages" | "groups" | "users"> &
    Partial<Pick<Store, "id" | "revision">>;
  /** Called where a gateway has seen a later revision of this store than there is: changes that were acknowledged are lost. */
  storeWentBack?: (revisions: { seen: number; found: number }) => void;
  /** Tells when sessions ended before their time. */
  watchSignOuts(listener: () => void): () => void;
  /** Who holds this token; undefined: nobody. */
  who(token: string): Promise<CallerReply | undefined>;
  /** That of this program, which gateways are told. */
  version: string;
  /** Where it counts; for nobody where it is left out. */
  metrics?: Pick<Metrics, "gateways">;
  /** Where pushes and deletes of images are kept; nowhere where it is left out. */
  audit?: AuditLog;
  /** Told of what a wake is part of, before it is wished. */
  traceWake?: ((id: string, traceparent: string) => void) | undefined;
  clock: Clock;
  log: Log;
};

/**
 * So many containers are told in one line and one turn: with 100 000 in one, control would stand still for seconds, which gateways take for its end,
 * and the line would be longer than any that they read.
 */
const AT_ONCE = 500;
/** Answers a request of a gateway's: one of this machine, whose end the socket tells, or one behind a network, which may be silent and yet alive. */
export type FeedHandler = (request: IncomingMessage, response: ServerResponse, from: "here" | "elsewhere") => void;

export type ControlFeed = Pick<GatewayQueries, "openRequests" | "count"> & { answer: FeedHandler; close(): Promise<void> };

/** A gateway that reads so slowly that this much waits for it is cut off; it comes back and is given everything anew. */
const LONGEST_BACKLOG = 8 * 1_048_576;

/**
 * After a sign-out every caller is looked up anew. Users sign in and out as often as they like, so several sign-outs within this time make one event: else
 * one user could make every request of all users cost a look-up at control.
 */
const SIGN_OUTS_MS = 500;

/** What a registry proxy does not tell. */
const UNKNOWN = { userId: undefined, address: undefined, requestId: undefined, status: undefined } as const;

/**
 * Control's side of `gateway/contract.ts`. The socket is for this user only: whoever can open it is a gateway. The caller holds the
 * data folder's lock, so a socket that lies there is a dead process's. Faults: DATA_FOLDER_UNUSABLE.
 */
export async function openFeed(parts: FeedDeps): Promise<ControlFeed> {
  const { socketPath, clock, log } = parts;
  const feeds: OpenFeeds = new Map();
  const gateways = createGatewayQueries(clock);
  parts.metrics?.gateways.look((family) => family.at().set(feeds.size));
  const questions: Record<string, (question: unknown) => Promise<object | undefined>> = {
    "/wake": async (question) => {
      const { id, userId, ref, traceparent } = readWakeAsk(question);
      const shown = ref?.own ?? ref?.session;
      // The gateway may not know it yet; nothing is started that could not be ended.
      if (shown !== undefined && !parts.store.sessions.byDigest(shown)) throw new Fault("TOKEN_INVALID", "The session has ended: sign in again.");
      if (traceparent !== undefined) parts.traceWake?.(id, traceparent);
      parts.lifecycle.wake(id, userId, ref);
      return undefined;
    },
    "/reached": async (question) => {
      const { id, connectMs } = readReachedReport(question);
      parts.store.wakes.connected(id, connectMs);
      return undefined;
    },
    "/busy": async (question) => {
      const { id, seconds } = readBusyReport(question);
      parts.lifecycle.setBusy(id, seconds * 1_000);
      return undefined;
    },
    "/open": async (question) => {
      gateways.reply(readOpenAnswer(question));
      return undefined;
    },
    "/use": async (question) => {
      const report = readUseReport(question);
      parts.lifecycle.recordUse(report);
      feeds.get(report.gateway)?.heard(report.last === true);
      return undefined;
    },
    "/pushed": async (question) => {
      const { by, deleted, ...pushed } = readPushedAsk(question);
      if (!deleted) {
        claimPushed(parts.store, by, pushed.repository, parts.clock.now());
        parts.lifecycle.imagePushed(pushed);
      }
      const target = `${pushed.repository}${pushed.reference.includes(":") ? "@" : ":"}${pushed.reference}`.slice(0, 300);
      parts.audit?.append({ ...UNKNOWN, action: IMAGE_ACTIONS[deleted ? "deleted" : "pushed"], target, login: by, via: "registry" });
      return undefined;
    },
    "/who": async (question) => {
      const callers = await Promise.all(readWhoAsk(question).tokens.map(async (token) => (await parts.who(token)) ?? null));
      return { callers } satisfies CallersReply;
    },
  };

  const answer: FeedHandler = (request, response, from) => {
    const [path = "", query] = (request.url ?? "").split("?", 2);
    if (request.method === "GET" && path === "/feed")
      return streamChanges(parts, { feeds, gateways }, response, { from, query: new URLSearchParams(query) });
    const question = request.method === "POST" && Object.hasOwn(questions, path) ? questions[path] : undefined;
    const said = question ? readQuestion(request).then(question) : Promise.reject(new Fault("ROUTE_NOT_FOUND", "The feed has no such route."));
    said.then(
      (found) => send(response, found ? 200 : 204, found),
      (error: unknown) => {
        if (!(error instanceof Fault)) log.error({ err: error, url: request.url }, "unexpected error");
        const fault = error instanceof Fault ? error : new Fault("INTERNAL", "An internal error occurred.");
        send(response, fault.status, fault.toJSON());
      },
    );
  };
  const server = createServer((request, response) => answer(request, response, "here"));

  rmSync(socketPath, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => reject(new Fault("DATA_FOLDER_UNUSABLE", `The feed's socket ${socketPath} cannot be opened.`, { cause })));
    // Made for this user only from the first moment on, not only from `chmod` on.
    const mask = process.umask(0o177);
    server.listen(socketPath, resolve);
    process.umask(mask);
  });
  chmodSync(socketPath, 0o600);
  return {
    answer,
    openRequests: gateways.openRequests,
    count: gateways.count,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** The open feeds, by their gateways' names. */
type OpenFeeds = Map<string, { heard(last: boolean): void; end(): void }>;

/**
 * One gateway's line to us, for as long as it lives. One elsewhere that leaves without a word, or says none for too long, may still serve what it
 * knows, so what it had open counts on for a while, or until it is there again.
 */
function streamChanges(
  parts: FeedDeps,
  { feeds, gateways }: { feeds: OpenFeeds; gateways: GatewayQueries },
  response: ServerResponse,
  asked: { from: "here" | "elsewhere"; query: URLSearchParams },
): void {
  const { lifecycle, store, watchSignOuts, version, clock, log } = parts;
  const isElsewhere = asked.from === "elsewhere";
  const was = asked.query.get("was");
  const gateway = randomUUID();
  /** How long it may be serving after this line is over. */
  let lostMs = isElsewhere ? ENDED_GATEWAY_MS : 0;
  let cancelSilence = () => {};
  const listen = () => {
    cancelSilence();
    if (!isElsewhere) return;
    cancelSilence = clock.after(GATEWAY_SILENCE_MS, () => {
      lostMs = LOST_GATEWAY_MS;
      log.warn({ gateway, lostMs }, "a gateway is silent: what it had open counts on for a while");
      response.destroy();
    });
  };
  let cancelBeat = () => {};
  let allowed = LONGEST_BACKLOG;
  const say = (line: FeedLine, whenGone?: () => void) => {
    if (response.destroyed) return;
    const text = `${JSON.stringify(line)}\n`;
    // However long the list is, it is what the gateway came for: cutting it off would only have it come again.
    if (line.kind === "all") allowed = LONGEST_BACKLOG + Buffer.byteLength(text);
    response.write(text, whenGone);
    if (response.writableLength > allowed) {
      log.warn({ gateway, backlog: response.writableLength }, "a gateway reads too slowly and is cut off");
      response.destroy();
    }
  };
  const beat = () => {
    say({ kind: "beat", revision: store.revision?.() });
    cancelBeat = clock.after(FEED_BEAT_MS / 2, beat);
  };
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  say({
    kind: "hello",
    gateway,
    version,
    wire: WIRE_VERSION,
    store: store.id,
    revision: store.revision?.(),
    ...(isElsewhere ? { reportMs: REPORT_MS } : {}),
  });
  compareRevision(parts, asked.query);
  if (was !== null) feeds.get(was)?.end();
  const joinedAt = lifecycle.seq();
  // What it knew before may be old until it has all of the list: until it has said so, nothing is stopped on its word.
  lifecycle.gatewayJoined(gateway, 0, was ?? undefined);
  gateways.add(gateway, say);
  feeds.set(gateway, {
    heard: (last) => {
      if (last) lostMs = 0;
      listen();
    },
    end: () => response.destroy(),
  });
  listen();
  // What changes while the list is told comes after it: of each container the newest, in their order.
  let meanwhile: Map<string, FeedLine> | undefined = new Map();
  const unwatch = lifecycle.watch((change) => {
    if ("image" in change) return;
    const id = "removed" in change ? change.removed : change.container.id;
    const line: FeedLine =
      "removed" in change
        ? { kind: "removed", id, seq: change.seq }
        : { kind: "changed", container: viewOnWire(lifecycle.viewOf(change.container)), seq: change.seq };
    if (meanwhile === undefined) return say(line);
    meanwhile.delete(id);
    meanwhile.set(id, line);
  });
  const listNext = (after: string) => {
    try {
      list(after);
    } catch (err) {
      // It asks again, and hears why where it can be said.
      log.error({ err, gateway }, "containers cannot be told");
      response.destroy();
    }
  };
  const list = (after: string) => {
    if (response.destroyed) return;
    const rows = store.containers.toView(after, AT_ONCE);
    const last = rows.length < AT_ONCE ? undefined : rows.at(-1)?.id;
    const line = { kind: "all", containers: rows.map((row) => viewOnWire(lifecycle.viewOf(row))), seq: joinedAt } as const;
    // Written or not, others have their turn before the next: what is written at once calls back within this one.
    if (last !== undefined) return say({ ...line, more: true }, () => setImmediate(listNext, last));
    say(line);
    const changed = meanwhile ?? new Map<string, FeedLine>();
    meanwhile = undefined;
    for (const one of changed.values()) say(one);
  };
  list("");
  const signOuts = openThrottle(clock, SIGN_OUTS_MS, () => say({ kind: "signedOut" }));
  const unwatchSignOuts = watchSignOuts(signOuts.call);
  cancelBeat = clock.after(FEED_BEAT_MS / 2, beat);
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

/** A revision of another store proves nothing about this one. */
function compareRevision({ store, storeWentBack }: FeedDeps, query: URLSearchParams): void {
  const [seen, found] = [Number(query.get("revision") ?? 0), store.revision?.()];
  if (store.id === undefined || query.get("store") !== store.id || found === undefined || !(seen > found)) return;
  storeWentBack?.({ seen, found });
}

function send(response: ServerResponse, status: number, body?: object): void {
  if (response.destroyed) return;
  if (!body) return void response.writeHead(status).end();
  const text = JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) }).end(text);
}
