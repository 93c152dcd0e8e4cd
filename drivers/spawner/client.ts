import { createBackoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { type HttpRequest, openHttpClient } from "../../lib/http-client.ts";
import { createLineSplitter } from "../../lib/lines.ts";
import type { DeployCall } from "../driver.ts";
import { unansweredFault } from "../faults.ts";
import { answerFault, brokenOff, brokeOffAfterConnect, remoteFault } from "./faults.ts";
import { BEAT_MS, LINES, type WireLine } from "./wire.ts";

/** How this side authenticates: with the key that both sides have, or with a new token for each call. */
export type SpawnerAuth = { key: string } | { token(): Promise<string> };

export type SpawnerEndpoint = {
  host: string;
  port: number;
  /** Speak TLS. Node's own settings say which certificates are trusted. */
  tls: boolean;
  auth: SpawnerAuth;
};

type SpawnerRequest = {
  method: "GET" | "POST" | "DELETE";
  path: string;
  body?: object;
  signal: AbortSignal;
  /** Begins the sentence of a fault, such as "Stopping x". */
  doing: string;
  /** The time limit of the response, in milliseconds. */
  ms?: number;
};

export type SpawnerClient = {
  /** Its URL, for messages. */
  name: string;
  /** One JSON value; undefined for a service that the spawner does not have. Faults: those of the response, ENGINE_UNREACHABLE, ENGINE_FAILED. */
  json(request: SpawnerRequest): Promise<unknown>;
  /** The body as it arrives. Faults, before its first byte: the same. */
  stream(request: SpawnerRequest): Promise<AsyncIterable<Buffer>>;
  close(): void;
};

/** The spawner queries its engine, which has 30 s. */
const ANSWER_MS = 45_000;
const CONNECT_MS = 10_000;
const MAX_BYTES = 16 * 1_048_576;

/** Opens no connection until the first call. */
export function openSpawnerClient({ host, port, tls, auth }: SpawnerEndpoint, clock: Clock): SpawnerClient {
  const name = `${tls ? "https" : "http"}://${host.includes(":") ? `[${host}]` : host}:${port}`;
  // No connection is used twice: one that the spawner closes at that moment looks like a spawner that is away.
  const http = openHttpClient({
    clock,
    maxBytes: MAX_BYTES,
    timeoutMs: ANSWER_MS,
    connectTimeoutMs: CONNECT_MS,
    toFault: ({ cause }) => brokenOff(cause, "A call", name),
  });
  const requestOf = async ({ method, path, body, signal, doing, ms }: SpawnerRequest): Promise<HttpRequest> => ({
    method,
    url: name + path,
    headers: {
      ...("key" in auth ? { "x-api-key": auth.key } : { authorization: `Bearer ${await auth.token()}` }),
      accept: `${LINES}, application/json, text/plain`,
      "content-type": body && "application/json",
    },
    body: body && JSON.stringify(body),
    signal,
    timeoutMs: ms,
    toFault: ({ kind, why, cause }) => {
      if (kind === "overdue") return unansweredFault(`${doing}: the spawner at ${name}: ${why}`);
      if (kind === "oversized") return new Fault("ENGINE_FAILED", `${doing}: the spawner at ${name} sent a response larger than ${MAX_BYTES} bytes.`);
      return brokenOff(cause, doing, name);
    },
  });
  return {
    name,
    json: async (request) => {
      const { status, text } = await http.request(await requestOf(request));
      const refused = status < 300 ? undefined : answerFault(status, text(), request.doing, name);
      // A missing route has become another fault.
      if (refused?.status === 404) return undefined;
      if (refused) throw refused;
      try {
        return JSON.parse(text()) as unknown;
      } catch (cause) {
        throw new Fault("ENGINE_FAILED", `${request.doing}: what ${name} answered is not JSON; is it a berth spawner?`, { cause });
      }
    },
    stream: async (request) => {
      const response = await http.stream(await requestOf(request));
      if (response.status < 300) return response.stream as AsyncIterable<Buffer>;
      throw answerFault(response.status, (await response.read()).text(), request.doing, name);
    },
    close: http.close,
  };
}

/** The path of one service. */
export function servicePath(service: string): string {
  return `/services/${encodeURIComponent(service)}`;
}

/** Two missed heartbeats: the spawner, or the connection, is gone. */
const SILENCE_MS = 2 * BEAT_MS + 5_000;
const LONGEST_LINE = 1_048_576;

/**
 * The values of a response in lines. Rejects with ENGINE_UNREACHABLE if the response breaks off or falls silent. `onOpen` is called when the spawner has
 * accepted the request.
 */
export async function* lines<T>(client: SpawnerClient, clock: Clock, request: SpawnerRequest, onOpen: () => void = () => {}): AsyncGenerator<T> {
  const { signal, doing } = request;
  const own = new AbortController();
  const silent = () => own.abort(new Fault("ENGINE_UNREACHABLE", `${doing}: the spawner at ${client.name} has fallen silent.`));
  let cancel = () => {};
  try {
    const body = await client.stream({ ...request, signal: AbortSignal.any([signal, own.signal]) });
    onOpen();
    cancel = clock.after(SILENCE_MS, silent);
    const splitter = createLineSplitter();
    for await (const piece of body) {
      cancel();
      cancel = clock.after(SILENCE_MS, silent);
      for (const line of splitter.push(piece)) yield parse<T>(line, request, client.name);
      if (splitter.pending > LONGEST_LINE)
        throw new Fault("ENGINE_FAILED", `${doing}: the spawner at ${client.name} sent a line of more than ${LONGEST_LINE} characters.`);
    }
  } catch (error) {
    signal.throwIfAborted();
    own.signal.throwIfAborted();
    throw error instanceof Fault ? error : brokenOff(error, doing, client.name);
  } finally {
    cancel();
    own.abort(new Error("The reader has stopped."));
  }
}

function parse<T>(line: string, { doing }: SpawnerRequest, at: string): T {
  try {
    return JSON.parse(line) as T;
  } catch (cause) {
    throw new Fault("ENGINE_FAILED", `${doing}: what ${at} answered is not JSON; is it a berth spawner?`, { cause });
  }
}

export const RETRY_MS = { first: 250, longest: 2_000 };
/** As long as a restart of the spawner takes. Meanwhile the work continues there, or a repeated request begins it again. */
const PATIENCE_MS = 20_000;

type WorkResult = Exclude<WireLine, { pull: unknown } | { fault: unknown }>;

/**
 * Requests work that takes time, and returns its last line. If the connection breaks after the spawner accepted the request, or the spawner asks for a
 * retry, the same request is sent again: it joins the work, or repeats it. Faults: those of the spawner; ENGINE_UNREACHABLE, at once if no connection was made.
 */
export async function awaitWork(client: SpawnerClient, clock: Clock, request: SpawnerRequest, { signal, onPull }: DeployCall): Promise<WorkResult> {
  const { doing } = request;
  const delays = createBackoff(RETRY_MS.first, RETRY_MS.longest);
  let brokenAt: number | undefined;
  for (;;) {
    let accepted = false;
    try {
      for await (const line of lines<WireLine>(client, clock, { ...request, signal }, () => (accepted = true))) {
        if (!("pull" in line)) return resultOf(line, doing, client.name);
        brokenAt = undefined;
        onPull?.(line.pull);
      }
      throw brokenOff(new Error("it ended without an answer"), doing, client.name);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (error instanceof RemoteFault) throw error.fault;
      const now = clock.monotonic();
      if (!(error instanceof Fault)) throw error;
      // After a first connection the spawner may also be away for a while.
      if (accepted || error.retryAfterMs !== undefined || brokeOffAfterConnect(error)) brokenAt ??= now;
      const isPassing = error.retryAfterMs !== undefined || error.code === "ENGINE_UNREACHABLE";
      if (!isPassing || brokenAt === undefined || now - brokenAt > PATIENCE_MS) throw error;
      await clock.sleep(Math.max(delays.next(), error.retryAfterMs ?? 0), signal);
    }
  }
}

/** The result of the work, in contrast to a broken connection: the spawner's engine may be unreachable too. */
class RemoteFault extends Error {
  readonly fault: Fault;
  constructor(fault: Fault) {
    super(fault.message);
    this.fault = fault;
  }
}

function resultOf(line: Exclude<WireLine, { pull: unknown }>, doing: string, at: string): WorkResult {
  if ("fault" in line) throw new RemoteFault(remoteFault(Fault.from(line.fault), doing, at));
  return line;
}
