import { IncomingMessage, type Agent, type ClientRequest, type ServerResponse } from "node:http";
import { pipeline, Stream } from "node:stream";
import { ProxyServer, type ServerOptions } from "http-proxy";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Forward, Lease, ForwardTarget } from "../decision.ts";
import type { AccessRecord } from "../access-record.ts";
import { type GatewayLimits, stalledBody } from "../limits.ts";
import { brokeOff, type DialCounts, MAX_REMOVALS, TargetRemoved, unreachable } from "../connections/dial.ts";
import { forwardedLines, isRepeatable, responseHeadOf, sendBody, writeHead } from "./node-heads.ts";
import { breakOff } from "../connections/node-socket.ts";
import { openAgents } from "./agents.ts";
import { sendResponse } from "../direct-responses.ts";

type NodeExchange = {
  request: IncomingMessage;
  response: ServerResponse;
  forward: Forward;
  lease: Lease;
  signal: AbortSignal;
  record: Pick<AccessRecord, "responseStarted" | "holdMs" | "connectMs" | "fault">;
  /** Called once, when the body is wanted: a client that sent `Expect: 100-continue` waits for it. */
  onBodyWanted(): void;
};

type ForwardRequest = {
  /** Resolves when the exchange is over, with any outcome, and the lease is released. */
  forward(exchange: NodeExchange): Promise<void>;
  close(): void;
};

/** `refused`: no connection; `removed`: the target no longer belongs to the container; `stale`: a pooled connection was dead. None of them sent a byte. */
type AttemptOutcome = { kind: "answered" } | { kind: "refused" | "removed" | "stale" | "failed"; fault: Fault };

/**
 * Executes decisions with the library `http-proxy` (the package http-proxy-3). The library connects, ends the connection with the client's, and reports
 * failures. Heads and bodies are written here, because the library resolves `..` in a path, forwards hop-by-hop headers, and leaves a client hanging when
 * the container dies within a body.
 */
export function openForwardRequest({
  clock,
  limits,
  dials,
}: {
  clock: Clock;
  limits: Pick<GatewayLimits, "connectTimeoutMs" | "upstreamIdleMs" | "idleTimeoutMs" | "bodyTimeoutMs" | "totalTimeoutMs">;
  dials: DialCounts;
}): ForwardRequest {
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
          if (outcome.kind === "removed" ? ++removals > MAX_REMOVALS : ++refusals > 1) break;
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
        // The time limit of the response begins when the whole request was sent.
        sent.once("finish", () => {
          if (answered) return;
          within.flows(false);
          clocks.push(
            clock.after(forward.headTimeoutMs, () => sent.destroy(new Fault("RESPONSE_TIMED_OUT", "The container did not respond in time"))),
          );
        });
        sent.once("error", fail);
        sent.once("close", () => fail(new Error("closed without a response")));
        sent.once("response", (received: IncomingMessage) => {
          answered = true;
          record.responseStarted(received.statusCode ?? 502);
          within.flows(true);
          // The limit is for the head only.
          for (const cancel of clocks.splice(0)) cancel();
          try {
            requireForwardable(received);
            response.sendDate = false;
            response.writeHead(
              received.statusCode ?? 502,
              received.statusMessage ?? "",
              forwardedLines(received.rawHeaders, forward.response(responseHeadOf(received), connectMs)).flat(),
            );
          } catch (error) {
            // It must not be forwarded, or Node does not write its status, such as 099.
            received.destroy();
            return settle({ kind: "failed", fault: error instanceof Fault ? error : brokeOff(error) });
          }
          // Sends the head now. `flushHeaders` would encode it as UTF-8, and so change every byte beyond ASCII.
          response.write("", "latin1");
          received.on("data", (chunk: Buffer) => lease.countBytes(chunk.length, "container"));
          // HTTP/1.0 has no chunks: a normal end would make an incomplete body look complete.
          if (request.httpVersion === "1.0") received.once("error", () => breakOff(request.socket));
          pipeline(received, response, () => {
            request.unpipe(sent);
            if (!sent.writableFinished) sent.destroy();
            settle({ kind: "answered" });
          });
        });
      };

      const copy = new IncomingMessage(request.socket);
      copy.method = request.method ?? "GET";
      copy.url = "/";
      const options: ServerOptions = { target: detailed(target), agent, buffer: new RequestSender(send) };
      proxy.web(copy, response, options, () => undefined);
    });
  }
}

/** The lease; its bytes also count as activity of the exchange. */
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

/** The library pipes the body into its request before it sends a byte: only here can the request be replaced. */
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
 * Faults: CONTAINER_BROKE_OFF for an upgrade that was not requested, and for a transfer coding that Node leaves on the body although its header is not
 * forwarded.
 */
function requireForwardable(received: IncomingMessage): void {
  const coding = received.headers["transfer-encoding"]?.toLowerCase() ?? "chunked";
  if (received.statusCode === 101) throw new Fault("CONTAINER_BROKE_OFF", "The container switched to a protocol that was not requested");
  if (coding !== "chunked" && coding !== "identity")
    throw new Fault("CONTAINER_BROKE_OFF", "The container used a transfer coding other than chunked");
}

function detailed(target: ForwardTarget): { host: string; port: number; socketPath?: string; protocol?: string } {
  if ("socketPath" in target) return { host: "localhost", port: 80, socketPath: target.socketPath };
  return target.tls === undefined ? target : { host: target.host, port: target.port, protocol: "https:" };
}

/** The time limits of one exchange. */
type ExchangeLimits = {
  /** Calls `act` with the fault when the exchange must end, at once if that is past. Replaces the previous `act`. */
  onLate(act: (fault: Fault) => void): void;
  /** Bytes are expected from now on, or not. `isBody`: of a request's body, before the response. Restarts the idle timeout. */
  flows(is: boolean, isBody?: boolean): void;
  /** A byte came. */
  alive(): void;
  /** Ends the exchange for another reason. */
  end(fault: Fault): void;
  stop(): void;
};

function startExchangeLimits(clock: Clock, limits: Pick<GatewayLimits, "idleTimeoutMs" | "bodyTimeoutMs" | "totalTimeoutMs">): ExchangeLimits {
  const { idleTimeoutMs, bodyTimeoutMs, totalTimeoutMs } = limits;
  let act = (_fault: Fault): void => undefined;
  let late: Fault | undefined;
  let lastAt = 0;
  let cancelIdle = () => {};

  const endWith = (fault: Fault) => {
    late = fault;
    act(fault);
  };
  const end = (message: string) => endWith(new Fault("EXCHANGE_TIMED_OUT", message));
  const cancelTotal = totalTimeoutMs === 0 ? () => {} : clock.after(totalTimeoutMs, () => end("The request took longer than allowed"));
  const watch = (ms: number, late: () => void): void => {
    const left = lastAt + ms - clock.monotonic();
    if (left > 0) cancelIdle = clock.after(left, () => watch(ms, late));
    else late();
  };
  const silent = () => end("No byte was sent in either direction for too long");

  return {
    onLate: (next) => {
      act = next;
      if (late !== undefined) act(late);
    },
    flows: (is, isBody = false) => {
      cancelIdle();
      lastAt = clock.monotonic();
      cancelIdle = () => {};
      if (!is) return;
      if (isBody && bodyTimeoutMs > 0 && (idleTimeoutMs === 0 || bodyTimeoutMs < idleTimeoutMs))
        watch(bodyTimeoutMs, () => endWith(stalledBody(bodyTimeoutMs)));
      else if (idleTimeoutMs > 0) watch(idleTimeoutMs, silent);
    },
    alive: () => {
      lastAt = clock.monotonic();
    },
    end: endWith,
    stop: () => {
      cancelTotal();
      cancelIdle();
      act = () => undefined;
    },
  };
}
