import { Agent, type IncomingHttpHeaders, type IncomingMessage, request as plainRequest, type RequestOptions } from "node:http";
import { Agent as SecureAgent, request as secureRequest, type RequestOptions as TlsRequestOptions } from "node:https";
import { isIP, type Socket } from "node:net";
import { Readable } from "node:stream";
import type { Clock } from "./clock.ts";
import { openDeadline, raceAbort } from "./deadline.ts";
import { hasMoreValues, parseJson } from "./parse-json.ts";

/**
 * Why there is no response: `unreachable` before its head, `broken` after it, `overdue` at the time limit, `oversized` beyond `maxBytes`. `why` is a
 * clause for a sentence: an error code of Node, or words.
 */
export type HttpFailure = { kind: "unreachable" | "broken" | "overdue" | "oversized"; url: URL; why: string; cause?: unknown };

export type HttpClientOptions = {
  clock: Clock;
  /** For a response that is read as a whole. */
  maxBytes: number;
  /** From the call to the last byte; for a stream, to the head of its response. */
  timeoutMs: number;
  /** To an open connection, with TLS where the URL has it. */
  connectTimeoutMs?: number;
  /** Without a byte in either direction. */
  idleTimeoutMs?: number;
  /** The system probes a connection without traffic so often, and so notices a server that vanished. */
  keepAliveProbeMs?: number;
  /** How many connections to one host may be open; idle ones are used again. Without it, each request has a connection of its own. */
  connections?: number;
  /** Every request goes to this Unix socket, whatever host its URL names. */
  socketPath?: string;
  /** Opens every connection, whatever host the URL names. */
  connect?: () => Socket;
  /** Further options of Node's request, such as those of TLS. */
  options?: SecureRequestOptions;
  /** What a failed request rejects with. An abort of the caller's signal rejects with the signal's reason. */
  toFault(failure: HttpFailure): Error;
};

export type SecureRequestOptions = Omit<TlsRequestOptions, "servername" | "rejectUnauthorized"> & {
  servername?: string | undefined;
  rejectUnauthorized?: boolean | undefined;
};

export type HttpRequest = {
  method?: string;
  url: string | URL;
  /** A header without a value is left out. */
  headers?: Record<string, string | number | undefined>;
  body?: string | Uint8Array | Readable | undefined;
  signal?: AbortSignal | undefined;
  /** Connects to this IP address; the URL's host still names the server to its TLS and in `Host`. */
  address?: string | undefined;
  options?: SecureRequestOptions;
  timeoutMs?: number | undefined;
  toFault?: HttpClientOptions["toFault"];
};

type HttpHead = {
  status: number;
  /** A header's value; several are joined by commas. */
  header(name: string): string | undefined;
  headers: IncomingHttpHeaders;
};
export type HttpReply = HttpHead & { body: Buffer; text(): string };
/** `read` takes the whole body after all, such as that of a refusal, under the limits of `request`. */
export type HttpStream = HttpHead & { stream: IncomingMessage; read(): Promise<HttpReply> };

/** HTTP/1.1 with limits on time and size. It follows no redirect: one could lead credentials to another host. */
export type HttpClient = {
  /** The whole response, whatever its status. */
  request(request: HttpRequest): Promise<HttpReply>;
  /** Resolves with the head; the stream lasts until it ends or the caller's signal aborts. */
  stream(request: HttpRequest): Promise<HttpStream>;
  /** Ends open requests too. */
  close(): void;
};

/** Idle connections are closed before most servers close them. */
const KEEP_IDLE_MS = 4_000;

export function openHttpClient(client: HttpClientOptions): HttpClient {
  const agents = new Map<string, Agent>();
  const closing = new AbortController();
  const agentOf = (protocol: string): Agent | false => {
    const { connections, connect } = client;
    if (connections === undefined && connect === undefined) return false;
    const agent = agents.get(protocol) ?? new (protocol === "https:" ? SecureAgent : Agent)(poolOptions(connections));
    if (connect) agent.createConnection = () => connect();
    agents.set(protocol, agent);
    return agent;
  };
  const send = (url: URL, request: HttpRequest, signal: AbortSignal): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const { method = "GET", body, address } = request;
      const options = {
        // Not the URL itself, whose user and password would be sent.
        hostname: url.hostname.replace(/^\[|\]$/g, ""),
        port: url.port,
        path: url.pathname + url.search,
        method,
        headers: headersOf(request),
        signal,
        agent: agentOf(url.protocol),
        ...(client.socketPath === undefined ? {} : { socketPath: client.socketPath }),
        ...(address === undefined ? {} : { lookup: lookupOf(address) }),
        ...client.options,
        ...request.options,
      };
      const sent = (url.protocol === "https:" ? secureRequest : plainRequest)(options, (response) => {
        // A server that refuses early does not read the rest of the body.
        response.once("close", () => sent.writableFinished || sent.destroy());
        resolve(response);
      });
      sent.once("error", reject);
      const { connectTimeoutMs, idleTimeoutMs, keepAliveProbeMs } = client;
      // The agent's limit is for idle connections: a connect has limits of its own.
      sent.once("socket", (socket) => socket.connecting && socket.setTimeout(0));
      if (keepAliveProbeMs !== undefined) sent.once("socket", (socket) => socket.setKeepAlive(true, keepAliveProbeMs));
      if (connectTimeoutMs !== undefined)
        sent.once("socket", (socket) => limitConnect(socket, { clock: client.clock, ms: connectTimeoutMs, secure: url.protocol === "https:" }));
      if (idleTimeoutMs !== undefined) sent.setTimeout(idleTimeoutMs, () => sent.destroy(new Error(`no data for ${idleTimeoutMs / 1_000} s`)));
      if (!(body instanceof Readable)) return void sent.end(body);
      body.once("error", (error) => sent.destroy(error));
      body.pipe(sent);
    });
  /** Runs a task under the request's limits, and translates its error. */
  const limited = async <T>(request: HttpRequest, task: (url: URL, signal: AbortSignal) => Promise<T>): Promise<T> => {
    request.signal?.throwIfAborted();
    const { toFault = client.toFault, timeoutMs: ms = client.timeoutMs } = request;
    const url = new URL(request.url);
    const overdue = () => toFault({ kind: "overdue", url, why: `no response within ${ms / 1_000} s` });
    const deadline = openDeadline({ clock: client.clock, ms, overdue, signal: request.signal });
    try {
      return await raceAbort(task(url, deadline.signal), deadline.signal);
    } catch (error) {
      if (deadline.signal.aborted) throw deadline.signal.reason;
      const { kind, cause } = error instanceof ResponseError ? error : { kind: "unreachable" as const, cause: error };
      throw toFault({ kind, url, why: reasonOf(cause), cause });
    } finally {
      deadline.close();
    }
  };
  return {
    request: (request) =>
      limited(request, async (url, signal) => {
        const response = await send(url, request, AbortSignal.any([signal, closing.signal]));
        return readReply(response, client.maxBytes);
      }),
    stream: (request) =>
      limited(request, async (url, signal) => {
        const until = [signal, closing.signal, ...(request.signal ? [request.signal] : [])];
        const response = await send(url, request, AbortSignal.any(until));
        const read = () => limited(request, () => readReply(response, client.maxBytes)).finally(() => response.destroy());
        return { ...headOf(response), stream: response, read };
      }),
    close: () => {
      closing.abort(new Error("the client is closed"));
      for (const agent of agents.values()) agent.destroy();
    },
  };
}

/** One request to a process of this machine. Undefined if no process listens on the socket. */
export async function requestSocket(client: HttpClientOptions & { socketPath: string }, request: HttpRequest): Promise<HttpReply | undefined> {
  let isAbsent = false;
  const toFault = (failure: HttpFailure) => {
    isAbsent = failure.why === "ENOENT" || failure.why === "ECONNREFUSED";
    return client.toFault(failure);
  };
  const { request: send, close } = openHttpClient({ ...client, toFault });
  try {
    return await send(request);
  } catch (error) {
    if (isAbsent) return undefined;
    throw error;
  } finally {
    close();
  }
}

/** The code that Node or the system gave an error, else its message. */
export function reasonOf(error: unknown): string {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: string };
  return typeof code === "string" ? code : (message ?? String(error));
}

/** The response began, and failed. */
class ResponseError extends Error {
  readonly kind: "broken" | "oversized";
  constructor(kind: "broken" | "oversized", cause: unknown) {
    super("The response failed.", { cause });
    this.kind = kind;
  }
}

/** Rejects where the body is larger than `maxBytes`. */
async function readReply(response: IncomingMessage, maxBytes: number): Promise<HttpReply> {
  const pieces: Buffer[] = [];
  let size = 0;
  try {
    for await (const piece of response as AsyncIterable<Buffer>) {
      size += piece.length;
      if (size > maxBytes) throw new ResponseError("oversized", new Error(`the response is larger than ${maxBytes} bytes`));
      pieces.push(piece);
    }
  } catch (error) {
    throw error instanceof ResponseError ? error : new ResponseError("broken", error);
  }
  const body = Buffer.concat(pieces);
  return { ...headOf(response), body, text: () => body.toString("utf8") };
}

function headOf({ statusCode: status = 500, headers }: IncomingMessage): HttpHead {
  return {
    status,
    headers,
    header: (name) => {
      const value = headers[name];
      return Array.isArray(value) ? value.join(", ") : value;
    },
  };
}

/** The length is sent for every method: Node frames the body of a DELETE by nothing. */
function headersOf({ headers = {}, body }: HttpRequest): Record<string, string | number> {
  const all: Record<string, string | number> = body === undefined || body instanceof Readable ? {} : { "content-length": Buffer.byteLength(body) };
  for (const [name, value] of Object.entries(headers)) if (value !== undefined) all[name] = value;
  return all;
}

function poolOptions(connections: number | undefined) {
  return connections === undefined ? { keepAlive: false } : { keepAlive: true, maxSockets: connections, timeout: KEEP_IDLE_MS };
}

function lookupOf(address: string): NonNullable<RequestOptions["lookup"]> {
  const family = isIP(address);
  return (_name, { all }, done) => (all ? done(null, [{ address, family }]) : done(null, address, family));
}

function limitConnect(socket: Socket, { clock, ms, secure }: { clock: Clock; ms: number; secure: boolean }): void {
  if (!socket.connecting) return;
  const cancel = clock.after(ms, () => socket.destroy(new Error(`no connection within ${ms / 1_000} s`)));
  socket.once(secure ? "secureConnect" : "connect", cancel).once("close", cancel);
}

/** No server may demand a longer pause. */
const LONGEST_RETRY_MS = 3_600_000;

/** `Retry-After` (RFC 9110 §10.2.3), in seconds or as a date; undefined if there is none, or none that is valid. `now` in epoch ms. */
export function retryAfterMs({ header }: Pick<HttpReply, "header">, now: number): number | undefined {
  const value = header("retry-after")?.trim();
  if (value === undefined) return undefined;
  const ms = /^\d{1,9}$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - now;
  return Number.isFinite(ms) ? Math.min(Math.max(0, ms), LONGEST_RETRY_MS) : undefined;
}

/** Strings, objects and arrays in one reply: JSON.parse takes some 30 ms for so many, and the lists of real servers have some thousand. */
export const MOST_REPLY_VALUES = 80_000;

/** The JSON in another server's reply; undefined where it is none, or holds so much that parsing it would keep other requests waiting. */
export function parseReply(text: string, most = MOST_REPLY_VALUES): unknown {
  if (hasMoreValues(text, most)) return undefined;
  return parseJson(text);
}
