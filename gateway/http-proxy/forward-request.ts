import { IncomingMessage, type Agent, type ClientRequest, type ServerResponse } from "node:http";
import { pipeline, Stream } from "node:stream";
import { ProxyServer, type ServerOptions } from "http-proxy";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Forward, Lease, ForwardTarget } from "../decision.ts";
import type { AccessRecord } from "../access-record.ts";
import { type GatewayLimits, MAX_HEAD_BYTES } from "../limits.ts";
import { brokeOff, type DialCounts, MOST_REMOVALS, TargetRemoved, unreachable } from "../connections/dial.ts";
import { travelling, responseHeadOf, grouped } from "./node-heads.ts";
import { breakOff } from "../connections/connection.ts";
import { openAgents } from "./agents.ts";
import { startExchangeLimits, type ExchangeLimits } from "./exchange-limits.ts";
import { sendResponse } from "../direct-responses.ts";

export type NodeExchange = {
  request: IncomingMessage;
  response: ServerResponse;
  forward: Forward;
  lease: Lease;
  signal: AbortSignal;
  record: Pick<AccessRecord, "responseStarted" | "holdMs" | "connectMs" | "fault">;
  /** Called once when the body is wanted: a client that sent `Expect: 100-continue` waits for it. */
  onBodyWanted(): void;
};

export type ForwardRequest = {
  /** Executes a decision to forward; resolves when the exchange is over, with whatever outcome, and the lease is released. */
  forward(exchange: NodeExchange): Promise<void>;
  close(): void;
};

/** How one try went. `refused`: no connection; `removed`: the target is no longer the container's; `stale`: a pooled connection had died unnoticed; none sent anything. */
type AttemptOutcome = { kind: "answered" } | { kind: "refused" | "removed" | "stale" | "failed"; fault: Fault };

/**
 * Executes decisions with `http-proxy` (http-proxy-3 under that name). The library makes the connection, ties its end to the
 * client's, and reports failures; what travels is written here, because the library resolves `..` in a path, passes hop-by-hop
 * headers on and leaves a client hanging when the container dies within a body.
 */
export function openForwardRequest(parts: {
  clock: Clock;
  limits: Pick<GatewayLimits, "connectTimeoutMs" | "upstreamIdleMs" | "idleTimeoutMs" | "bodyTimeoutMs" | "totalTimeoutMs">;
  dials: DialCounts;
}): ForwardRequest {
  const { clock, limits, dials } = parts;
  const proxy = new ProxyServer({ selfHandleResponse: true, connectTimeout: limits.connectTimeoutMs });
  proxy.on("error", () => undefined);
  const agents = openAgents({ idleMs: limits.upstreamIdleMs });

  return {
    forward: async (exchange) => {
      const { forward, response } = exchange;
      const within = startExchangeLimits(clock, limits);
      const lease = counted(exchange.lease, within);
      const limited = { ...exchange, lease, within };
      const late = Promise.withResolvers<never>();
      late.promise.catch(() => undefined);
      within.onLate(late.reject);
      exchange.lease.setHolder?.({ revoke: within.end });
      try {
        const from = clock.monotonic();
        let target = await Promise.race([lease.target(), late.promise]);
        exchange.record.holdMs = clock.monotonic() - from;
        const { pooled, fresh } = agents.of(target, lease);
        let outcome = await attempt(limited, target, pooled);
        if (outcome.kind === "stale") outcome = await attempt(limited, target, fresh);
        for (let refusals = 0, removals = 0; outcome.kind === "refused" || outcome.kind === "removed";) {
          if (outcome.kind === "removed" ? ++removals > MOST_REMOVALS : ++refusals > 1) break;
          within.onLate(late.reject);
          dials.retries.add();
          target = await Promise.race([lease.replaceTarget(target), late.promise]);
          outcome = await attempt(limited, target, fresh);
        }
        if (outcome.kind !== "answered") throw outcome.fault;
      } catch (error) {
        if (exchange.signal.aborted) return;
        if (!(error instanceof Fault)) throw error;
        exchange.record.fault = error.code;
        sendResponse(response, forward.respondTo(error));
      } finally {
        within.stop();
        lease.release();
      }
    },
    close: agents.close,
  };

  function attempt(exchange: NodeExchange & { within: ExchangeLimits }, target: ForwardTarget, agent: Agent): Promise<AttemptOutcome> {
    const { request, response, forward, lease, signal, within, record } = exchange;
    if (signal.aborted) return Promise.reject(signal.reason as Error);
    let removed = false;
    lease.onTargetGone(target, () => void (removed = true))();
    if (removed) return Promise.resolve({ kind: "removed", fault: unreachable(new TargetRemoved("removed")) });
    return new Promise((resolve) => {
      const clocks: (() => void)[] = [];
      const settle = (outcome: AttemptOutcome) => {
        for (const cancel of clocks) cancel();
        resolve(outcome);
      };
      const send = (sent: ClientRequest) => {
        let connected = false;
        let answered = false;
        let connectMs = 0;
        const begun = clock.monotonic();

        const fail = (error: Error) => {
          if (answered) return;
          request.unpipe(sent);
          if (error instanceof Fault) settle({ kind: "failed", fault: error });
          else if (error instanceof TargetRemoved) settle({ kind: "removed", fault: unreachable(error) });
          else if (!connected) {
            dials.refused.add();
            settle({ kind: "refused", fault: unreachable(error) });
          } else settle({ kind: sent.reusedSocket && isRepeatable(request) ? "stale" : "failed", fault: brokeOff(error) });
        };
        const begin = () => {
          connected = true;
          connectMs = sent.reusedSocket ? 0 : clock.monotonic() - begun;
          record.connectMs = connectMs;
          if (!sent.reusedSocket) dials.made.add();
          within.flows(true, true);
          sendBody(exchange, sent);
        };
        within.onLate((fault) => {
          if (answered) response.destroy();
          else sent.destroy(fault);
        });

        writeHead(sent, request, forward);
        sent.once("socket", (socket) => {
          if (!socket.connecting) return begin();
          const unwatch = lease.onTargetGone(target, () => void (connected || sent.destroy(new TargetRemoved("removed"))));
          clocks.push(unwatch);
          socket.once("tls" in target ? "secureConnect" : "connect", () => {
            unwatch();
            begin();
          });
        });
        // The wait for the response begins when the container has the whole request.
        sent.once("finish", () => {
          if (answered) return;
          within.flows(false);
          clocks.push(
            clock.after(forward.headTimeoutMs, () => sent.destroy(new Fault("RESPONSE_TIMED_OUT", "The container did not answer in time"))),
          );
        });
        sent.once("error", fail);
        sent.once("close", () => fail(new Error("closed without a response")));
        sent.once("response", (received: IncomingMessage) => {
          answered = true;
          record.responseStarted(received.statusCode ?? 502);
          within.flows(true);
          // The limit is on the head: what follows may take as long as it takes.
          for (const cancel of clocks.splice(0)) cancel();
          try {
            refuseUnfit(received);
            response.sendDate = false;
            response.writeHead(
              received.statusCode ?? 502,
              received.statusMessage ?? "",
              travelling(received.rawHeaders, forward.response(responseHeadOf(received), connectMs)).flat(),
            );
          } catch (error) {
            // Not fit to be passed on, or a status that Node would not write, such as 099.
            received.destroy();
            return settle({ kind: "failed", fault: error instanceof Fault ? error : brokeOff(error) });
          }
          // Sends the head now. `flushHeaders` would write it as UTF-8, and so change every byte beyond ASCII in it.
          response.write("", "latin1");
          received.on("data", (chunk: Buffer) => lease.countBytes(chunk.length, "container"));
          // A client of HTTP/1.0 sees no chunks: to it, an end would make a body that was cut off look complete.
          if (request.httpVersion === "1.0") received.once("error", () => breakOff(request.socket));
          pipeline(received, response, () => {
            request.unpipe(sent);
            if (!sent.writableFinished) sent.destroy();
            settle({ kind: "answered" });
          });
        });
      };

      const asked = new IncomingMessage(request.socket);
      asked.method = request.method ?? "GET";
      asked.url = "/";
      const options: ServerOptions = { target: detailed(target), agent, buffer: new RequestSender(send) };
      proxy.web(asked, response, options, () => undefined);
    });
  }
}

/** The same lease, whose bytes keep the exchange from counting as idle. */
function counted(lease: Lease, within: ExchangeLimits): Lease {
  return {
    owner: lease.owner,
    target: () => lease.target(),
    replaceTarget: (target) => lease.replaceTarget(target),
    onTargetGone: (target, act) => lease.onTargetGone(target, act),
    release: () => lease.release(),
    countBytes: (n, from) => {
      within.alive();
      lease.countBytes(n, from);
    },
  };
}

/**
 * The library pipes the body into the request that it made, before anything of it is sent: the one moment at which the
 * request can be taken over.
 */
class RequestSender extends Stream {
  readonly #send: (sent: ClientRequest) => void;

  constructor(send: (sent: ClientRequest) => void) {
    super();
    this.#send = send;
  }

  override pipe<T extends NodeJS.WritableStream>(sent: T): T {
    this.#send(sent as unknown as ClientRequest);
    return sent;
  }
}

/**
 * What Node takes for a response and cannot be passed on as one. Faults: CONTAINER_BROKE_OFF for a switch of protocols that nobody
 * asked for, and for a coding of the transfer that Node would leave on the body while its name does not travel on.
 */
function refuseUnfit(received: IncomingMessage): void {
  const coding = received.headers["transfer-encoding"]?.toLowerCase() ?? "chunked";
  if (received.statusCode === 101) throw new Fault("CONTAINER_BROKE_OFF", "The container switched to another protocol, which nobody had asked for");
  if (coding !== "chunked" && coding !== "identity")
    throw new Fault("CONTAINER_BROKE_OFF", "The container used a transfer coding other than chunked, which nobody had asked for");
}

function detailed(target: ForwardTarget): { host: string; port: number; socketPath?: string; protocol?: string } {
  if ("socketPath" in target) return { host: "localhost", port: 80, socketPath: target.socketPath };
  return target.tls === undefined ? target : { host: target.host, port: target.port, protocol: "https:" };
}

/** Repeating one of these changes nothing (RFC 9110 §9.2.2). */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

/** Replaces what the library wrote by the client's own lines, and its path by the one that was decided on. */
export function writeHead(sent: ClientRequest, request: IncomingMessage, forward: Forward): void {
  sent.path = forward.target;
  // 0 lifts Node's limit of 1000 lines, beyond which it drops them without a word.
  Object.assign(sent, { maxHeaderSize: MAX_HEAD_BYTES, maxHeadersCount: 0 });
  // The library gives a DELETE a length of 0, although it may have a body.
  if (sent.hasHeader("content-length")) sent.removeHeader("content-length");
  for (const [name, values] of grouped(travelling(request.rawHeaders, forward.request))) {
    // Node answered it already, or answers it when the body is wanted.
    if (name.toLowerCase() === "expect") continue;
    sent.setHeader(name, values.length === 1 ? (values[0] ?? "") : values);
  }
  if (isChunked(request)) sent.setHeader("Transfer-Encoding", "chunked");
}

/** Reads the client's body only now that there is somebody to take it: until then it stays in the client's own socket. */
export function sendBody(
  { request, lease, onBodyWanted }: { request: IncomingMessage; lease: Pick<Lease, "countBytes">; onBodyWanted(): void },
  sent: ClientRequest,
): void {
  if (!hasBody(request)) return void sent.end();
  onBodyWanted();
  request.on("data", (chunk: Buffer) => lease.countBytes(chunk.length, "client"));
  request.pipe(sent);
}

function isChunked(request: IncomingMessage): boolean {
  return request.headers["transfer-encoding"] !== undefined;
}

function hasBody(request: IncomingMessage): boolean {
  return isChunked(request) || Number(request.headers["content-length"] ?? 0) > 0;
}

/** True for a request that may go out a second time where nothing came back. */
export function isRepeatable(request: IncomingMessage): boolean {
  return IDEMPOTENT.has(request.method ?? "") && !hasBody(request);
}
