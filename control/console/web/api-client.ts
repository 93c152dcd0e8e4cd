import { useCallback, useEffect, useState } from "preact/hooks";
import type { ConsoleSection } from "./entities.ts";

/** Why a request failed. `status` is 0 if there was no response. */
export class RequestError extends Error {
  readonly status: number;
  readonly path: string;

  constructor(message: string, status: number, path: string) {
    super(message);
    this.status = status;
    this.path = path;
  }
}

/** Longer than any response takes; the console never waits for a start. */
const TIMEOUT_MS = 30_000;

/** Events of the window: a request waits for longer than `SLOW_MS`; such a one has ended; the server no longer accepts the session. */
export const SLOW_REQUEST = "berth-slow-request";
export const SLOW_REQUEST_ENDED = "berth-slow-request-ended";
export const SESSION_ENDED = "berth-session-ended";
const SLOW_MS = 4_000;

/** Requests JSON from the API, as the user of the browser's cookie. */
export async function request<T>(path: string, init: RequestInit = {}): Promise<T> {
  const answer = await send(`/api${path}`, init);
  return (await answer.json()) as T;
}

/** How far the server's clock is ahead of the browser's, in ms. 0: by less than a response may take. */
let clockSkewMs = 0;
const LEAST_SKEW_MS = 10_000;

/** The time by the server's clock, which all times of the API are by; epoch ms. */
export function serverNow(): number {
  return Date.now() + clockSkewMs;
}

function readServerTime(answer: Response): void {
  const ahead = Date.parse(answer.headers.get("date") ?? "") - Date.now();
  if (!Number.isNaN(ahead)) clockSkewMs = Math.abs(ahead) < LEAST_SKEW_MS ? 0 : ahead;
}

/** A browser resolves these, also encoded. A part of the page's address, which a link from elsewhere may set, must not lead to another route. */
const DOT_SEGMENT = /\/(?:\.|%2e){1,2}(?:[/?]|$)/i;

/** The timeout is for the head of the response: a body, such as a followed log, has no limit. */
export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  if (DOT_SEGMENT.test(path.split("?", 1)[0] ?? "")) throw new RequestError("There is nothing at this address.", 404, path);
  let isSlow = false;
  const slow = setTimeout(() => {
    isSlow = true;
    dispatchEvent(new Event(SLOW_REQUEST));
  }, SLOW_MS);
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), TIMEOUT_MS);
  const signal = init.signal ? AbortSignal.any([init.signal, timeout.signal]) : timeout.signal;
  const answer = await fetch(path, { ...init, signal })
    .catch((error: unknown) => {
      if (init.signal?.aborted) throw error;
      throw new RequestError(timeout.signal.aborted ? "berth did not respond within 30 s." : "berth is unreachable.", 0, path);
    })
    .finally(() => {
      clearTimeout(timer);
      clearTimeout(slow);
      if (isSlow) dispatchEvent(new Event(SLOW_REQUEST_ENDED));
    });
  readServerTime(answer);
  if (answer.status === 401 && !path.startsWith("/console/sign-in")) dispatchEvent(new Event(SESSION_ENDED));
  if (!answer.ok) throw new RequestError(await reasonOf(answer), answer.status, path);
  return answer;
}

async function reasonOf(answer: Response): Promise<string> {
  const body = (await answer.json().catch(() => undefined)) as { message?: string; "datagrok-error"?: string } | undefined;
  return body?.message ?? body?.["datagrok-error"] ?? `berth responded with ${answer.status} ${answer.statusText}`.trim();
}

/** The last response stays while a newer request is in progress, or after it failed. */
export type RequestState<T> = { value: T | undefined; error: Error | undefined; reload(): void };

/** Requests when the component mounts, when `path` or `version` changes, every `everyMs` if it is given, and after `reload`. */
export function useRequest<T>(path: string, { everyMs, version }: { everyMs?: number; version?: string } = {}): RequestState<T> {
  const [value, setValue] = useState<T>();
  const [error, setError] = useState<Error>();
  const [turn, setTurn] = useState(0);

  useEffect(() => setValue(undefined), [path]);
  useEffect(() => {
    const gone = new AbortController();
    request<T>(path, { signal: gone.signal }).then(
      (answer) => {
        setValue(() => answer);
        setError(undefined);
      },
      (reason: unknown) => {
        if (!gone.signal.aborted) setError(reason as Error);
      },
    );
    return () => gone.abort();
  }, [path, turn, version]);
  const reload = useCallback(() => setTurn((last) => last + 1), []);
  useEffect(() => {
    if (everyMs === undefined) return undefined;
    const timer = setInterval(() => document.hidden || reload(), everyMs);
    return () => clearInterval(timer);
  }, [everyMs, reload]);

  return { value, error, reload };
}

/** Asks the server for a small response that needs no session. Rejects if there is none. */
export async function probeServer(): Promise<void> {
  await send("/console/rooms");
}

/** A provider at which users sign in, in the order of the buttons. */
export type SignInProvider = { id: string; name: string };

/** `edge`: the origin of the edge; undefined: unknown. */
type ConsoleServer = { sections: readonly ConsoleSection[]; edge: string | undefined; providers: readonly SignInProvider[] };

/** The sections that this server has: a registry without a control plane has no containers. Requested once, before sign-in. */
export function useServerSections(): { server: ConsoleServer | undefined; error: Error | undefined; reload(): void } {
  const [server, setServer] = useState<ConsoleServer>();
  const [error, setError] = useState<Error>();
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const gone = new AbortController();
    send("/console/rooms", { signal: gone.signal })
      .then((answer) => answer.json() as Promise<{ rooms: ConsoleSection[]; edge?: string; providers: SignInProvider[] }>)
      .then(
        (body) => (setServer({ sections: body.rooms, edge: body.edge, providers: body.providers }), setError(undefined)),
        (reason: unknown) => {
          if (!gone.signal.aborted) setError(reason as Error);
        },
      );
    return () => gone.abort();
  }, [turn]);
  return { server, error, reload: () => setTurn((last) => last + 1) };
}
