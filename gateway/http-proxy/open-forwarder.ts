import { Agent, type AgentOptions, type ClientRequest, IncomingMessage, request as httpRequest, type ServerResponse } from "node:http";
import { pipeline, type Stream } from "node:stream";
import { ProxyServer } from "http-proxy";
import type { Clock } from "../../lib/clock.ts";
import { setsCookie } from "../../lib/cookies.ts";
import { raceAbort } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import type { AccessRecord } from "../access-record.ts";
import type { Draining } from "../connections/closing.ts";
import type { NetConnection } from "../connections/connection.ts";
import { brokeOff, type DialCounts, dialLease, type DialResult } from "../connections/dial.ts";
import { breakOff } from "../connections/node-socket.ts";
import type { ConnectionFactory } from "../connections/open-connections.ts";
import { keyOfTarget, type Forward, type ForwardTarget, type HeaderEdits, type HeaderLine, type Lease, type ResponseHeadView } from "../decision.ts";
import { headText, sendResponse } from "../direct-responses.ts";
import { HOP_BY_HOP, mayBeNamed } from "../http1/header-lines.ts";
import { type GatewayLimits, MAX_HEAD_BYTES, stalledBody } from "../limits.ts";
import type { UpgradeContainer } from "../websockets/handshake.ts";
import { spliceWebSocket } from "../websockets/splice-websocket.ts";
import { addedLines } from "../http1/write-lines.ts";

/** The reason of the abort when a client has left. */
export const CLIENT_LEFT = new Error("the client left");

type NodeExchange = {
  request: IncomingMessage;
  response: ServerResponse;
  forward: Forward;
  lease: Lease;
  /** Aborts when the client has left, or with the fault that ends the exchange. */
  over: AbortController;
  record: AccessRecord;
  /** Called when the body is wanted: a client that sent `Expect: 100-continue` waits for it. */
  onBodyWanted(): void;
  /** Of an upgrade request: takes its connection from `response`, with the bytes after the head. */
  take?: (() => { client: NetConnection; early: Buffer }) | undefined;
};

type Forwarder = {
  /** Resolves when the exchange is over, with any outcome, and the lease is released. */
  forward(exchange: NodeExchange): Promise<void>;
  /** Requests WebSockets for clients that berth has accepted. */
  upgrade: UpgradeContainer;
  close(): void;
};

type ForwarderDeps = { clock: Clock; limits: GatewayLimits; dials: DialCounts; connections: ConnectionFactory; draining: Draining };
type ContainerRequest = Pick<Forward, "target" | "headTimeoutMs"> & { lines: readonly HeaderLine[]; signal: AbortSignal };

/** `rest`: bytes after a 101. */
type ContainerAnswer = { sent: ClientRequest; received: IncomingMessage; switched: boolean; rest: Buffer };

const CHUNKED: readonly HeaderLine[] = [["Transfer-Encoding", "chunked"]];
const SWITCH: readonly HeaderLine[] = [
  ["Connection", "Upgrade"],
  ["Upgrade", "websocket"],
];

/**
 * Executes decisions with the library `http-proxy` (the package http-proxy-3). The library creates the request, and ends it when the client leaves. Heads
 * and bodies are written here, because the library resolves `..` in a path, forwards hop-by-hop headers, and leaves a client hanging when the container
 * dies within a body. A container gets a new connection for each request, so a request is never sent twice.
 */
export function openForwarder({ clock, limits, dials, connections, draining }: ForwarderDeps): Forwarder {
  const proxy = new ProxyServer({ selfHandleResponse: true });
  /** By TLS server: a handshake costs more than a request, so these connections are used again. */
  const shared = new Map<string, Agent>();

  const sharedAgent = (lease: Lease, target: ForwardTarget): Agent | undefined => {
    if ("socketPath" in target || target.tls === undefined) return undefined;
    const key = [keyOfTarget(target), target.tls.fingerprint, target.tls.ca].join(" ");
    const existing = shared.get(key);
    if (existing !== undefined) return existing;
    // The connection outlives the exchange that began it.
    const { signal } = new AbortController();
    const options = { keepAlive: true, scheduling: "lifo", timeout: limits.upstreamIdleMs, maxFreeSockets: 64 } as const;
    const made = agentOver(() => dialLease(lease, { clock, limits, dials, signal, target }), options);
    shared.set(key, made);
    return made;
  };

  /** Faults: CONTAINER_BROKE_OFF, RESPONSE_TIMED_OUT, and those of the connect. */
  function answerTo(sent: ClientRequest, request: ContainerRequest, sendBody: () => void): Promise<ContainerAnswer> {
    const { signal, headTimeoutMs } = request;
    writeHead(sent, request);
    signal.addEventListener("abort", () => sent.destroy());
    const answer = new Promise<ContainerAnswer>((resolve, reject) => {
      sent.on("error", (error) => reject(error instanceof Fault ? error : brokeOff(error)));
      sent.once("close", () => reject(brokeOff(undefined)));
      sent.once("response", (received: IncomingMessage) => resolve({ sent, received, switched: false, rest: Buffer.alloc(0) }));
      sent.once("upgrade", (received, _socket, rest) => resolve({ sent, received, switched: true, rest }));
    });
    // The time limit of the response begins when the whole request was sent.
    sent.once("finish", () => {
      const late = () => sent.destroy(new Fault("RESPONSE_TIMED_OUT", "The container did not respond in time"));
      const cancel = clock.after(headTimeoutMs, late);
      answer.then(cancel, cancel);
    });
    sent.once("socket", (socket) => {
      // Dialled sockets are paused and half-open. Of a connection that is kept, the end must be seen.
      if (sent.shouldKeepAlive) socket.allowHalfOpen = false;
      socket.resume();
      sendBody();
    });
    return raceAbort(answer, signal);
  }

  async function forward({ request, response, forward, lease, over, record, onBodyWanted, take }: NodeExchange): Promise<void> {
    const { signal } = over;
    const { idleTimeoutMs, bodyTimeoutMs, totalTimeoutMs } = limits;
    const end = (message: string) => over.abort(new Fault("EXCHANGE_TIMED_OUT", message));
    const cancelTotal = totalTimeoutMs > 0 ? clock.after(totalTimeoutMs, () => end("The request took longer than allowed")) : () => {};
    let cancelSilence = () => {};
    let restartSilence = () => {};
    const expectBytes = (ms: number, onSilence: () => void) => {
      restartSilence = () => {
        cancelSilence();
        cancelSilence = ms > 0 ? clock.after(ms, onSilence) : () => {};
      };
      restartSilence();
    };
    const onIdle = () => end("No byte was sent in either direction for too long");
    const counted = (stream: IncomingMessage, side: "client" | "container") =>
      stream.on("data", (chunk: Buffer) => {
        restartSilence();
        lease.countBytes(chunk.length, side);
      });
    lease.setHolder?.({ revoke: (fault) => over.abort(fault) });
    // A response that has begun can only be cut off.
    signal.addEventListener("abort", () => response.headersSent && response.destroy());

    const sendBody = (sent: ClientRequest) => {
      if (!hasBody(request)) return void sent.end();
      if (bodyTimeoutMs > 0 && (idleTimeoutMs === 0 || bodyTimeoutMs < idleTimeoutMs))
        expectBytes(bodyTimeoutMs, () => over.abort(stalledBody(bodyTimeoutMs)));
      else expectBytes(idleTimeoutMs, onIdle);
      // From then on the limit of the response counts.
      sent.once("finish", () => response.headersSent || expectBytes(0, onIdle));
      onBodyWanted();
      counted(request, "client").pipe(sent);
    };

    const send = (target: ForwardTarget): Promise<ContainerAnswer> => {
      const from = clock.monotonic();
      const dial = async () => {
        const dialled = await dialLease(lease, { clock, limits, dials, signal, target });
        record.connected(dialled.connectMs);
        return dialled;
      };
      const toServer = sharedAgent(lease, target);
      const lines = forwardedLines(request.rawHeaders, forward.request, ["expect"]);
      lines.push(...(take !== undefined ? SWITCH : request.headers["transfer-encoding"] === undefined ? [] : CHUNKED));
      return new Promise((resolve) => {
        // The library pipes the body into its request before it sends a byte: only here can the request be replaced.
        const pipe = (sent: ClientRequest) => {
          const onConnected = () => {
            if (toServer !== undefined && !sent.reusedSocket) record.connected(clock.monotonic() - from);
            sendBody(sent);
          };
          resolve(answerTo(sent, { ...forward, lines, signal }, onConnected));
        };
        const bare = Object.assign(new IncomingMessage(request.socket), { method: request.method, url: "/" });
        const host = "socketPath" in target ? { host: "localhost", port: 80 } : { host: target.host, port: target.port };
        const agent = toServer ?? agentOver(dial);
        proxy.web(bare, response, { target: host, agent, buffer: { pipe } as unknown as Stream }, () => undefined);
      });
    };

    const respond = async ({ sent, received }: ContainerAnswer, lines: readonly HeaderLine[]) => {
      record.responseStarted(received.statusCode ?? 0);
      try {
        requireForwardable(received);
        response.sendDate = false;
        response.writeHead(received.statusCode ?? 0, received.statusMessage, lines.flat());
      } catch (error) {
        // Node does not write some statuses that it reads, such as 099.
        received.socket.destroy();
        throw error instanceof Fault ? error : brokeOff(error);
      }
      // Sends the head now. `flushHeaders` would encode it as UTF-8, and so change every byte beyond ASCII.
      response.write("", "latin1");
      expectBytes(idleTimeoutMs, onIdle);
      received.once("error", (error) => {
        // HTTP/1.0 has no chunks: a normal end would make an incomplete body look complete.
        if (request.httpVersion === "1.0") breakOff(request.socket);
        over.abort(brokeOff(error));
      });
      await new Promise<void>((resolve) => {
        // Node's pipeline does not call back where a client leaves between the container's last byte and its own.
        response.once("close", resolve);
        pipeline(counted(received, "container"), response, () => resolve());
      });
      if (!received.readableEnded) received.destroy();
      request.unpipe(sent);
      if (!sent.writableFinished) sent.destroy();
    };

    try {
      const from = clock.monotonic();
      const target = await raceAbort(Promise.resolve(lease.target({ signal })), signal);
      record.held(clock.monotonic() - from);
      const answer = await send(target);
      const { received, rest } = answer;
      const lines = forwardedLines(received.rawHeaders, forward.response(viewOf(received), record.connectMs));
      if (take === undefined || !answer.switched) return await respond(answer, lines);
      cancelTotal();
      const { client, early } = take();
      client.sendText(headText(101, received.statusMessage ?? "", [...SWITCH, ...lines]));
      const container = connections.adoptStream(received.socket);
      await spliceWebSocket({ client, container, early: [early], rest, lease, draining, record, clock, limits });
    } catch (error) {
      if (signal.reason === CLIENT_LEFT) return;
      if (!(error instanceof Fault)) throw error;
      record.failed(error.code);
      sendResponse(response, forward.respondTo(error));
    } finally {
      cancelTotal();
      cancelSilence();
      lease.release();
    }
  }

  return {
    forward,
    upgrade: async ({ lease, ...request }) => {
      const sent = httpRequest({ agent: agentOver(() => dialLease(lease, { clock, limits, dials, signal: request.signal })) });
      const { received, switched, rest } = await answerTo(sent, request, () => sent.end());
      return { ...viewOf(received), reason: received.statusMessage ?? "", switched, container: connections.adoptStream(received.socket), rest };
    },
    close: () => {
      for (const agent of shared.values()) agent.destroy();
    },
  };
}

function agentOver(dial: () => Promise<Pick<DialResult, "socket">>, options: AgentOptions = {}): Agent {
  const agent = new Agent(options);
  agent.createConnection = (_options, settle) => {
    dial().then(
      ({ socket }) => settle?.(null, socket),
      (error: Error) => settle?.(error, undefined as never),
    );
    return undefined;
  };
  return agent;
}

/** Node removes the chunks of a body, and creates new ones. */
const OF_THE_BODY: readonly string[] = ["trailer", "transfer-encoding"];

/** The forwarded lines in their own order and case, after the edits. `rawHeaders`: Node's flat list of names and values. */
export function forwardedLines(rawHeaders: readonly string[], edits: HeaderEdits, alsoDropped: readonly string[] = []): HeaderLine[] {
  const { remove, removeCookies = [] } = edits;
  const dropped = new Set([...HOP_BY_HOP, ...OF_THE_BODY, ...remove, ...alsoDropped]);
  const names = namesOf(rawHeaders);
  const valueAt = (index: number) => rawHeaders[2 * index + 1] ?? "";
  for (const [index, name] of names.entries()) {
    if (name !== "connection") continue;
    for (const named of valueAt(index).toLowerCase().split(",")) if (mayBeNamed(named.trim())) dropped.add(named.trim());
  }
  const lines: HeaderLine[] = [];
  for (const [index, name] of names.entries())
    if (!dropped.has(name) && !(name === "set-cookie" && setsCookie(valueAt(index), removeCookies)))
      lines.push([rawHeaders[2 * index] ?? "", valueAt(index)]);
  return [...lines, ...addedLines(edits)];
}

/** In lower case. */
export function namesOf(rawHeaders: readonly string[]): string[] {
  return rawHeaders.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase());
}

/** Replaces the library's head. Node writes lines of one name together, under the first one's spelling. */
function writeHead(sent: ClientRequest, { target, lines }: ContainerRequest): void {
  // 0 removes Node's limit of 1000 lines, beyond which it silently drops lines.
  Object.assign(sent, { path: target, maxHeaderSize: MAX_HEAD_BYTES, maxHeadersCount: 0 });
  // The library sets a length of 0 for DELETE, which may have a body.
  sent.removeHeader("content-length");
  const written = new Set<string>();
  for (const [name, value] of lines) {
    if (written.has(name.toLowerCase())) sent.appendHeader(name, value);
    else sent.setHeader(name, value);
    written.add(name.toLowerCase());
  }
}

export function headerOf({ headers }: IncomingMessage, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value.join(", ") : value;
}

function viewOf(received: IncomingMessage): ResponseHeadView {
  return { status: received.statusCode ?? 0, header: (name) => headerOf(received, name), names: () => namesOf(received.rawHeaders) };
}

/** Faults: CONTAINER_BROKE_OFF for what was not requested, and for what Node leaves on the body although its header is not forwarded. */
function requireForwardable({ statusCode, headers }: IncomingMessage): void {
  if (statusCode === 101) throw new Fault("CONTAINER_BROKE_OFF", "The container switched to a protocol that was not requested");
  if (!/^(chunked|identity)$/i.test(headers["transfer-encoding"] ?? "chunked"))
    throw new Fault("CONTAINER_BROKE_OFF", "The container used a transfer coding other than chunked");
}

export function hasBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}
