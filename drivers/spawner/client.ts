import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { type HttpRequest, openHttpClient } from "../../lib/http-client.ts";
import { unansweredFault } from "../faults.ts";
import { answerFault, brokenOff, isFault, brokeOffAfterConnect, saidFault } from "./faults.ts";
import { LINES, BEAT_MS, type WireLine } from "./wire.ts";
import { createLineSplitter } from "../../lib/split-lines.ts";
import { createBackoff } from "../../lib/backoff.ts";
import type { DeployCall } from "../driver.ts";

/** How this side shows who it is: the key that both know, or a token that is made for each call. */
export type SpawnerAuth = { key: string } | { token(): Promise<string> };

export type SpawnerEndpoint = {
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
export function openSpawnerClient({ host, port, tls, auth }: SpawnerEndpoint, clock: Clock): SpawnerClient {
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

const RETRY_MS = { first: 250, longest: 2_000 };
/** What was under way when the connection broke goes on there, or is found by who asks again: worth as long as a restart takes. */
const PATIENCE_MS = 20_000;

type WorkResult = Exclude<WireLine, { pull: unknown } | { fault: unknown }>;

/**
 * Asks for something that takes its time, and answers with its last line. Where the connection breaks after the spawner was there, or it says
 * to come again, the same is asked again: it joins what goes on, or does again what may be repeated. Faults: those of the far side;
 * ENGINE_UNREACHABLE, at once where it never was there.
 */
export async function awaitWork(client: SpawnerClient, clock: Clock, question: SpawnerRequest, { signal, onPull }: DeployCall): Promise<WorkResult> {
  const { doing } = question;
  const delays = createBackoff(RETRY_MS.first, RETRY_MS.longest);
  let brokenAt: number | undefined;
  for (;;) {
    let taken = false;
    try {
      for await (const line of lines<WireLine>(client, clock, { ...question, signal }, () => (taken = true))) {
        if (!("pull" in line)) return resultOf(line, doing, client.name);
        brokenAt = undefined;
        onPull?.(line.pull);
      }
      throw brokenOff(new Error("it ended without an answer"), doing, client.name);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (error instanceof FarFault) throw error.fault;
      const now = clock.monotonic();
      if (!(error instanceof Fault)) throw error;
      // Once it was there, it may also be gone altogether for a while.
      if (taken || error.retryAfterMs !== undefined || brokeOffAfterConnect(error)) brokenAt ??= now;
      const isPassing = error.retryAfterMs !== undefined || error.code === "ENGINE_UNREACHABLE";
      if (!isPassing || brokenAt === undefined || now - brokenAt > PATIENCE_MS) throw error;
      await clock.sleep(Math.max(delays.next(), error.retryAfterMs ?? 0), signal);
    }
  }
}

/** What came of it there, which is not to be taken for a connection that broke: its engine may be unreachable too. */
class FarFault extends Error {
  readonly fault: Fault;
  constructor(fault: Fault) {
    super(fault.message);
    this.fault = fault;
  }
}

function resultOf(line: Exclude<WireLine, { pull: unknown }>, doing: string, at: string): WorkResult {
  if ("fault" in line) throw new FarFault(saidFault(Fault.from(line.fault), doing, at));
  return line;
}
