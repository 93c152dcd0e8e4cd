import type { Clock } from "../clock.ts";
import { Fault } from "../fault.ts";
import { openHttpClient } from "../http-client.ts";
import { type KeyHabits, type KeySet, openKeySet, parseKeys } from "./key-set.ts";
import { trimTrailing } from "../trim-trailing.ts";
import type { Log } from "../log.ts";
import { createRevalidatingValue } from "../revalidating-value.ts";
import { parseReply } from "../parse-reply.ts";

/** Who signs tokens, as far as verifying them goes: control over its private socket, or a Datagrok server. */
export type KeyServer = {
  /** The body of a 200 to GET; paths begin with `/api`, as everywhere here. Faults: TOKEN_KEYS_UNKNOWN for anything else. */
  get(path: string): Promise<string>;
  /** How it treats the keys that it publishes. */
  keys: KeyHabits;
  /** Its keys come over its own socket and sign nothing but its own tokens: which of its addresses those name as their issuer says nothing more. */
  anyIssuer: boolean;
  close(): void;
};

/** Control publishes a key for as long as it counts, and takes out at once one that is revoked: with the grace, that counts within a minute. */
const CONTROL_KEYS: KeyHabits = { freshMs: 50_000, keptMs: 0 };
/** A Datagrok server publishes an old key for some 15 minutes, and its tokens live 30. */
const DATAGROK_KEYS: KeyHabits = { freshMs: 10 * 60_000, keptMs: 30 * 60_000 };

/** What control is asked as over its own socket. Where no public address is set, tokens bear this name as their issuer, whatever address a client has used. */
export const CONTROL_HOST = "berth";
const SILENCE_MS = 10_000;
/** A server that sends a byte now and then is never silent, and would keep its keys from ever being fetched anew. */
const TIMEOUT_MS = 30_000;
const MAX_BYTES = 1_048_576;
const CONNECTIONS = 4;

export function controlKeys(socketPath: string, clock: Clock): KeyServer {
  const client = keyClient({ base: `http://${CONTROL_HOST}`, name: "The control plane", socketPath, timeoutMs: TIMEOUT_MS, clock });
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
  ...limits
}: {
  base: string;
  name: string;
  socketPath?: string;
  timeoutMs: number;
  clock: Clock;
}): Pick<KeyServer, "get" | "close"> {
  const unknown = (why: string, cause?: unknown) => new Fault("TOKEN_KEYS_UNKNOWN", `${name} ${why}`, { cause, retryAfterMs: 1_000 });
  const client = openHttpClient({
    ...limits,
    maxBytes: MAX_BYTES,
    connectTimeoutMs: SILENCE_MS,
    idleTimeoutMs: SILENCE_MS,
    connections: CONNECTIONS,
    toFault: ({ kind, url, why, cause }) =>
      kind === "oversized"
        ? unknown(`sent a response larger than ${MAX_BYTES} bytes for ${url.pathname}`)
        : unknown(`cannot be asked for ${url.pathname} (${why}); it should be back in a moment`, cause),
  });
  return {
    get: async (path) => {
      const reply = await client.request({ url: base + path, headers: { accept: "application/json" } });
      if (reply.status !== 200) throw unknown(`answered ${path} with ${reply.status}`);
      return reply.text();
    },
    close: client.close,
  };
}

const ISSUER_FRESH_MS = 10 * 60_000;
/** What is wrong there may be mended. */
const RETRY_MS = 10_000;

/** Who may sign tokens: the keys, and whom those who hold them must name as the issuer; undefined: anybody. */
export type Signers = { keys: KeySet; issuer(): string | undefined | Promise<string> };

/** The keys and the issuer that the server has; neither is asked for before the first token comes. */
export function openSigners(parts: {
  server: Pick<KeyServer, "get" | "keys" | "anyIssuer">;
  /** Where unset, it is the server's own `webRoot`, or any where that has no other tokens. */
  issuer: string | undefined;
  clock: Clock;
  log: Log;
}): Signers {
  const { server, issuer, clock, log } = parts;
  const keys = openKeySet({
    ...server.keys,
    fetch: async () => {
      const found = parseKeys(await server.get("/api/docker/keys"));
      if (found === undefined)
        throw new Fault("TOKEN_KEYS_UNKNOWN", "What is published as keys of tokens is none: see /docker/keys of that server", {
          retryAfterMs: RETRY_MS,
        });
      return found;
    },
    clock,
    onFailure: (err) => log.warn({ err }, "The keys of tokens cannot be had; those known before are used on"),
  });
  const webRoot = createRevalidatingValue<string>({
    fetch: async () => readWebRoot(await server.get("/api/admin/startup_data")),
    freshMs: ISSUER_FRESH_MS,
    clock,
    onFailure: (err) => log.warn({ err }, "Who signs tokens cannot be asked; DATAGROK_ISSUER says it without"),
  });
  return { keys, issuer: issuer !== undefined || server.anyIssuer ? () => issuer : webRoot.get };
}

/** Faults: TOKEN_KEYS_UNKNOWN. */
function readWebRoot(text: string): string {
  const data = parseReply(text);
  if (typeof data === "object" && data !== null && "webRoot" in data && typeof data.webRoot === "string" && data.webRoot !== "") return data.webRoot;
  throw new Fault(
    "TOKEN_KEYS_UNKNOWN",
    "The server does not say at which address it is (webRoot), so who signs its tokens is not known: set DATAGROK_ISSUER",
  );
}
