import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { fillTemplate, type RecordedRequest } from "./requests.ts";
import { trimTrailing } from "../../lib/trim-trailing.ts";

/** What came back: `headers` by their lower-case names, in the order in which they came. */
export type ProxyResponse = { status: number; headers: [name: string, value: string][]; body: string };

/** Sends recorded requests to one registry proxy. Undefined where what the request needs is not there, since an earlier one failed. */
export type RequestPlayer = { base: string; repository: string; play(one: RecordedRequest): Promise<ProxyResponse | undefined> };

type PlayedRequest = { method: string; path: string; headers: Record<string, string>; body?: string };

const MAX_TRIES = 3;
const MAX_WAIT_SECONDS = 60;
const ANSWER_MS = 60_000;
const MAX_BODY = 1_048_576;

/** `key`: the developer key, for the requests that sign in. Faults of `play`: REGISTRY_UNREACHABLE; SETTINGS_INVALID where a key is missing. */
export function createPlayer(at: { base: string; repository: string; key: string | undefined; clock: Clock }): RequestPlayer {
  const base = trimTrailing(at.base, "/");
  const kept = new Map<string, string>([["repository", at.repository]]);
  if (at.key !== undefined) kept.set("key", encodeURIComponent(at.key));
  const tokens = new Map<string, string>();

  /** Who slows down those that show wrong keys says when to come again; that it does so is no difference. */
  const patiently = async (one: PlayedRequest): Promise<ProxyResponse> => {
    for (let tried = 1; ; tried++) {
      const came = await send(base, one);
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
    // The realm and the service that the challenge names, as a client does it.
    const challenged = await patiently({ method: "GET", path: "/v2/", headers: {} });
    const service = /service="([^"]*)"/.exec(headerValue(challenged, "www-authenticate") ?? "")?.[1] ?? "";
    const came = await patiently({
      method: "GET",
      path: `/token?service=${encodeURIComponent(service)}${query}`,
      headers: { authorization: basic() },
    });
    const made = came.status === 200 ? (JSON.parse(came.body) as { token?: string; access_token?: string }) : {};
    const found = made.token ?? made.access_token ?? "";
    if (found === "") throw new Fault("DEV_KEY_INVALID", `${base} gives no token for the developer key: ${came.status}.`);
    tokens.set(query, found);
    return found;
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
      const came = await patiently({ method: one.method, path, headers, ...(one.body === undefined ? {} : { body }) });
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
  const values = headers.filter(([found]) => found === name).map(([, value]) => value);
  return values.length === 0 ? undefined : values.join(", ");
}

/** On a connection of its own, so that none is lost to the request before. */
function send(base: string, one: PlayedRequest): Promise<ProxyResponse> {
  return new Promise((resolve, reject) => {
    const failed = (cause: NodeJS.ErrnoException) =>
      reject(new Fault("REGISTRY_UNREACHABLE", `${base} does not answer ${one.method} ${one.path}: ${whyNot(cause)}.`, { cause }));
    const { protocol, hostname, port } = new URL(base);
    const length: Record<string, string> = one.body === undefined ? {} : { "content-length": String(Buffer.byteLength(one.body)) };
    const open = protocol === "https:" ? httpsRequest : httpRequest;
    const sent = open(
      {
        protocol,
        hostname: hostname.replace(/^\[|\]$/g, ""),
        port,
        method: one.method,
        path: one.path,
        headers: { ...length, ...one.headers },
        agent: false,
        timeout: ANSWER_MS,
      },
      (answer) => {
        let body = "";
        answer.setEncoding("latin1");
        answer.on("data", (piece: string) => {
          if (body.length < MAX_BODY) body += piece;
        });
        answer.once("error", failed);
        answer.once("end", () => resolve({ status: answer.statusCode ?? 0, headers: pairs(answer.rawHeaders), body }));
      },
    );
    sent.once("timeout", () => sent.destroy(new Error(`nothing came for ${ANSWER_MS / 1_000} s`)));
    sent.once("error", failed);
    sent.end(one.body);
  });
}

/** OpenSSL says where in its own source something is wrong, in a line of its own. */
function whyNot({ code, message }: NodeJS.ErrnoException): string {
  return code === "EPROTO" ? "it speaks no TLS, or another one: try http" : message;
}

function pairs(raw: readonly string[]): [string, string][] {
  return raw.flatMap((name, at) => (at % 2 === 0 ? [[name.toLowerCase(), raw[at + 1] ?? ""] as [string, string]] : []));
}
