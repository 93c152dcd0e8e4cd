import type { IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultCode, FAULTS } from "../../lib/fault.ts";
import { type HttpReply, openHttpClient } from "../../lib/http-client.ts";

/**
 * Calls an API with JSON both ways; `path` begins below `/api`; an answer may take 30 s where no other limit is given. Faults: CONTROL_AWAY,
 * DEV_KEY_INVALID, and what the API refuses with.
 */
export type CallApi = <T>(method: string, path: string, body?: object, limitMs?: number) => Promise<T>;

/** Where a server listens: at an address below which its API is, or on a socket of this machine. */
type ServerPlace = { url: string } | { socket: string };

/** A berth or a Datagrok server that is talked to by its public API. */
export type ServerClient = {
  /** For sentences: `the berth on .berth`, `https://dev.example/api`. */
  name: string;
  /** The developer key, for what is signed in to otherwise: registries. */
  key: string;
  call: CallApi;
  text(path: string): Promise<string>;
  /** An answer as it comes, which may never end; its head comes soon. */
  stream(path: string, signal: AbortSignal): Promise<IncomingMessage>;
  /** As `call`, with the bare key, which what is about publishing takes. */
  asDeveloper: CallApi;
  /** Sends bytes with the bare key, as publishing clients do. */
  upload<T>(path: string, body: { bytes: Readable; length: number; signal: AbortSignal }): Promise<T>;
};

const CALL_MS = 30_000;
const MAX_BYTES = 64 * 1_048_576;
/** The server may have to unpack it and to ask a registry. */
const UPLOAD_MS = 1_800_000;

/** Of another server's answers, whose codes are not ours. */
const BY_STATUS: Readonly<Record<number, FaultCode>> = {
  400: "REQUEST_INVALID",
  401: "TOKEN_INVALID",
  403: "NOT_PERMITTED",
  404: "ENTITY_NOT_FOUND",
  502: "CONTROL_AWAY",
  503: "CONTROL_AWAY",
  504: "CONTROL_AWAY",
};

/**
 * The first call opens the connection. With `bareKey` each call shows the key itself, which what is for administrators takes; else it is signed in with once. `hints` are
 * what a person can do where it is away, and where the key is wrong.
 */
export function createServerClient(deps: {
  name: string;
  place: ServerPlace;
  key: string;
  bareKey: boolean;
  hints: { away: string; key: string };
  clock: Clock;
}): ServerClient {
  const { name, place, key, hints, clock } = deps;
  const dev = `Dev ${key}`;

  const base = "socket" in place ? "http://localhost/api" : place.url;
  const http = openHttpClient({
    clock,
    maxBytes: MAX_BYTES,
    timeoutMs: CALL_MS,
    ...("socket" in place && { socketPath: place.socket }),
    toFault: ({ kind, why, cause }) => {
      if (kind === "oversized") return new Fault("INTERNAL", `The response is larger than ${MAX_BYTES} bytes.`);
      const sentence = kind === "overdue" ? `${capital(name)}: ${why}.` : `${capital(name)} cannot be reached (${why}). ${hints.away}`;
      return new Fault("CONTROL_AWAY", sentence, { cause });
    },
  });
  /** The text of a response below 300. `path` begins below the API. */
  const textOf = (reply: HttpReply): string => {
    if (reply.status >= 300) throw refusal(reply.status, reply.text());
    return reply.text();
  };
  const refusal = (status: number, text: string): Fault => {
    const { code, message, innerMessage } = (parseJson(text) ?? {}) as { code?: unknown; message?: unknown; innerMessage?: unknown };
    if (code === "DEV_KEY_INVALID") return new Fault("DEV_KEY_INVALID", `${capital(name)} does not know this developer key. ${hints.key}`);
    const faultCode = typeof code === "string" && Object.hasOwn(FAULTS, code) ? (code as FaultCode) : (BY_STATUS[status] ?? "INTERNAL");
    const logs = typeof innerMessage === "string" && innerMessage !== "" ? innerMessage.split("\n") : undefined;
    return new Fault(faultCode, typeof message === "string" && message !== "" ? message : `${capital(name)} answered ${status}.`, { logs });
  };

  let token: Promise<string> | undefined;
  const signIn = async () => {
    const parsed = textOf(
      await http.request({ method: "POST", url: `${base}/users/login/dev?administration=true`, headers: { authorization: dev } }),
    );
    const { token: given } = (readAnswer(parsed) ?? {}) as { token?: unknown };
    if (typeof given === "string") return given;
    throw new Fault("DEV_KEY_INVALID", `${capital(name)} does not take this developer key. ${hints.key}`);
  };
  const authorization = () => (deps.bareKey ? dev : (token ??= signIn()));

  const callAs = async <T>(authorization: string, method: string, path: string, body?: object, limitMs = CALL_MS): Promise<T> => {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = { authorization, "content-type": text === undefined ? undefined : "application/json" };
    return readAnswer(textOf(await http.request({ method, url: base + path, headers, body: text, timeoutMs: limitMs }))) as T;
  };

  /** Some refusals of a Datagrok server come as a success; what is no JSON comes from something else at the same address. */
  const readAnswer = (text: string): unknown => {
    const parsed = parseJson(text);
    if (parsed === undefined && text.trim() !== "") throw new Fault("CONTROL_AWAY", `${capital(name)} does not answer as an API does. ${hints.away}`);
    if ((parsed as { "#type"?: unknown } | null | undefined)?.["#type"] === "ApiError") throw refusal(400, text);
    return parsed;
  };

  return {
    name,
    key,
    call: async (method, path, body, limitMs) => callAs(await authorization(), method, path, body, limitMs),
    asDeveloper: (method, path, body, limitMs) => callAs(dev, method, path, body, limitMs),
    text: async (path) => textOf(await http.request({ url: base + path, headers: { authorization: await authorization() } })),
    stream: async (path, signal) => {
      const response = await http.stream({ url: base + path, headers: { authorization: await authorization() }, signal });
      if (response.status >= 300) throw refusal(response.status, (await response.read()).text());
      return response.stream;
    },
    upload: async <T>(path: string, { bytes, length, signal }: { bytes: Readable; length: number; signal: AbortSignal }) => {
      const headers = { authorization: dev, "content-length": length };
      return readAnswer(textOf(await http.request({ method: "POST", url: base + path, headers, body: bytes, signal, timeoutMs: UPLOAD_MS }))) as T;
    },
  };
}

/** Undefined where it is no JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function capital(text: string): string {
  return text.startsWith("http") ? text : text.charAt(0).toUpperCase() + text.slice(1);
}
