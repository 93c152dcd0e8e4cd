import { chmodSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import {
  type BusyReport,
  type CallersReply,
  type CallersRequest,
  type GatewayLoad,
  LEADER_FEED,
  type OpenExchangesReply,
  MOST_RECENT,
  type PushCheckRequest,
  type PushRightRequest,
  type PushedReport,
  type ReachedReport,
  type ReportedLoad,
  type ReportedUse,
  type RecentRequest,
  type StartStatusRequest,
  type UseReport,
  type WakeRequest,
} from "../../gateway/contract.ts";
import { Fault } from "../../lib/fault.ts";
import { inTurns } from "../../lib/in-turns.ts";
import { readJsonLists } from "../../lib/json-lists.ts";
import type { TrafficCounts } from "../../lib/traffic-counts.ts";
import { claimPushed, packageOfRepository, requirePushRight } from "../identity/rights.ts";
import { recordPush } from "../store/change-events.ts";
import { createContainerPages } from "./container-pages.ts";
import { createGatewayQueries, type FeedDeps, type GatewayQueries, type OpenFeeds, streamChanges } from "./feed-stream.ts";
import { streamLeader } from "./leader-feed.ts";
import { IMAGE_ACTIONS } from "./record-audit.ts";

/** Answers a request of a gateway: of this machine, where the socket shows its end, or of another machine, which may be silent and alive. */
export type FeedHandler = (request: IncomingMessage, response: ServerResponse, from: "here" | "elsewhere") => void;

export type ControlFeed = Pick<GatewayQueries, "openRequests" | "recentRequests" | "loads" | "count"> & {
  answer: FeedHandler;
  close(): Promise<void>;
};

/** What a registry proxy does not report. */
const UNKNOWN = { userId: undefined, address: undefined, requestId: undefined, status: undefined } as const;

/**
 * Control's side of `gateway/contract.ts`. Only this user can open the socket: every client of it is a gateway. The caller holds the
 * data folder's lock, so an existing socket belongs to a dead process. Faults: DATA_FOLDER_UNUSABLE.
 */
export async function openFeed(deps: FeedDeps): Promise<ControlFeed> {
  const { socketPath, clock, log } = deps;
  const feeds: OpenFeeds = new Map();
  const gateways = createGatewayQueries(clock);
  const pages = createContainerPages(deps);
  const followers = new Set<ServerResponse>();
  deps.metrics?.gateways.look((family) => family.at().set(feeds.size));
  const handlers: Record<string, (body: unknown, gone: () => AbortSignal) => Promise<object | undefined>> = {
    "/wake": async (body) => {
      const { id, userId, ref, traceparent } = parseWakeRequest(body);
      const shown = ref?.own ?? ref?.session;
      // In one transaction: the gateway may not know that the session has ended, and a start without a session could never end with it.
      await deps.store.transaction(async () => {
        // Sent together. Without the session, what the wake writes is undone.
        const [session, wake] = await Promise.allSettled([
          shown === undefined ? undefined : deps.store.sessions.byDigest(shown),
          deps.lifecycle.wake(id, userId, ref),
        ]);
        if (session.status === "rejected") throw session.reason as Error;
        if (shown !== undefined && !session.value) throw new Fault("TOKEN_INVALID", "The session has ended: sign in again.");
        if (traceparent !== undefined) deps.traceWake?.(id, traceparent);
        if (wake.status === "rejected") throw wake.reason as Error;
      });
      return undefined;
    },
    "/start-status": async (body, gone) => deps.lifecycle.startStatus(parseStartStatusRequest(body).id, gone()),
    "/reached": async (body) => {
      const { id, connectMs } = parseReachedReport(body);
      await deps.store.wakes.connected(id, connectMs);
      return undefined;
    },
    "/busy": async (body) => {
      const { id, seconds } = parseBusyReport(body);
      await deps.lifecycle.setBusy(id, seconds * 1_000);
      return undefined;
    },
    "/open": async (body) => {
      gateways.reply(parseOpenExchangesReply(body));
      return undefined;
    },
    "/use": async (body) => {
      const report = await parseUseReport(body);
      // After all of it was checked: a gateway sends a refused report again.
      for (let at = 0; at < report.uses.length; at += USES_IN_ONE_TURN) {
        if (at > 0) await new Promise(setImmediate);
        deps.countTraffic?.(report.uses.slice(at, at + USES_IN_ONE_TURN));
      }
      await deps.lifecycle.recordUse(report);
      feeds.get(report.gateway)?.reported(report.last === true);
      return undefined;
    },
    "/pushed": async (body) => {
      const { by, deleted, ...pushed } = parsePushedReport(body);
      if (!deleted) {
        await claimPushed(deps.store, by, pushed.repository, deps.clock.now());
        await deps.lifecycle.imagePushed(pushed);
        const packageId = await packageOfRepository(deps.store, pushed.repository);
        await recordPush(deps.store, { ...pushed, by, packageId, at: deps.clock.now() });
      }
      const target = `${pushed.repository}${pushed.reference.includes(":") ? "@" : ":"}${pushed.reference}`.slice(0, 300);
      await deps.audit?.append({ ...UNKNOWN, action: IMAGE_ACTIONS[deleted ? "deleted" : "pushed"], target, login: by, via: "registry" });
      return undefined;
    },
    "/push-right": async (body) => {
      const { repository, by } = parsePushRightRequest(body);
      await requirePushRight(deps.store, by, repository, deps.clock.now());
      return undefined;
    },
    "/push-check": async (body, gone) => {
      await deps.checkPush?.(parsePushCheckRequest(body), gone());
      return undefined;
    },
    "/who": async (body) => {
      const callers = await Promise.all(parseCallersRequest(body).tokens.map(async (token) => (await deps.who(token)) ?? null));
      return { callers } satisfies CallersReply;
    },
  };

  const respond = async (request: IncomingMessage, response: ServerResponse, from: "here" | "elsewhere"): Promise<void> => {
    const [path = "", query] = (request.url ?? "").split("?", 2);
    if (request.method === "GET" && request.url?.startsWith(LEADER_FEED)) return streamLeader(deps, followers, response);
    if (request.method === "GET" && path === "/feed")
      return streamChanges(deps, { feeds, gateways, pages }, response, { from, query: new URLSearchParams(query) });
    const handler = request.method === "POST" && Object.hasOwn(handlers, path) ? handlers[path] : undefined;
    if (!handler) throw new Fault("ROUTE_NOT_FOUND", "The feed has no such route.");
    const body = await handler(await readBody(path, request), () => goneSignal(response));
    send(response, body ? 200 : 204, body);
  };
  const answer: FeedHandler = (request, response, from) => {
    respond(request, response, from).catch((error: unknown) => {
      if (!(error instanceof Fault)) log.error({ err: error, url: request.url }, "unexpected error");
      // A stream that has begun: its gateway connects again.
      if (response.headersSent) return void response.destroy();
      const fault = error instanceof Fault ? error : new Fault("INTERNAL", "An internal error occurred.");
      send(response, fault.status, fault.toJSON());
    });
  };
  const server = createServer((request, response) => answer(request, response, "here"));

  rmSync(socketPath, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => reject(new Fault("DATA_FOLDER_UNUSABLE", `The feed's socket ${socketPath} cannot be opened.`, { cause })));
    // For this user only from the first moment, not only after `chmod`.
    const mask = process.umask(0o177);
    server.listen(socketPath, resolve);
    process.umask(mask);
  });
  chmodSync(socketPath, 0o600);
  return {
    answer,
    openRequests: gateways.openRequests,
    recentRequests: gateways.recentRequests,
    loads: gateways.loads,
    count: gateways.count,
    close: async () => {
      for (const feed of feeds.values()) feed.end();
      for (const response of followers) response.destroy();
      pages.close();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Aborts when the gateway no longer waits for the response. */
function goneSignal(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  response.once("close", () => gone.abort(new Error("the gateway is gone")));
  return gone.signal;
}

function send(response: ServerResponse, status: number, body?: object): void {
  if (response.destroyed) return;
  if (!body) return void response.writeHead(status).end();
  const text = JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) }).end(text);
}

// The sender is a gateway of this server, so only harmful mistakes are checked. Every parser's fault: REQUEST_INVALID.

/**
 * In bytes. A report has every container in use at one gateway, and is parsed one entry at a time: a use has up to 250 bytes. The rest is parsed at once, in some
 * milliseconds.
 */
const BODY_LIMITS = { use: { body: 64 * 1_048_576, entry: 4_096, entries: 200_000 }, other: 1_048_576 };
const USE_NAMES = { body: "report", shorten: "Upgrade the gateway.", split: "Use more gateways." };
/** Checked or counted in one turn of the event loop: some milliseconds. */
const USES_IN_ONE_TURN = 1_000;

async function readBody(path: string, request: IncomingMessage): Promise<unknown> {
  const body = request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  try {
    return await (path === "/use" ? readJsonLists(body, BODY_LIMITS.use, USE_NAMES) : readJson(body, BODY_LIMITS.other));
  } finally {
    // A gateway that still sends reads the refusal afterwards.
    request.resume();
  }
}

async function readJson(body: AsyncIterable<Buffer>, longest: number): Promise<unknown> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of body) {
    size += piece.length;
    if (size > longest) throw new Fault("REQUEST_INVALID", "The request is too long.");
    pieces.push(piece);
  }
  try {
    return JSON.parse(Buffer.concat(pieces).toString("utf8")) as unknown;
  } catch (cause) {
    throw new Fault("REQUEST_INVALID", "The request is not JSON.", { cause });
  }
}

function parseWakeRequest(body: unknown): WakeRequest {
  const { id, userId, ref, traceparent } = fieldsOf(body);
  if (typeof id !== "string") throw new Fault("REQUEST_INVALID", "A wake needs an id.");
  const { own, session, key } = fieldsOf(ref);
  const by = {
    ...(typeof own === "string" ? { own } : {}),
    ...(typeof session === "string" ? { session } : {}),
    ...(typeof key === "string" ? { key } : {}),
  };
  return {
    id,
    ...(typeof userId === "string" ? { userId } : {}),
    ...(ref === undefined ? {} : { ref: by }),
    ...(typeof traceparent === "string" ? { traceparent } : {}),
  };
}

function parseStartStatusRequest(body: unknown): StartStatusRequest {
  const { id } = fieldsOf(body);
  if (typeof id !== "string") throw new Fault("REQUEST_INVALID", "A request for the status of a start needs id.");
  return { id };
}

function parseReachedReport(body: unknown): ReachedReport {
  const { id, connectMs } = fieldsOf(body);
  if (typeof id !== "string" || !isCount(connectMs)) throw new Fault("REQUEST_INVALID", "A report of a connect needs id and connectMs.");
  return { id, connectMs };
}

function parseBusyReport(body: unknown): BusyReport {
  const { id, seconds } = fieldsOf(body);
  if (typeof id !== "string" || !isCount(seconds)) throw new Fault("REQUEST_INVALID", "A report of a busy container needs id and seconds.");
  return { id, seconds };
}

function parseOpenExchangesReply(body: unknown): OpenExchangesReply {
  const { gateway, ask, count, open, recent, load } = fieldsOf(body);
  if (typeof gateway !== "string" || !isCount(ask) || !isCount(count) || !Array.isArray(open))
    throw new Fault("REQUEST_INVALID", "A report of open requests needs gateway, ask, count and open.");
  const finished = Array.isArray(recent) ? { recent: (recent as RecentRequest[]).slice(0, MOST_RECENT) } : {};
  return { gateway, ask, count, open: open as OpenExchangesReply["open"], ...finished, ...(load === undefined ? {} : { load: parseLoad(load) }) };
}

function parseLoad(value: unknown): GatewayLoad {
  const { machine, pid, version, sockets, upMs, openRequests, cores, memoryBytes } = fieldsOf(value);
  if (typeof machine !== "string" || typeof version !== "string" || ![pid, upMs, openRequests, cores, memoryBytes].every(isCount))
    throw new Fault("REQUEST_INVALID", "The load of a gateway is malformed.");
  const counts = { pid, upMs, openRequests, cores, memoryBytes } as Pick<GatewayLoad, "pid" | "upMs" | "openRequests" | "cores" | "memoryBytes">;
  return { ...counts, machine: machine.slice(0, 253), version: version.slice(0, 100), sockets: sockets === "ffi" ? "ffi" : "node" };
}

function parseCallersRequest(body: unknown): CallersRequest {
  const { tokens } = fieldsOf(body);
  if (!Array.isArray(tokens) || !tokens.every((token) => typeof token === "string"))
    throw new Fault("REQUEST_INVALID", "A request for the holders of tokens needs tokens.");
  return { tokens };
}

function parsePushedReport(body: unknown): PushedReport {
  const { repository, reference, by, deleted } = fieldsOf(body);
  if (typeof repository !== "string" || typeof reference !== "string") throw new Fault("REQUEST_INVALID", "A push needs repository and reference.");
  return { repository, reference, ...(typeof by === "string" ? { by } : {}), ...(deleted === true ? { deleted } : {}) };
}

function parsePushRightRequest(body: unknown): PushRightRequest {
  const { repository, by } = fieldsOf(body);
  if (typeof repository !== "string" || typeof by !== "string") throw new Fault("REQUEST_INVALID", "The right to push needs repository and by.");
  return { repository, by };
}

function parsePushCheckRequest(body: unknown): PushCheckRequest {
  const { sizeBytes } = fieldsOf(body);
  const { repository, reference, by } = parsePushedReport(body);
  if (!isCount(sizeBytes)) throw new Fault("REQUEST_INVALID", "The check of a push needs sizeBytes.");
  return { repository, reference, sizeBytes, ...(by === undefined ? {} : { by }) };
}

async function parseUseReport(body: unknown): Promise<UseReport> {
  const { gateway, seq, at, uses: list, last } = fieldsOf(body);
  if (typeof gateway !== "string" || typeof seq !== "number" || !Array.isArray(list))
    throw new Fault("REQUEST_INVALID", "A report needs gateway, seq and uses.");
  const uses: ReportedUse[] = [];
  await inTurns(list, USES_IN_ONE_TURN, (use) => void uses.push(parseUse(use)));
  return { gateway, seq, ...(isCount(at) ? { at } : {}), ...(last === true ? { last } : {}), uses };
}

function parseUse(use: unknown): ReportedUse {
  const { id, open, streams, lastActive, traffic, load, replica } = fieldsOf(use);
  if (typeof id !== "string" || !isCount(open) || !isCount(streams) || !isCount(lastActive))
    throw new Fault("REQUEST_INVALID", "A use in the report is malformed.");
  return {
    id,
    open,
    streams,
    lastActive,
    ...(traffic === undefined ? {} : { traffic: parseTraffic(traffic) }),
    ...(load === undefined ? {} : { load: parseReportedLoad(load) }),
    ...(replica === true ? { replica } : {}),
  };
}

function parseReportedLoad(value: unknown): ReportedLoad {
  const { average, ms } = fieldsOf(value);
  if (!isCount(average) || !isCount(ms)) throw new Fault("REQUEST_INVALID", "The load of a use in the report is malformed.");
  return { average, ms };
}

function parseTraffic(value: unknown): TrafficCounts {
  const { requests, errors, latency, waits = 0, waitMs = 0 } = fieldsOf(value);
  if (!isCount(requests) || !isCount(errors) || !Array.isArray(latency) || !latency.every(isCount) || !isCount(waits) || !isCount(waitMs))
    throw new Fault("REQUEST_INVALID", "The traffic of a use in the report is malformed.");
  return { requests, errors, latency, waits, waitMs };
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
