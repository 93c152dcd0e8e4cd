import type { IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import { text as textOfStream } from "node:stream/consumers";
import { rootCertificates } from "node:tls";
import type { WebSocket } from "ws";
import { suggestion } from "../../conf/suggestion.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultCode, FAULTS } from "../../lib/fault.ts";
import { type HttpReply, openHttpClient } from "../../lib/http-client.ts";
import { parseJson } from "../../lib/parse-json.ts";
import { isJobToken } from "../../lib/sign-in.ts";

/**
 * Calls an API with JSON in both directions. `path` begins below `/api`; the default limit is 30 s. Faults: CONTROL_AWAY, DEV_KEY_INVALID, those of the
 * API.
 */
export type CallApi = <T>(method: string, path: string, body?: object, limitMs?: number) => Promise<T>;

/** The base URL of an API, or a Unix socket of this machine. */
/** `ca`: certificates of authorities beside those that this machine trusts, as PEM. */
type ServerPlace = { url: string; ca?: string | undefined } | { socket: string };

/** A client of the public API of a berth or a Datagrok server. */
export type ServerClient = {
  /** For sentences: `the berth on .berth`, `https://dev.example/api`. */
  name: string;
  /** The developer key, the token of a session instead, or the token of a CI job, also for registries. */
  key(): Promise<string>;
  call: CallApi;
  /** `call` without a credential. */
  callAnonymously: CallApi;
  text(path: string): Promise<string>;
  /** A response that may never end; its head arrives soon. */
  stream(path: string, signal: AbortSignal): Promise<IncomingMessage>;
  /** An open WebSocket. Faults: as for `call`. */
  openWebSocket(path: string): Promise<WebSocket>;
  /** `call` with the developer key itself, as publishing requires. */
  asDeveloper: CallApi;
  /** Sends bytes with the developer key itself, as publishing clients do. */
  upload<T>(path: string, body: { bytes: Readable; length: number; signal: AbortSignal }): Promise<T>;
};

const CALL_MS = 30_000;
const MAX_BYTES = 64 * 1_048_576;
const LONGEST_REFUSAL = 65_536;
/** The server may unpack it and query a registry. */
const UPLOAD_MS = 1_800_000;

/** Faults for responses of other servers, whose codes differ. */
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
 * The first call opens the connection. With `bareKey` each call sends the developer key itself; otherwise the client signs in once. `isToken`: `key` is the token
 * of a session that began at the server's sign-in provider. The token of a CI job opens no session, so it is always sent itself. `hints` say what to do if the
 * server is unavailable, and if the key is wrong.
 */
export function createServerClient(deps: {
  name: string;
  place: ServerPlace;
  /** A function: the token of a CI job, which may change. */
  key: string | (() => Promise<string>);
  isToken?: boolean | undefined;
  bareKey: boolean;
  hints: { away: string; key: string };
  clock: Clock;
}): ServerClient {
  const { name, place, key: given, isToken = false, hints, clock } = deps;
  const key = typeof given === "string" ? async () => given : given;
  const isBare = deps.bareKey || isToken || typeof given !== "string" || isJobToken(given);
  const dev = async () => (isToken ? key() : `Dev ${await key()}`);

  const unreachable = (why: string, cause: unknown) => {
    const certificate = certificateAdvice(cause);
    const sentence = certificate === undefined ? `cannot be reached (${why}). ${hints.away}` : `cannot be reached: ${certificate}`;
    return new Fault("CONTROL_AWAY", `${capital(name)} ${sentence}`, { cause });
  };
  const base = "socket" in place ? "http://localhost/api" : place.url;
  const http = openHttpClient({
    clock,
    maxBytes: MAX_BYTES,
    timeoutMs: CALL_MS,
    ...("socket" in place ? { socketPath: place.socket } : place.ca === undefined ? {} : { options: { ca: [...rootCertificates, place.ca] } }),
    toFault: ({ kind, why, cause }) => {
      if (kind === "oversized") return new Fault("INTERNAL", `The response is larger than ${MAX_BYTES} bytes.`);
      return kind === "overdue" ? new Fault("CONTROL_AWAY", `${capital(name)}: ${why}.`, { cause }) : unreachable(why, cause);
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
    if (isToken && code === "TOKEN_INVALID") return new Fault("TOKEN_INVALID", `The session at ${name} has ended. ${hints.key}`);
    const faultCode = typeof code === "string" && Object.hasOwn(FAULTS, code) ? (code as FaultCode) : (BY_STATUS[status] ?? "INTERNAL");
    const logs = typeof innerMessage === "string" && innerMessage !== "" ? innerMessage.split("\n") : undefined;
    return new Fault(faultCode, typeof message === "string" && message !== "" ? message : `${capital(name)} answered ${status}.`, { logs });
  };

  let token: Promise<string> | undefined;
  const signIn = async () => {
    const parsed = textOf(
      await http.request({ method: "POST", url: `${base}/users/login/dev?administration=true`, headers: { authorization: await dev() } }),
    );
    const { token: issued } = (readAnswer(parsed) ?? {}) as { token?: unknown };
    if (typeof issued === "string") return issued;
    throw new Fault("DEV_KEY_INVALID", `${capital(name)} does not accept this developer key. ${hints.key}`);
  };
  const authorization = () => (isBare ? dev() : (token ??= signIn()));

  const callAs = async <T>(authorization: string | undefined, method: string, path: string, body?: object, limitMs = CALL_MS): Promise<T> => {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = { authorization, "content-type": text === undefined ? undefined : "application/json" };
    return readAnswer(textOf(await http.request({ method, url: base + path, headers, body: text, timeoutMs: limitMs }))) as T;
  };

  /** A Datagrok server sends some errors with status 200. A response without JSON is from something else at this address. */
  const readAnswer = (text: string): unknown => {
    const parsed = parseJson(text);
    if (parsed === undefined && text.trim() !== "")
      throw new Fault("CONTROL_AWAY", `${capital(name)} answers, but not with JSON: it is no API. ${hints.away}`);
    if ((parsed as { "#type"?: unknown } | null | undefined)?.["#type"] === "ApiError") throw refusal(400, text);
    return parsed;
  };

  return {
    name,
    key,
    call: async (method, path, body, limitMs) => callAs(await authorization(), method, path, body, limitMs),
    callAnonymously: (method, path, body, limitMs) => callAs(undefined, method, path, body, limitMs),
    asDeveloper: async (method, path, body, limitMs) => callAs(await dev(), method, path, body, limitMs),
    text: async (path) => textOf(await http.request({ url: base + path, headers: { authorization: await authorization() } })),
    stream: async (path, signal) => {
      const response = await http.stream({ url: base + path, headers: { authorization: await authorization() }, signal });
      if (response.status >= 300) throw refusal(response.status, (await response.read()).text());
      return response.stream;
    },
    openWebSocket: async (path) => {
      const { WebSocket } = await import("ws");
      const address = "socket" in place ? `ws+unix:${place.socket}:/api` : place.url.replace(/^http/, "ws");
      const ca = "socket" in place || place.ca === undefined ? {} : { ca: [...rootCertificates, place.ca] };
      const options = { headers: { authorization: await authorization() }, perMessageDeflate: false, handshakeTimeout: CALL_MS, ...ca };
      const socket = new WebSocket(address + path, options);
      return new Promise((resolve, reject) => {
        socket.once("open", () => resolve(socket));
        socket.once("error", (cause) => reject(unreachable((cause as NodeJS.ErrnoException).code ?? cause.message, cause)));
        socket.once("unexpected-response", (_request, response) => {
          void textOfStream(response).then(
            (body) => reject(refusal(response.statusCode ?? 0, body.slice(0, LONGEST_REFUSAL))),
            (cause: unknown) => reject(unreachable("the response broke off", cause)),
          );
        });
      });
    },
    upload: async <T>(path: string, { bytes, length, signal }: { bytes: Readable; length: number; signal: AbortSignal }) => {
      const headers = { authorization: await dev(), "content-length": length };
      return readAnswer(textOf(await http.request({ method: "POST", url: base + path, headers, body: bytes, signal, timeoutMs: UPLOAD_MS }))) as T;
    },
  };
}

const UNTRUSTED =
  "its certificate is of an authority that this machine does not trust. Name the authority's certificate with --ca <file>, as ca in the config file, or in NODE_EXTRA_CA_CERTS.";

/** By the code of the error of TLS. https://docs.openssl.org/master/man1/openssl-verification-options/ */
const TLS_ADVICE: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: UNTRUSTED,
  SELF_SIGNED_CERT_IN_CHAIN: UNTRUSTED,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: `${UNTRUSTED} If that is a public authority, the server does not send its intermediate certificates.`,
  UNABLE_TO_GET_ISSUER_CERT: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNTRUSTED,
  CERT_HAS_EXPIRED: "its certificate has expired. Renew it at the server, and check this machine's clock.",
  CERT_NOT_YET_VALID: "its certificate is not valid yet. Check this machine's clock.",
  ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is for other names. Use a name of the certificate as the address.",
  EPROTO: "it does not speak TLS there. Check the port, or write http:// instead of https://.",
  ERR_SSL_WRONG_VERSION_NUMBER: "it does not speak TLS there. Check the port, or write http:// instead of https://.",
  ERR_SSL_PACKET_LENGTH_TOO_LONG: "it does not speak TLS there. Check the port, or write http:// instead of https://.",
};

/** Undefined if the failure has nothing to do with TLS. */
function certificateAdvice(cause: unknown): string | undefined {
  const { code } = (cause ?? {}) as { code?: string };
  return code !== undefined && Object.hasOwn(TLS_ADVICE, code) ? TLS_ADVICE[code] : undefined;
}

function capital(text: string): string {
  return text.startsWith("http") ? text : text.charAt(0).toUpperCase() + text.slice(1);
}

const KINDS = {
  containers: { one: "container", missing: "CONTAINER_NOT_FOUND" },
  images: { one: "image", missing: "IMAGE_ENTITY_NOT_FOUND" },
} as const;

export type EntityByKind = { containers: ContainerOnWire; images: ImageOnWire };
export type EntityKind = keyof typeof KINDS;

/** The shortest accepted beginning of an id. */
const ID_START = /^[0-9a-f]{8}(-|$)/i;

/** Candidates in a message. */
const MAX_LISTED = 8;

/** `text` is a part of a name, or comparisons; the API requires it encoded twice. */
export async function listEntities<K extends EntityKind>(server: Pick<ServerClient, "call">, kind: K, text = ""): Promise<EntityByKind[K][]> {
  const query = text === "" ? "" : `?text=${encodeURIComponent(encodeURIComponent(text))}`;
  return (await server.call<EntityByKind[K][] | null>("GET", `/docker/${kind}${query}`)) ?? [];
}

/** The entity with this name or id, or the only one whose name or id begins with it. Faults: CONTAINER_NOT_FOUND, IMAGE_ENTITY_NOT_FOUND, SETTINGS_INVALID for several. */
export async function findByName<K extends EntityKind>(server: Pick<ServerClient, "call">, kind: K, word: string): Promise<EntityByKind[K]> {
  // A name in the form of an id could match another entity's id.
  const exact = word.includes('"') || ID_START.test(word) ? [] : await listEntities(server, kind, `name = "${word}"`);
  return pickByName(kind, exact.length === 1 ? exact : await listEntities(server, kind), word);
}

/** Selects from a list. */
export function pickByName<K extends EntityKind>(kind: K, all: readonly EntityByKind[K][], word: string): EntityByKind[K] {
  const { one, missing } = KINDS[kind];
  const low = word.toLowerCase();
  const matches =
    [
      all.filter(({ id }) => id.toLowerCase() === low),
      all.filter(({ id, name }) => name === word || (ID_START.test(word) && id.toLowerCase().startsWith(low))),
      all.filter(({ id, name }) => name.toLowerCase().startsWith(low) || id.toLowerCase().startsWith(low)),
    ].find((some) => some.length > 0) ?? [];
  const [only] = matches;
  if (only && matches.length === 1) return only;
  const names = all.map(({ name }) => name);
  if (!only) throw new Fault(missing, `There is no ${one} ${JSON.stringify(word)}${suggestion(word, names)}.`);
  const listed = matches.slice(0, MAX_LISTED).map(({ name, id }) => (names.filter((other) => other === name).length > 1 ? `${name} (${id})` : name));
  const more = matches.length > listed.length ? ` and ${matches.length - listed.length} more` : "";
  throw new Fault("SETTINGS_INVALID", `${JSON.stringify(word)} may be any of ${matches.length} ${kind}: ${listed.join(", ")}${more}.`);
}

/** The fields that berth reads. A Datagrok server may omit some. */
export type ImageOnWire = {
  id: string;
  name: string;
  status: string;
  version?: string | null;
  imageRef?: string | null;
  logs?: string | null;
  updatedOn?: string | null;
};

export type ReplicaOnWire = { replica: number; status: string; desiredInstances: number; cause: string | null };

export type ContainerOnWire = {
  id: string;
  name: string;
  friendlyName?: string | null;
  status: string;
  note?: string | null;
  dockerImage?: string | null;
  dockerfile?: ImageOnWire | null;
  serviceName?: string | null;
  desiredInstances?: number | null;
  replicas?: { each?: readonly ReplicaOnWire[] | null } | null;
  address?: string | null;
  port?: number | null;
  lastActive?: string | null;
  lastLogs?: string | null;
  updatedOn?: string | null;
  config?: { on_demand?: boolean; shutdown_timeout?: number; cpu?: number; memory?: number } | null;
};

/** A transition of a container or an image. */
export type MoveOnWire = {
  time: string;
  from: string;
  to: string;
  event: string;
  by: string;
  login?: string | null;
  cause: { code: string; message: string } | null;
};
