import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { type HttpRequest, openHttpClient } from "../../lib/http-client.ts";
import { answerFault, brokenOff, isFault } from "./faults.ts";
import { LINES, BEAT_MS } from "./wire.ts";
import { createLineSplitter } from "../../lib/split-lines.ts";

/** How this side shows who it is: the key that both know, or a token that is made for each call. */
export type SpawnerAuth = { key: string } | { token(): Promise<string> };

export type SpawnerAt = {
  host: string;
  port: number;
  /** Speak TLS; whose certificates are believed is Node's own to say. */
  tls: boolean;
  auth: SpawnerAuth;
};

export type SpawnerRequest = {
  method: "GET" | "POST" | "DELETE";
  path: string;
  body?: object;
  signal: AbortSignal;
  /** What begins the sentence of a failure, such as "Stopping x". */
  doing: string;
  /** Until the head of the answer, in milliseconds. */
  ms?: number;
};

export type SpawnerClient = {
  /** Where it is, for people. */
  name: string;
  /** One JSON value; undefined for a service that is not known there. Faults: what the spawner answered with, ENGINE_UNREACHABLE, ENGINE_FAILED. */
  json(request: SpawnerRequest): Promise<unknown>;
  /** The body as it comes, which ends with the signal or by itself. Faults, before its first byte: the same. */
  stream(request: SpawnerRequest): Promise<AsyncIterable<Buffer>>;
  close(): void;
};

/** The spawner asks its engine, which has 30 s. */
const ANSWER_MS = 45_000;
const CONNECT_MS = 10_000;
const MAX_BYTES = 16 * 1_048_576;

/** Opens no connection until the first call. */
export function openSpawnerClient({ host, port, tls, auth }: SpawnerAt, clock: Clock): SpawnerClient {
  const name = `${tls ? "https" : "http"}://${host.includes(":") ? `[${host}]` : host}:${port}`;
  // No connection is used twice: one that the spawner closes while it is taken again looks like a spawner that is away.
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
      if (kind === "overdue") return new Fault("ENGINE_FAILED", `${doing}: the spawner at ${name}: ${why}.`);
      if (kind === "oversized") return new Fault("ENGINE_FAILED", `${doing}: the spawner at ${name} sent a response larger than ${MAX_BYTES} bytes.`);
      return brokenOff(cause, doing, name);
    },
  });
  return {
    name,
    json: async (request) => {
      const { status, text } = await http.request(await requestOf(request));
      const refused = status < 300 ? undefined : answerFault(status, text(), request.doing, name);
      // A route that is missing is another fault by now.
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

/** Where a spawner has one service. */
export function servicePath(service: string): string {
  return `/services/${encodeURIComponent(service)}`;
}

/** Two beats that were missed: the other side, or the way there, is no more. */
const SILENCE_MS = 2 * BEAT_MS + 5_000;
const LONGEST_LINE = 1_048_576;

/**
 * The values of an answer in lines. Ends when the answer does; rejects with ENGINE_UNREACHABLE where it breaks off or falls silent, and with the
 * signal's reason. `onOpen` is called once the spawner has taken the question.
 */
export async function* lines<T>(client: SpawnerClient, clock: Clock, question: SpawnerRequest, onOpen: () => void = () => {}): AsyncGenerator<T> {
  const { signal, doing } = question;
  const own = new AbortController();
  const silent = () => own.abort(new Fault("ENGINE_UNREACHABLE", `${doing}: the spawner at ${client.name} has fallen silent.`));
  let cancel = () => {};
  try {
    const body = await client.stream({ ...question, signal: AbortSignal.any([signal, own.signal]) });
    onOpen();
    cancel = clock.after(SILENCE_MS, silent);
    const splitter = createLineSplitter();
    for await (const piece of body) {
      cancel();
      cancel = clock.after(SILENCE_MS, silent);
      for (const line of splitter.push(piece)) yield parse<T>(line, question, client.name);
      if (splitter.pending > LONGEST_LINE)
        throw new Fault("ENGINE_FAILED", `${doing}: the spawner at ${client.name} said more in a line than can be meant.`);
    }
  } catch (error) {
    signal.throwIfAborted();
    own.signal.throwIfAborted();
    throw isFault(error) ? error : brokenOff(error, doing, client.name);
  } finally {
    cancel();
    own.abort(new Error("Nobody reads on."));
  }
}

function parse<T>(line: string, { doing }: SpawnerRequest, at: string): T {
  try {
    return JSON.parse(line) as T;
  } catch (cause) {
    throw new Fault("ENGINE_FAILED", `${doing}: what ${at} answered is not JSON; is it a berth spawner?`, { cause });
  }
}
