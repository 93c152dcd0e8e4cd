import type { IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultCode, FAULTS } from "../../lib/fault.ts";
import { exchange, type Place, readAll, type Sent } from "./exchange.ts";

/**
 * Calls an API with JSON both ways; `path` begins below `/api`; an answer may take 30 s where no other limit is given. Faults: CONTROL_AWAY,
 * DEV_KEY_INVALID, and what the API refuses with.
 */
export type CallControl = <T>(method: string, path: string, body?: object, limitMs?: number) => Promise<T>;

/** A berth or a Datagrok server that is talked to by its public API. */
export type Server = {
  /** For sentences: `the berth on .berth`, `https://dev.example/api`. */
  name: string;
  /** The developer key, for what is signed in to otherwise: registries. */
  key: string;
  call: CallControl;
  text(path: string): Promise<string>;
  /** An answer as it comes, which may never end; its head comes soon. */
  stream(path: string, signal: AbortSignal): Promise<IncomingMessage>;
  /** As `call`, with the bare key, which what is about publishing takes. */
  asDeveloper: CallControl;
  /** Sends bytes with the bare key, as publishing clients do. */
  upload<T>(path: string, body: { bytes: Readable; length: number; signal: AbortSignal }): Promise<T>;
};

const CALL_MS = 30_000;
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
 * Nothing is asked before the first call. With `bareKey` each call shows the key itself, which what is for administrators takes; else it is signed in with once. `hints` are
 * what a person can do where it is away, and where the key is wrong.
 */
export function openServer(parts: {
  name: string;
  place: Place;
  key: string;
  bareKey: boolean;
  hints: { away: string; key: string };
  clock: Clock;
}): Server {
  const { name, place, key, hints, clock } = parts;
  const dev = `Dev ${key}`;

  /** A whole exchange, within `ms`. */
  const ask = async <T>(sent: Omit<Sent, "signal">, ms: number, use: (answer: IncomingMessage) => Promise<T>, parent?: AbortSignal): Promise<T> => {
    const over = new AbortController();
    const late = () => new Fault("CONTROL_AWAY", `${capital(name)} did not answer within ${ms / 1_000} s.`);
    const signal = clock.deadline(ms, late, parent ? AbortSignal.any([over.signal, parent]) : over.signal);
    try {
      const answer = await exchange(place, { ...sent, signal });
      if ((answer.statusCode ?? 500) >= 300) throw refusal(answer.statusCode ?? 500, await readAll(answer));
      return await use(answer);
    } catch (error) {
      if (parent?.aborted) throw parent.reason;
      if (signal.aborted && signal.reason instanceof Fault) throw signal.reason;
      if (error instanceof Fault) throw error;
      throw new Fault("CONTROL_AWAY", `${capital(name)} cannot be reached${why(error)}. ${hints.away}`, { cause: error });
    } finally {
      over.abort();
    }
  };

  const refusal = (status: number, text: string): Fault => {
    const { code, message, innerMessage } = (readJson(text) ?? {}) as { code?: unknown; message?: unknown; innerMessage?: unknown };
    if (code === "DEV_KEY_INVALID") return new Fault("DEV_KEY_INVALID", `${capital(name)} does not know this developer key. ${hints.key}`);
    const known = typeof code === "string" && Object.hasOwn(FAULTS, code) ? (code as FaultCode) : (BY_STATUS[status] ?? "INTERNAL");
    const logs = typeof innerMessage === "string" && innerMessage !== "" ? innerMessage.split("\n") : undefined;
    return new Fault(known, typeof message === "string" && message !== "" ? message : `${capital(name)} answered ${status}.`, { logs });
  };

  let token: Promise<string> | undefined;
  const signIn = async () => {
    const said = await ask({ method: "POST", path: "/users/login/dev?administration=true", headers: { authorization: dev } }, CALL_MS, readAll);
    const { token: given } = (readAnswer(said) ?? {}) as { token?: unknown };
    if (typeof given === "string") return given;
    throw new Fault("DEV_KEY_INVALID", `${capital(name)} does not take this developer key. ${hints.key}`);
  };
  const authorization = () => (parts.bareKey ? dev : (token ??= signIn()));

  const callAs = async <T>(authorization: string, method: string, path: string, body?: object, limitMs = CALL_MS): Promise<T> => {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const type = text === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
    return readAnswer(await ask({ method, path, headers: { authorization, ...type }, body: text }, limitMs, readAll)) as T;
  };

  /** Some refusals of a Datagrok server come as a success; what is no JSON comes from something else at the same address. */
  const readAnswer = (text: string): unknown => {
    const said = readJson(text);
    if (said === undefined && text.trim() !== "") throw new Fault("CONTROL_AWAY", `${capital(name)} does not answer as an API does. ${hints.away}`);
    if ((said as { "#type"?: unknown } | null | undefined)?.["#type"] === "ApiError") throw refusal(400, text);
    return said;
  };

  return {
    name,
    key,
    call: async (method, path, body, limitMs) => callAs(await authorization(), method, path, body, limitMs),
    asDeveloper: (method, path, body, limitMs) => callAs(dev, method, path, body, limitMs),
    text: async (path) => ask({ method: "GET", path, headers: { authorization: await authorization() } }, CALL_MS, readAll),
    stream: async (path, signal) => {
      const headers = { authorization: await authorization() };
      const late = new AbortController();
      const cancel = clock.after(CALL_MS, () =>
        late.abort(new Fault("CONTROL_AWAY", `${capital(name)} did not answer within ${CALL_MS / 1_000} s.`)),
      );
      const until = AbortSignal.any([signal, late.signal]);
      const answer = await exchange(place, { method: "GET", path, headers, signal: until })
        .catch((cause: unknown) => {
          until.throwIfAborted();
          throw new Fault("CONTROL_AWAY", `${capital(name)} cannot be reached${why(cause)}. ${hints.away}`, { cause });
        })
        .finally(cancel);
      if ((answer.statusCode ?? 500) >= 300) throw refusal(answer.statusCode ?? 500, await readAll(answer));
      return answer;
    },
    upload: async <T>(path: string, { bytes, length, signal }: { bytes: Readable; length: number; signal: AbortSignal }) => {
      const sent = { method: "POST", path, headers: { authorization: dev, "content-length": length }, body: bytes };
      return readAnswer(await ask(sent, UPLOAD_MS, readAll, signal)) as T;
    },
  };
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function why(error: unknown): string {
  const { code } = error as { code?: string };
  return code === undefined ? "" : ` (${code})`;
}

function capital(text: string): string {
  return text.startsWith("http") ? text : text.charAt(0).toUpperCase() + text.slice(1);
}
