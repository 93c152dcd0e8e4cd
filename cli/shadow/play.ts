import { trimTrailing } from "../../lib/character-classes.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { type HttpClient, type HttpFailure, openHttpClient, reasonOf } from "../../lib/http-client.ts";
import { parseJson } from "../../lib/parse-json.ts";

/** `headers` have lower-case names, in the order of arrival. */
export type ProxyResponse = { status: number; headers: [name: string, value: string][]; body: string };

/** Sends recorded requests to one registry proxy. Undefined if a request needs a value that an earlier, failed one would have returned. */
export type RequestPlayer = { base: string; repository: string; play(one: RecordedRequest): Promise<ProxyResponse | undefined> };

type PlayedRequest = { method: string; path: string; headers: Record<string, string>; body?: string };

const MAX_TRIES = 3;
const MAX_WAIT_SECONDS = 60;
const ANSWER_MS = 60_000;
const MAX_BODY = 1_048_576;

/** `key`: the developer key, for the requests that sign in. Faults of `play`: REGISTRY_UNREACHABLE; SETTINGS_INVALID where a key is missing. */
export function createPlayer(at: { base: string; repository: string; key: string | undefined; clock: Clock }): RequestPlayer {
  const base = trimTrailing(at.base, "/");
  const client = openHttpClient({
    clock: at.clock,
    maxBytes: MAX_BODY,
    timeoutMs: ANSWER_MS,
    idleTimeoutMs: ANSWER_MS,
    toFault: ({ why, cause }) => new Fault("REGISTRY_UNREACHABLE", `${base} does not answer: ${why}.`, { cause }),
  });
  const kept = new Map<string, string>([["repository", at.repository]]);
  if (at.key !== undefined) kept.set("key", encodeURIComponent(at.key));
  const tokens = new Map<string, string>();

  /** Repeats after status 429, which a proxy sends after a wrong key. */
  const sendWithRetry = async (one: PlayedRequest): Promise<ProxyResponse> => {
    for (let tried = 1; ; tried++) {
      const came = await send({ base, client }, one);
      const seconds = Number(headerValue(came, "retry-after") ?? 0);
      if (came.status !== 429 || tried === MAX_TRIES || !(seconds <= MAX_WAIT_SECONDS)) return came;
      await at.clock.sleep(seconds * 1_000);
    }
  };
  const basic = (): string => {
    if (at.key === undefined) throw new Fault("SETTINGS_INVALID", "Some of the requests sign in: name a file with a developer key by --key-file.");
    return `Basic ${Buffer.from(`any:${at.key}`).toString("base64")}`;
  };
  const token = async (scopes: string[]): Promise<string> => {
    const query = scopes.map((scope) => `&scope=${encodeURIComponent(scope)}`).join("");
    const cached = tokens.get(query);
    if (cached !== undefined) return cached;
    // The service of the challenge, as a client uses it.
    const challenged = await sendWithRetry({ method: "GET", path: "/v2/", headers: {} });
    const service = /service="([^"]*)"/.exec(headerValue(challenged, "www-authenticate") ?? "")?.[1] ?? "";
    const came = await sendWithRetry({
      method: "GET",
      path: `/token?service=${encodeURIComponent(service)}${query}`,
      headers: { authorization: basic() },
    });
    const made = came.status === 200 ? (JSON.parse(came.body) as { token?: string; access_token?: string }) : {};
    const token = made.token ?? made.access_token ?? "";
    if (token === "") throw new Fault("DEV_KEY_INVALID", `${base} issues no token for the developer key: ${came.status}.`);
    tokens.set(query, token);
    return token;
  };

  return {
    base,
    repository: at.repository,
    play: async (one) => {
      const [path, body] = [fillTemplate(one.path, kept), fillTemplate(one.body ?? "", kept)];
      if (path === undefined || body === undefined) return undefined;
      const headers: Record<string, string> = {};
      for (const [name, value] of Object.entries(one.headers)) headers[name.toLowerCase()] = fillTemplate(value, kept) ?? value;
      if (one.key) headers["authorization"] = basic();
      if (one.scopes) headers["authorization"] = `Bearer ${await token(one.scopes.map((scope) => fillTemplate(scope, kept) ?? scope))}`;
      const came = await sendWithRetry({ method: one.method, path, headers, ...(one.body === undefined ? {} : { body }) });
      const location = headerValue(came, "location");
      if (one.keep !== undefined && location !== undefined && URL.canParse(location, base)) {
        const { pathname, search } = new URL(location, base);
        kept.set(one.keep, pathname + search);
      }
      return came;
    },
  };
}

function headerValue({ headers }: ProxyResponse, name: string): string | undefined {
  const values = headers.filter(([one]) => one === name).map(([, value]) => value);
  return values.length === 0 ? undefined : values.join(", ");
}

/** Each request has a connection of its own, so that none fails because the server closed an idle one. */
async function send({ base, client }: { base: string; client: HttpClient }, { method, path, headers, body }: PlayedRequest): Promise<ProxyResponse> {
  const unanswered = (why: string, cause?: unknown) =>
    new Fault("REGISTRY_UNREACHABLE", `${base} does not answer ${method} ${path}: ${why}.`, { cause });
  const toFault = ({ why, cause }: HttpFailure) => unanswered(why === "EPROTO" ? NO_TLS : why, cause);
  // The path as recorded: a URL would normalize it.
  const { status, stream } = await client.stream({ method, url: base, headers, body, options: { path }, toFault });
  let text = "";
  try {
    for await (const piece of stream as AsyncIterable<Buffer>) if (text.length < MAX_BODY) text += piece.toString("latin1");
  } catch (cause) {
    throw unanswered(reasonOf(cause), cause);
  }
  return { status, headers: pairs(stream.rawHeaders), body: text };
}

/** OpenSSL's own message names a line of its source. */
const NO_TLS = "it speaks no TLS, or another one: try http";

function pairs(raw: readonly string[]): [string, string][] {
  return raw.flatMap((name, at) => (at % 2 === 0 ? [[name.toLowerCase(), raw[at + 1] ?? ""] as [string, string]] : []));
}

/** One recorded request, a line of JSON. `{repository}`, `{key}` (URL-encoded) and kept values are filled in `path`, `headers`, `body` and `scopes`. */
export type RecordedRequest = {
  says?: string;
  method: string;
  /** With its query, byte for byte; `{name}` is the path of the Location kept under that name. */
  path: string;
  headers: Record<string, string>;
  body?: string;
  /** Sends a token for these scopes, which it requests first, like docker. */
  scopes?: string[];
  /** Sends the developer key itself, as to /token. */
  key?: boolean;
  /** Keeps the path of the response's Location under this name. */
  keep?: string;
};

/** Whether it sends a key or a token. */
export function signsIn({ scopes, key, body = "" }: RecordedRequest): boolean {
  return scopes !== undefined || key === true || body.includes("{key}");
}

const TYPES: Record<string, (value: unknown) => boolean> = {
  says: isText,
  method: (value) => isText(value) && /^[A-Z]+$/.test(value as string),
  path: (value) => isText(value) && /^[/{]/.test(value as string),
  headers: (value) => typeof value === "object" && value !== null && Object.values(value).every(isText),
  body: isText,
  scopes: (value) => Array.isArray(value) && value.every(isText),
  key: (value) => typeof value === "boolean",
  keep: isText,
};
const REQUIRED = ["method", "path"];

/** Reads JSON lines; skips empty ones and those that begin with `//`. Faults: SETTINGS_INVALID, with the line's number. */
export function parseRequests(text: string): RecordedRequest[] {
  return text.split("\n").flatMap((line, at) => {
    if (line.trim() === "" || line.startsWith("//")) return [];
    const wrong = (why: string) => new Fault("SETTINGS_INVALID", `Line ${at + 1} of the requests is invalid: ${why}.`);
    const value = parseJson(line);
    if (typeof value !== "object" || value === null) throw wrong("it is no JSON object");
    for (const [name, one] of Object.entries(value)) {
      if (!Object.hasOwn(TYPES, name)) throw wrong(`there is no "${name}"; there are ${Object.keys(TYPES).join(", ")}`);
      if (TYPES[name]?.(one) !== true) throw wrong(`its "${name}" cannot be read`);
    }
    for (const name of REQUIRED) if (!(name in value)) throw wrong(`"${name}" is missing`);
    return [{ headers: {}, ...(value as Partial<RecordedRequest>) } as RecordedRequest];
  });
}

/** Fills in the values; undefined if one is missing. */
function fillTemplate(text: string, values: ReadonlyMap<string, string>): string | undefined {
  let whole = true;
  const filled = text.replace(/\{([a-z][a-z0-9-]*)\}/g, (_, name: string) => {
    const value = values.get(name);
    if (value === undefined) whole = false;
    return value ?? "";
  });
  return whole ? filled : undefined;
}

function isText(value: unknown): boolean {
  return typeof value === "string";
}
