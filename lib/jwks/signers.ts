import { errors, type JWTPayload, jwtVerify } from "jose";
import { createBackoff } from "../backoff.ts";
import type { Socket } from "node:net";
import { trimTrailing } from "../character-classes.ts";
import type { Clock } from "../clock.ts";
import { Fault } from "../fault.ts";
import { openHttpClient, parseReply } from "../http-client.ts";
import type { Log } from "../log.ts";
import { openRefreshingValue } from "../refreshing-value.ts";
import { createKeySet, type KeyHabits, type KeySet, parseKeys, REFRESH_HABITS } from "./key-set.ts";

/** The server that publishes the keys of tokens: control over its private socket, or a Datagrok server. */
export type KeyServer = {
  /** The body of a 200 to GET; paths begin with `/api`. Faults: TOKEN_KEYS_UNKNOWN for any other reply. */
  get(path: string): Promise<string>;
  keys: KeyHabits;
  /** Tokens may name any issuer: the keys come over a private socket, and sign only tokens of this server. */
  anyIssuer: boolean;
  close(): void;
};

/** Control publishes a key while it is valid, and removes a revoked one at once: with the grace time, a revocation applies within a minute. */
const CONTROL_KEYS: KeyHabits = { freshMs: 50_000, keptMs: 0 };
/** A Datagrok server publishes an old key for some 15 minutes, and its tokens are valid for 30. */
const DATAGROK_KEYS: KeyHabits = { freshMs: 10 * 60_000, keptMs: 30 * 60_000 };

/** The host name of requests over control's socket. Without a public address, tokens have it as their issuer. */
export const CONTROL_HOST = "berth";
const SILENCE_MS = 10_000;
/** A server that sends a byte now and then never reaches the idle timeout, and would delay new keys without end. */
const TIMEOUT_MS = 30_000;
const MAX_BYTES = 1_048_576;
const CONNECTIONS = 4;

/** `connect` begins a connection to control's API; `headers` authorize a request on it. */
export function controlKeys({ connect, headers }: { connect(): Socket; headers?(): Record<string, string> }, clock: Clock): KeyServer {
  const client = keyClient({ base: `http://${CONTROL_HOST}`, name: "The control plane", connect, headers, timeoutMs: TIMEOUT_MS, clock });
  return { keys: CONTROL_KEYS, anyIssuer: true, ...client };
}

/** `url` is its API, with `/api`. `timeoutMs`: how long a whole response may take. */
export function datagrokKeys(url: string, clock: Clock, timeoutMs = TIMEOUT_MS): KeyServer {
  const { origin, pathname } = new URL(url);
  const base = origin + trimTrailing(pathname, "/").replace(/\/api$/, "");
  return { keys: DATAGROK_KEYS, anyIssuer: false, ...keyClient({ base, name: "The Datagrok server", timeoutMs, clock }) };
}

function keyClient({
  base,
  name,
  headers,
  ...limits
}: {
  base: string;
  name: string;
  connect?: () => Socket;
  headers?: (() => Record<string, string>) | undefined;
  timeoutMs: number;
  clock: Clock;
}): Pick<KeyServer, "get" | "close"> {
  const unknown = (why: string, cause?: unknown) => new Fault("TOKEN_KEYS_UNKNOWN", `${name} ${why}`, { cause, retryAfterMs: 1_000 });
  const client = openHttpClient({
    ...limits,
    maxBytes: MAX_BYTES,
    connectTimeoutMs: SILENCE_MS,
    idleTimeoutMs: SILENCE_MS,
    // Control may be another process by the next request.
    ...(limits.connect === undefined ? { connections: CONNECTIONS } : {}),
    toFault: ({ kind, url, why, cause }) =>
      kind === "oversized"
        ? unknown(`sent a response larger than ${MAX_BYTES} bytes for ${url.pathname}`)
        : unknown(`did not answer ${url.pathname} (${why}); it should be back in a moment`, cause),
  });
  return {
    get: async (path) => {
      const reply = await client.request({ url: base + path, headers: { ...headers?.(), accept: "application/json" } });
      if (reply.status !== 200) throw unknown(`answered ${path} with ${reply.status}`);
      return reply.text();
    },
    close: client.close,
  };
}

const ISSUER_FRESH_MS = 10 * 60_000;
/** The server may be repaired by then. */
const RETRY_MS = 10_000;

/** The keys of valid tokens, and their issuer; undefined: any issuer. */
export type Signers = { keys: KeySet; issuer(): string | undefined | Promise<string> };

/** Loads both before the first token, and tries until that succeeds or the signal aborts. */
export type PrefetchSigners = (signal: AbortSignal) => Promise<void>;

/** The keys and the issuer of a server. It requests neither before `prefetch` or the first token. */
export function openSigners(deps: {
  server: Pick<KeyServer, "get" | "keys" | "anyIssuer">;
  /** Undefined: the server's own `webRoot`, or any issuer if it signs no other tokens. */
  issuer: string | undefined;
  clock: Clock;
  log: Log;
}): Signers & { prefetch: PrefetchSigners } {
  const { server, issuer, clock, log } = deps;
  const keys = createKeySet({
    ...server.keys,
    fetch: async () => {
      const published = parseKeys(await server.get("/api/docker/keys"));
      if (published === undefined)
        throw new Fault("TOKEN_KEYS_UNKNOWN", "The server publishes no keys of tokens: see its /docker/keys", {
          retryAfterMs: RETRY_MS,
        });
      return published;
    },
    clock,
    onFailed: (err) => log.warn({ err }, "loading the keys of tokens failed; cached keys stay in use"),
  });
  const webRoot = openRefreshingValue<string>({
    ...REFRESH_HABITS,
    load: async () => ({ value: readWebRoot(await server.get("/api/admin/startup_data")), freshMs: ISSUER_FRESH_MS }),
    clock,
    onFailed: (err) => log.warn({ err }, "the issuer of tokens cannot be loaded; DATAGROK_ISSUER sets it"),
  });
  const currentIssuer = issuer !== undefined || server.anyIssuer ? () => issuer : () => webRoot.get();
  const prefetch = async (signal: AbortSignal) => {
    const delays = createBackoff(PREFETCH_RETRY.first, PREFETCH_RETRY.longest);
    while (!signal.aborted) {
      try {
        await Promise.all([keys.load(), currentIssuer()]);
        return;
      } catch {
        // Logged by the loads themselves, whose own pauses limit the requests.
        await clock.sleep(delays.next(), signal).catch(() => undefined);
      }
    }
  };
  return { keys, issuer: currentIssuer, prefetch };
}

const PREFETCH_RETRY = { first: 500, longest: 30_000 };

/** Faults: TOKEN_KEYS_UNKNOWN. */
function readWebRoot(text: string): string {
  const data = parseReply(text);
  if (typeof data === "object" && data !== null && "webRoot" in data && typeof data.webRoot === "string" && data.webRoot !== "") return data.webRoot;
  throw new Fault(
    "TOKEN_KEYS_UNKNOWN",
    "The server does not report its address (webRoot), so the issuer of its tokens is unknown: set DATAGROK_ISSUER",
  );
}

const LEEWAY_SECONDS = 60;

/** Longer tokens are refused without verification. */
export const LONGEST_TOKEN = 16_384;

/**
 * The payload of a valid token for `audience`. The algorithm is fixed, and keys come from the key set: of the token's header only the key id counts.
 * Faults: TOKEN_INVALID; those of the keys and the issuer if they are neither cached nor available.
 */
export async function verifyToken(token: string, deps: Signers & { audience: string; clock: Clock }): Promise<JWTPayload> {
  const { keys, audience, clock } = deps;
  const expected = await deps.issuer();
  const { payload } = await jwtVerify(token, async ({ kid }) => keyOf(await keys.find(kid)), {
    algorithms: ["RS256"],
    ...(expected === undefined ? {} : { issuer: withSlash(expected) }),
    audience,
    requiredClaims: ["exp", "iss", "aud"],
    clockTolerance: LEEWAY_SECONDS,
    currentDate: new Date(clock.now()),
  }).catch((cause: unknown) => {
    throw cause instanceof errors.JOSEError ? new Fault("TOKEN_INVALID", sentenceOf(cause), { cause }) : cause;
  });
  return payload;
}

function keyOf<Key>(key: Key | undefined): Key {
  if (key === undefined) throw new errors.JWKSNoMatchingKey();
  return key;
}

/** With and without a slash: both are in use. */
function withSlash(issuer: string): string[] {
  const bare = trimTrailing(issuer, "/");
  return [bare, `${bare}/`];
}

/** By jose's code; its own messages are for programmers. */
const SENTENCES: Record<string, string> = {
  ERR_JWT_EXPIRED: "The token has expired; sign in again",
  ERR_JWKS_NO_MATCHING_KEY: "The token is signed with a key that is not published",
  ERR_JWS_SIGNATURE_VERIFICATION_FAILED: "The token's signature is not valid",
};

function sentenceOf(error: errors.JOSEError): string {
  if (error instanceof errors.JWTClaimValidationFailed) return `The token's claim "${error.claim}" is not as it must be`;
  return SENTENCES[error.code] ?? "The token is not valid";
}
