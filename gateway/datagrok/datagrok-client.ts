import type { Clock } from "../../lib/clock.ts";
import { backoffDelay } from "../../lib/backoff.ts";
import { Fault } from "../../lib/fault.ts";
import { type HttpFailure, openHttpClient, parseReply } from "../../lib/http-client.ts";
import { trimTrailing } from "../../lib/character-classes.ts";
import type { CallerReply } from "../contract.ts";

type DatagrokReply = { status: number; /** Undefined if it is not JSON, or has too many values. */ body: unknown };

/** `holds`: the server may delay the reply beyond the limit without being away. */
type DatagrokRequestOptions = { signal: AbortSignal; limitMs: number; holds?: true };

export type DatagrokClient = {
  /**
   * Sends a GET; `path` begins below `/api`. Faults: DATAGROK_AWAY if the server cannot be reached, breaks the connection, takes longer than `limitMs`,
   * or a load balancer reports that; and without a request for a while after that. An abort rejects with the signal's reason.
   */
  get(path: string, token: string, options: DatagrokRequestOptions): Promise<DatagrokReply>;
  /** The same for any method without a body, with this `Authorization`. */
  request(method: "GET" | "POST", path: string, authorization: string, options: DatagrokRequestOptions): Promise<DatagrokReply>;
  close(): void;
};

/** Requests of one kind that may wait at a time. More are refused. */
export const MAX_REQUESTS = 1_000;
const CONNECT_MS = 5_000;
/** Each request has a shorter limit of its own. */
const LONGEST_MS = 3_600_000;
/** An entity has the log tail of its container. */
const MAX_BYTES = 4 * 1_048_576;
const RETRY = { firstMs: 250, longestMs: 5_000 };
/** The statuses of a load balancer without a server; 504 also after its own time limit. */
const GATEWAY_STATUSES: ReadonlySet<number> = new Set([502, 503, 504]);
/** One word of a header. Any other text is not a token, and must not become a scheme (`Dev <key>`). */
const ONE_WORD = /^[\x21-\x7e]+$/;

/** Sends requests to a Datagrok server with a caller's token, over at most `connections`. It follows no redirect. `url` is the API, with `/api`. */
export function openDatagrokClient(deps: { url: string; connections: number; clock: Clock }): DatagrokClient {
  const { clock, connections } = deps;
  const base = apiOf(deps.url);
  const client = openHttpClient({ clock, maxBytes: MAX_BYTES, timeoutMs: LONGEST_MS, connectTimeoutMs: CONNECT_MS, connections, toFault });
  let failures = 0;
  let retryAt = -Infinity;

  const succeeded = () => {
    failures = 0;
    retryAt = -Infinity;
  };
  const failed = () => {
    const now = clock.monotonic();
    // Many requests that fail together count once.
    if (now >= retryAt) retryAt = now + backoffDelay(RETRY, ++failures);
  };

  const send: DatagrokClient["request"] = async (method, path, authorization, { signal, limitMs, holds }) => {
    if (clock.monotonic() < retryAt) throw serverAway("cannot be reached");
    // A reply that the server may delay does not show that the server is away: other requests do not wait for it.
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
      const body = parseReply(reply.text());
      mayBeHeld = holds === true && reply.status === 504;
      if (GATEWAY_STATUSES.has(reply.status) && !isApiError(body)) throw serverAway(`is not behind its address (${reply.status})`);
      succeeded();
      return { status: reply.status, body };
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (!mayBeHeld) failed();
      throw error;
    }
  };
  return {
    request: send,
    get: async (path, token, options) => (ONE_WORD.test(token) ? send("GET", path, token, options) : { status: 401, body: undefined }),
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
  return new Fault("DATAGROK_BUSY", `The Datagrok server has ${MAX_REQUESTS} open requests already`, { retryAfterMs: 1_000 });
}

/** The message of an error body. Undefined for other bodies. */
export function sentenceOf(body: unknown): string | undefined {
  return isApiError(body) && body.message.trim() !== "" ? body.message.trim() : undefined;
}

/** Without a slash at the end, and always with `/api`. */
export function apiOf(url: string): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${trimTrailing(pathname, "/").replace(/\/api$/, "")}/api`;
}

function isApiError(body: unknown): body is { message: string } {
  return typeof body === "object" && body !== null && "message" in body && typeof body.message === "string";
}

const PAGE = 100;
const MOST_PAGES = 1_000;
const LIST_TIMEOUT_MS = 30_000;

/**
 * All entities below `path`, page by page. A server without pages sends the same entities again: they count once. Faults: NOT_PERMITTED, DATAGROK_AWAY,
 * DATAGROK_BROKE_OFF.
 */
export async function listPages(server: DatagrokClient, path: string, token: string, signal: AbortSignal): Promise<unknown[]> {
  const entities = new Map<unknown, unknown>();
  for (let page = 1; page <= MOST_PAGES; page++) {
    const { status, body } = await server.get(`${path}?limit=${PAGE}&page=${page}&order=name`, token, { signal, limitMs: LIST_TIMEOUT_MS });
    if (status === 401 || status === 403) throw new Fault("NOT_PERMITTED", `The Datagrok server does not let you list ${path}.`);
    if (status !== 200 || !Array.isArray(body))
      throw new Fault(
        "DATAGROK_BROKE_OFF",
        `The Datagrok server answered ${path} with ${sentenceOf(body) ?? `a reply that is not a list (${status})`}.`,
      );
    const before = entities.size;
    for (const entity of body as unknown[]) entities.set((entity as { id?: unknown } | null)?.id ?? entities.size, entity);
    if (body.length < PAGE || entities.size === before) return [...entities.values()];
  }
  throw new Fault("DATAGROK_BROKE_OFF", `The Datagrok server has more than ${PAGE * MOST_PAGES} entities at ${path}, or its pages do not end.`);
}

const CALLER_TIMEOUT_MS = 5_000;

/** The user of a session's token; undefined if the server refuses it. Faults: DATAGROK_AWAY. */
export async function findCaller(server: DatagrokClient, token: string, signal: AbortSignal): Promise<CallerReply | undefined> {
  const { status, body } = await server.get("/users/current", token, { signal, limitMs: CALLER_TIMEOUT_MS });
  if (status === 401 || status === 403 || (status === 200 && body === null)) return undefined;
  const { id, login, admin } = (body ?? {}) as { id?: unknown; login?: unknown; admin?: unknown };
  if (status !== 200 || typeof id !== "string" || typeof login !== "string") throw serverAway(`does not say who is signed in (${status})`);
  return { userId: id, login, admin: admin === true };
}

const SIGN_IN_TIMEOUT_MS = 10_000;

/** A session token for a developer key. Faults: DEV_KEY_INVALID, TOO_MANY_ATTEMPTS, DATAGROK_AWAY, DATAGROK_BROKE_OFF. */
export async function signInWithKey(server: DatagrokClient, key: string, signal: AbortSignal): Promise<string> {
  const { status, body } = await server.request("POST", "/users/login/dev", `Dev ${key}`, { signal, limitMs: SIGN_IN_TIMEOUT_MS });
  const { isSuccess, token } = (body ?? {}) as { isSuccess?: unknown; token?: unknown };
  if (status < 300 && isSuccess !== false && typeof token === "string" && token !== "") return token;
  if (status === 401 || status === 403 || isSuccess === false)
    throw new Fault("DEV_KEY_INVALID", "The Datagrok server does not take the developer key.");
  if (status === 429)
    throw new Fault("TOO_MANY_ATTEMPTS", "The Datagrok server was shown too many wrong developer keys; wait a little.", { retryAfterMs: 5_000 });
  if (status >= 500) throw serverAway(`answered the developer key with ${status}`);
  throw new Fault("DATAGROK_BROKE_OFF", `This is no Datagrok server: it answered users/login/dev below its API with ${status}.`);
}
