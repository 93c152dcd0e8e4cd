import type { Clock } from "../../lib/clock.ts";
import { backoffDelay } from "../../lib/backoff.ts";
import { Fault } from "../../lib/fault.ts";
import { type HttpFailure, openHttpClient } from "../../lib/http-client.ts";
import { parseReply } from "../../lib/parse-reply.ts";
import { trimTrailing } from "../../lib/trim-trailing.ts";
import type { CallerReply } from "../contract.ts";

export type DatagrokReply = { status: number; /** Undefined where it is no JSON, or too much of it. */ body: unknown };

/** `holds`: the server may hold the answer back for longer than that, which says nothing of it. */
export type DatagrokRequestOptions = { signal: AbortSignal; limitMs: number; holds?: true };

export type DatagrokClient = {
  /**
   * What the server answers to a GET; `path` begins below `/api`. Faults: DATAGROK_AWAY where it cannot be reached, broke off, took longer than
   * `limitMs`, or what stands before it says so; and at once for a while after that. An abort rejects with the signal's reason.
   */
  get(path: string, token: string, asked: DatagrokRequestOptions): Promise<DatagrokReply>;
  /** The same of any method without a body, with `authorization` as it stands. */
  request(method: "GET" | "POST", path: string, authorization: string, asked: DatagrokRequestOptions): Promise<DatagrokReply>;
  close(): void;
};

/** Of one kind that may wait for an answer at a time, before more are refused. */
export const MAX_REQUESTS = 1_000;
const CONNECT_MS = 5_000;
/** Each request has a shorter limit of its own. */
const LONGEST_MS = 3_600_000;
/** An entity holds the last lines that a container wrote. */
const MAX_BYTES = 4 * 1_048_576;
const RETRY = { firstMs: 250, longestMs: 5_000 };
/** What a load balancer answers where nobody is behind it; the last one also where it has waited for long enough. */
const GATEWAY_STATUSES: ReadonlySet<number> = new Set([502, 503, 504]);
/** What a header can carry as one word: anything else is nobody's token, and must not become a scheme of its own (`Dev <key>`). */
const ONE_WORD = /^[\x21-\x7e]+$/;

/** Asks a Datagrok server in the name of whoever holds `token`, over at most `connections`; it follows no redirect. `url` is its API, with `/api`. */
export function openDatagrokClient(parts: { url: string; connections: number; clock: Clock }): DatagrokClient {
  const { clock, connections } = parts;
  const base = apiOf(parts.url);
  const client = openHttpClient({ clock, maxBytes: MAX_BYTES, timeoutMs: LONGEST_MS, connectTimeoutMs: CONNECT_MS, connections, toFault });
  let failures = 0;
  let askAgainAt = -Infinity;

  const heard = () => {
    failures = 0;
    askAgainAt = -Infinity;
  };
  const failed = () => {
    const now = clock.monotonic();
    // Of many that fail together one counts.
    if (now >= askAgainAt) askAgainAt = now + backoffDelay(RETRY, ++failures);
  };

  const ask: DatagrokClient["request"] = async (method, path, authorization, { signal, limitMs, holds }) => {
    if (clock.monotonic() < askAgainAt) throw serverAway("cannot be reached");
    // The end of a response that the server may hold back says nothing of the server: other requests are not to wait for it.
    let mayBeHeld = false;
    try {
      const reply = await client.request({
        method,
        url: base + path,
        headers: { authorization, accept: "application/json" },
        signal,
        timeoutMs: limitMs,
        toFault: (failure) => {
          mayBeHeld = holds === true && failure.kind === "overdue";
          return toFault(failure);
        },
      });
      const said = parseReply(reply.text());
      mayBeHeld = holds === true && reply.status === 504;
      if (GATEWAY_STATUSES.has(reply.status) && !isApiError(said)) throw serverAway(`is not behind its address (${reply.status})`);
      heard();
      return { status: reply.status, body: said };
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (!mayBeHeld) failed();
      throw error;
    }
  };
  return {
    request: ask,
    get: async (path, token, asked) => (ONE_WORD.test(token) ? ask("GET", path, token, asked) : { status: 401, body: undefined }),
    close: client.close,
  };
}

function toFault({ kind, why, cause }: HttpFailure): Fault {
  if (kind === "overdue") return serverAway("did not answer in time");
  return kind === "oversized" ? serverAway(`sent a response larger than ${MAX_BYTES} bytes`) : serverAway(`cannot be reached (${why})`, cause);
}

export function serverAway(why: string, cause?: unknown): Fault {
  return new Fault("DATAGROK_AWAY", `The Datagrok server ${why}; it should be back in a moment`, { cause, retryAfterMs: 1_000 });
}

export function serverBusy(): Fault {
  return new Fault("DATAGROK_BUSY", `The Datagrok server is being asked ${MAX_REQUESTS} questions already`, { retryAfterMs: 1_000 });
}

/** The sentence of an error body, where it is one. */
export function sentenceOf(said: unknown): string | undefined {
  return isApiError(said) && said.message.trim() !== "" ? said.message.trim() : undefined;
}

/** Without a slash at the end, and always with `/api`. */
export function apiOf(url: string): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${trimTrailing(pathname, "/").replace(/\/api$/, "")}/api`;
}

function isApiError(said: unknown): said is { message: string } {
  return typeof said === "object" && said !== null && "message" in said && typeof said.message === "string";
}

const PAGE = 100;
const MOST_PAGES = 1_000;
const LIST_TIMEOUT_MS = 30_000;

/**
 * All entities below `path`, page by page; those of a page that came before, from a server that knows no pages, once. Faults: NOT_PERMITTED,
 * DATAGROK_AWAY, DATAGROK_BROKE_OFF.
 */
export async function listPages(server: DatagrokClient, path: string, token: string, signal: AbortSignal): Promise<unknown[]> {
  const found = new Map<unknown, unknown>();
  for (let page = 1; page <= MOST_PAGES; page++) {
    const { status, body: said } = await server.get(`${path}?limit=${PAGE}&page=${page}&order=name`, token, { signal, limitMs: LIST_TIMEOUT_MS });
    if (status === 401 || status === 403) throw new Fault("NOT_PERMITTED", `The Datagrok server does not let you list ${path}.`);
    if (status !== 200 || !Array.isArray(said))
      throw new Fault("DATAGROK_BROKE_OFF", `The Datagrok server answered ${path} with ${sentenceOf(said) ?? `what is no list (${status})`}.`);
    const before = found.size;
    for (const entity of said as unknown[]) found.set((entity as { id?: unknown } | null)?.id ?? found.size, entity);
    if (said.length < PAGE || found.size === before) return [...found.values()];
  }
  throw new Fault("DATAGROK_BROKE_OFF", `The Datagrok server has more than ${PAGE * MOST_PAGES} entities at ${path}, or its pages do not end.`);
}

const CALLER_TIMEOUT_MS = 5_000;

/** Who holds a session's token, as the server says it; undefined where nobody does, or no longer. Faults: DATAGROK_AWAY. */
export async function findCaller(server: DatagrokClient, token: string, signal: AbortSignal): Promise<CallerReply | undefined> {
  const { status, body: said } = await server.get("/users/current", token, { signal, limitMs: CALLER_TIMEOUT_MS });
  if (status === 401 || status === 403 || (status === 200 && said === null)) return undefined;
  const { id, login, admin } = (said ?? {}) as { id?: unknown; login?: unknown; admin?: unknown };
  if (status !== 200 || typeof id !== "string" || typeof login !== "string") throw serverAway(`does not say who is signed in (${status})`);
  return { userId: id, login, admin: admin === true };
}

const SIGN_IN_TIMEOUT_MS = 10_000;

/** A session token for a developer key. Faults: DEV_KEY_INVALID, TOO_MANY_ATTEMPTS, DATAGROK_AWAY, DATAGROK_BROKE_OFF. */
export async function signInWithKey(server: DatagrokClient, key: string, signal: AbortSignal): Promise<string> {
  const { status, body: said } = await server.request("POST", "/users/login/dev", `Dev ${key}`, { signal, limitMs: SIGN_IN_TIMEOUT_MS });
  const { isSuccess, token } = (said ?? {}) as { isSuccess?: unknown; token?: unknown };
  if (status < 300 && isSuccess !== false && typeof token === "string" && token !== "") return token;
  if (status === 401 || status === 403 || isSuccess === false)
    throw new Fault("DEV_KEY_INVALID", "The Datagrok server does not take the developer key.");
  if (status === 429)
    throw new Fault("TOO_MANY_ATTEMPTS", "The Datagrok server was shown too many wrong developer keys; wait a little.", { retryAfterMs: 5_000 });
  if (status >= 500) throw serverAway(`answered the developer key with ${status}`);
  throw new Fault("DATAGROK_BROKE_OFF", `What is asked is no Datagrok server: it answered users/login/dev below its API with ${status}.`);
}
